"""`manage.py prepare`, and the sign of life that health checks look for."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from catalog.models import Song


def prepare() -> str:
    out = StringIO()
    call_command("prepare", stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_prepare_leaves_songs_an_admin_and_says_the_password_once(settings: Any) -> None:
    settings.SONGS_AI_ADMIN_PASSWORD = ""
    said = prepare()
    password = said.split("password: ")[1].split()[0]
    assert get_user_model().objects.get(username="admin").check_password(password)
    assert Song.objects.exists()
    assert "password" not in prepare()


@pytest.mark.django_db
def test_an_owned_catalog_is_refused_where_the_backends_tables_already_are() -> None:
    MigrationRecorder(connection).record_unapplied("catalog", "0001_initial")
    with pytest.raises(CommandError, match="Set CATALOG_OWNED=0"):
        prepare()
    assert not Song.objects.exists()
