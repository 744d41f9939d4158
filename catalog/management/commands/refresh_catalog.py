"""Rebuilds the catalog if anything changed; a large one is built in this process, not in one that serves."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand

from catalog import snapshot

#: Lower CPU priority than the processes that serve requests.
NICENESS = 5


class Command(BaseCommand):
    help = "Read the shared song and like tables into this host's snapshot if they changed."

    def handle(self, *_: Any, **__: Any) -> None:
        os.nice(NICENESS)
        catalog = snapshot.refresh().catalog
        self.stdout.write(
            f"{catalog.n} songs, {len(catalog.member_ids)} members, {catalog.version}"
        )
