"""Fills an empty catalog of our own with demo songs and members."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError
from django.utils import timezone

from catalog.models import Song


class Command(BaseCommand):
    help = "데모 카탈로그(곡·회원·좋아요·플레이리스트)를 불러옵니다. 곡이 이미 있으면 아무것도 하지 않습니다. / Loads the demo catalog; does nothing when there are songs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--force",
            action="store_true",
            help="기존 곡·회원·좋아요·플레이리스트를 모두 지우고 다시 불러옵니다. / Deletes every song, member, like and playlist first.",
        )

    def handle(self, *, force: bool, **_: Any) -> None:
        if not settings.CATALOG_OWNED:
            raise CommandError(
                "The song and member tables belong to songs_be here (CATALOG_OWNED=0): nothing was loaded. "
                "The demo is for the embedded database; unset DATABASE_URL, or set CATALOG_OWNED=1 for a MySQL of your own."
            )
        if self._has_songs() and not force:
            self.stdout.write("데모: 곡이 이미 있어 그대로 둡니다 (--force: 지우고 다시).")
            return
        # Loading is the one place that needs factory-boy and with it Faker (0.7 s to import).
        from catalog.demo.loading import load  # noqa: PLC0415

        self.stdout.write("데모 카탈로그를 불러옵니다 …")
        rows = load(now=timezone.localtime(), replace=force, say=self.stdout.write)
        self.stdout.write(
            self.style.SUCCESS(
                f"데모 준비 완료: 곡 {len(rows.songs):,} · 회원 {len(rows.members):,} · 좋아요 {len(rows.likes):,}"
            )
        )

    def _has_songs(self) -> bool:
        try:
            return Song.objects.exists()
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(
                "The catalog tables are missing: run `manage.py migrate` first."
            ) from error
