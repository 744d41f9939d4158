"""Readies the installation for its processes: tables, checks, demo or neighbours' tables, admin account, schedules."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command, get_commands
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from catalog.models import Song
from catalog.router import APP


class Command(BaseCommand):
    help = "Create or update our tables, load the demo where the catalog is ours, ensure an admin account and the schedules. Safe to repeat."
    requires_system_checks = ()  # run below, where a failure can be told in one sentence

    def handle(self, *args: Any, **options: Any) -> None:
        self._say(f"Database: {_database_name()} …")
        self._reach_database()
        self._refuse_foreign_tables()
        call_command("migrate", interactive=False, verbosity=0)
        try:
            self.check(databases=list(settings.DATABASES))
        except SystemCheckError as error:
            raise CommandError(str(error)) from None
        if settings.CATALOG_OWNED:
            call_command("load_demo", stdout=self.stdout)
        self._ensure_admin()
        if "setup_schedules" in get_commands():
            call_command("setup_schedules", verbosity=0)

    def _reach_database(self) -> None:
        try:
            connection.ensure_connection()
        except DatabaseError as error:
            raise CommandError(
                f"The database of DATABASE_URL can't be reached ({error.args[-1]}). "
                "Start it or correct DATABASE_URL; without it, make run uses SQLite."
            ) from None

    def _refuse_foreign_tables(self) -> None:
        """An owned catalog is created by our migrations; tables that were there before are the neighbours'."""
        tables = connection.introspection.table_names()
        if not settings.CATALOG_OWNED or Song._meta.db_table not in tables:
            return
        if (APP, "0001_initial") not in MigrationRecorder(connection).applied_migrations():
            raise CommandError(
                "This database already has the song and member tables of songs_be, so the catalog is not ours. "
                "Set CATALOG_OWNED=0 to read them; or name an empty database in DATABASE_URL."
            )

    def _ensure_admin(self) -> None:
        users = get_user_model()
        if users.objects.filter(is_superuser=True).exists():
            return
        password = settings.SONGS_AI_ADMIN_PASSWORD or secrets.token_urlsafe(12)
        users.objects.create_superuser("admin", password=password)
        shown = "from SONGS_AI_ADMIN_PASSWORD" if settings.SONGS_AI_ADMIN_PASSWORD else password
        self._say(f"Admin account: admin, password: {shown}  (shown this once)")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _database_name() -> str:
    database = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        return f"SQLite, {Path(database['NAME']).name}"
    driver = f", {settings.MYSQL_DRIVER}" if settings.MYSQL_DRIVER else ""
    return f"{database['HOST']}/{database['NAME']} ({connection.vendor}{driver})"
