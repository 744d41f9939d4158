"""System checks of the neighbours' tables (`manage.py check --database default`): every column read here exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections
from django.db.models import Model

from catalog.queries import catalog_alias
from infrastructure.database import DATABASE_FAULTS

ROUTER = "catalog.router.CatalogRouter"


@register()
def check_router(**_: Any) -> list[CheckMessage]:
    """Without the router Django would create, alter and empty songs_be's tables."""
    if ROUTER in settings.DATABASE_ROUTERS:
        return []
    return [
        Error(
            f"DATABASE_ROUTERS does not name {ROUTER}.",
            hint="Put it first: without it migrations and writes would reach songs_be's tables.",
            id="catalog.E001",
        )
    ]


@register(Tags.database)
def check_tables(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Compare our models with the tables of songs_be's database. Empty while it is unreachable."""
    alias = catalog_alias()
    # Tables on a connection of their own are checked whenever the default one is.
    if settings.CATALOG_OWNED or not databases or not {alias, "default"} & set(databases):
        return []
    try:
        models = apps.get_app_config("catalog").get_models()
        return [message for model in models for message in _compare(model, alias)]
    except DATABASE_FAULTS:
        return []  # /health/ready reports a database that is down


def _compare(model: type[Model], alias: str) -> list[CheckMessage]:
    table = model._meta.db_table
    columns = _columns(table, alias)
    if not columns:
        missing_table = Error(
            f"Table {table} is missing upstream, or our login may not read it.",
            hint=(
                f"Check DATABASE_URL, let songs_be create the table, and run GRANT SELECT ON {table} "
                "for our login. On a database of our own set CATALOG_OWNED=1 and migrate."
            ),
            obj=model,
            id="catalog.E002",
        )
        return [missing_table]
    return [
        Error(
            f"{table}.{column} is missing upstream. The table has: {', '.join(sorted(columns))}.",
            hint=f"Remove the field from catalog.{model.__name__}, or ask the backend team for the column.",
            obj=model,
            id="catalog.E003",
        )
        for column in (field.column for field in model._meta.concrete_fields if field.column)
        if column not in columns
    ]


def _columns(table: str, alias: str) -> set[str]:
    """Column names in lower case; empty when the table is missing or may not be read."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        described = connection.introspection.get_table_description(cursor, table)
    return {column.name.lower() for column in described}
