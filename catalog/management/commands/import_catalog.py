"""Loads a songbook (CSV) into a catalog of our own."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from catalog.importing import (
    FileRefused,
    ImportPlan,
    check_rows,
    plan_changes,
    read_rows,
    write,
)

#: More errors than this have one cause; a wall of text hides it.
ERRORS_SHOWN = 50


class Command(BaseCommand):
    help = "곡 목록 CSV(.csv, .csv.gz)를 자체 카탈로그에 불러옵니다. TJ·금영 번호가 같은 곡은 고칩니다. / Loads a songbook into an owned catalog, updating by karaoke number."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="검사만 하고 쓰지 않습니다. / Check and count, write nothing.",
        )
        parser.add_argument(
            "--skip-errors",
            action="store_true",
            help="잘못된 줄은 건너뛰고 나머지를 불러옵니다. / Load the good rows; without it one bad row stops everything.",
        )

    def handle(self, *, file: Path, dry_run: bool, skip_errors: bool, **_: Any) -> None:
        if not settings.CATALOG_OWNED:
            raise CommandError(
                "The song table belongs to songs_be here (CATALOG_OWNED=0) and is only read. "
                "Import into the embedded database, or set CATALOG_OWNED=1 for a MySQL of your own."
            )
        plan = self._plan(file)
        for error in plan.errors[:ERRORS_SHOWN]:
            self.stderr.write(str(error))
        if len(plan.errors) > ERRORS_SHOWN:
            self.stderr.write(f"… and {len(plan.errors) - ERRORS_SHOWN:,} more")
        if plan.errors and not skip_errors:
            raise CommandError(
                f"Nothing was loaded: {len(plan.errors):,} errors. "
                "Correct the rows above, or load the others with --skip-errors."
            )
        counts = (
            f"{len(plan.new):,} new, {len(plan.changed):,} changed, {plan.unchanged:,} unchanged"
        )
        if dry_run:
            self.stdout.write(f"Dry run, nothing was written: {counts}.")
            return
        self._write(plan)
        self.stdout.write(self.style.SUCCESS(f"Loaded {file.name}: {counts}."))

    def _plan(self, file: Path) -> ImportPlan:
        self.stdout.write(f"Checking {file.name} …")
        try:
            rows, errors = check_rows(read_rows(file), say=self.stdout.write)
        except FileRefused as error:
            raise CommandError(str(error)) from error
        try:
            plan = plan_changes(rows, now=timezone.now())
        except DatabaseError as error:
            raise CommandError(
                f"The song table can't be read ({error}). Run `manage.py migrate` first."
            ) from error
        plan.errors = sorted(errors + plan.errors)
        return plan

    def _write(self, plan: ImportPlan) -> None:
        try:
            write(plan, say=self.stdout.write)
        except DatabaseError as error:
            raise CommandError(f"Nothing was loaded, the database refused: {error}") from error
