"""Installs the schedules that are missing; what staff changed stays as it is."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from recommendations.schedules import defaults


class Command(BaseCommand):
    help = "Add the schedules that are missing. Existing ones are never changed."

    def handle(self, *args: Any, **options: Any) -> None:
        added = defaults.install()
        if options["verbosity"]:
            self.stdout.write(f"Schedules added: {', '.join(added) or 'none'}")
