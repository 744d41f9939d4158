"""The checks that the neighbours' tables are what this service reads, and the router that guards them."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from catalog import checks
from catalog.factories import SongFactory
from catalog.models import Song
from catalog.router import CatalogIsReadOnly, CatalogRouter
from profiles.models import Block

#: MySQL commits at every ALTER TABLE; tests/services shows the same there on a database of its own.
alters_tables = pytest.mark.skipif(connection.vendor == "mysql", reason="DDL commits there")


@pytest.fixture
def foreign(settings) -> None:
    settings.CATALOG_OWNED = False


def found(databases=("default",)) -> list[tuple[str, str]]:
    return [(error.id, str(error.msg)) for error in checks.check_tables(databases=databases)]


def test_a_missing_router_is_named(settings):
    assert checks.check_router() == []
    settings.DATABASE_ROUTERS = []
    assert [error.id for error in checks.check_router()] == ["catalog.E001"]


@pytest.mark.django_db
def test_nothing_is_found_where_everything_is_there(foreign):
    assert found() == []


@alters_tables
@pytest.mark.django_db
def test_a_missing_table_is_named_with_the_remedy(foreign):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE anime RENAME TO anime_old")
    errors = checks.check_tables(databases=["default"])
    assert [error.id for error in errors] == ["catalog.E002"]
    assert "GRANT SELECT ON anime" in errors[0].hint


@alters_tables
@pytest.mark.django_db
def test_a_missing_column_is_named_with_those_that_are_there(foreign):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE song RENAME COLUMN mood TO feeling")
    (identity, message), *others = found()
    assert not others
    assert identity == "catalog.E003"
    assert message.startswith("song.mood is missing upstream. The table has: anime_id, ")
    assert "feeling" in message


@alters_tables
@pytest.mark.django_db
def test_tables_of_our_own_are_not_compared(settings):
    settings.CATALOG_OWNED = True
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE anime RENAME TO anime_old")
    assert found() == []


@pytest.mark.django_db
def test_a_database_that_is_away_is_no_finding(foreign):
    def refuse(*_: object) -> None:
        raise OperationalError(2003, "refused")

    with connection.execute_wrapper(refuse):
        assert found() == []


@pytest.mark.django_db
def test_without_naming_databases_nothing_is_asked(foreign, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert found(databases=None) == []
        call_command("check")


# --- The router -----------------------------------------------------------------------------------
@pytest.mark.django_db
def test_writing_to_the_neighbours_is_refused_in_every_way(foreign, settings):
    settings.CATALOG_OWNED = True
    song = SongFactory()
    settings.CATALOG_OWNED = False
    for write in (
        song.save,
        song.delete,
        lambda: Song.objects.create(title_jp="x"),
        lambda: Song.objects.filter(pk=song.pk).update(title_jp="x"),
        lambda: Song.objects.filter(pk=song.pk).delete(),
        lambda: Song.objects.bulk_create([Song(title_jp="x")]),
    ):
        with pytest.raises(CatalogIsReadOnly):
            write()
    assert Song.objects.get().title_jp == song.title_jp


def test_only_the_setting_decides_about_migrations(settings):
    router = CatalogRouter()
    settings.CATALOG_OWNED = False
    assert router.allow_migrate("default", "catalog") is False
    assert router.allow_migrate("default", "profiles") is None
    settings.CATALOG_OWNED = True
    assert router.allow_migrate("default", "catalog") is True
    assert router.allow_migrate("catalog", "profiles") is False


def test_a_second_login_reads_the_neighbours_and_nothing_else(settings, monkeypatch):
    router = CatalogRouter()
    assert router.db_for_read(Song) is None
    monkeypatch.setitem(settings.DATABASES, "catalog", {})
    assert router.db_for_read(Song) == "catalog"
    assert router.db_for_read(Block) is None


def test_our_tables_have_no_foreign_key_to_theirs():
    for model in [*_models_of("profiles"), *_models_of("recommendations"), *_models_of("prompts")]:
        for field in model._meta.concrete_fields:
            target = field.related_model
            assert target is None or target._meta.app_label != "catalog", field


def _models_of(label: str) -> list[type]:
    from django.apps import apps  # noqa: PLC0415

    return list(apps.get_app_config(label).get_models())
