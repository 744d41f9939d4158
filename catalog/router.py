"""Routes the catalog app to its database, and refuses writes to the neighbours' tables."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import models

APP = "catalog"


class CatalogIsReadOnly(PermissionDenied):
    """The song, member and like tables belong to songs_be; this installation may only read them."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class CatalogRouter:
    """Routes the catalog app by the setting CATALOG_OWNED."""

    def db_for_read(self, model: type[models.Model], **_: Any) -> str | None:
        if model._meta.app_label == APP and "catalog" in settings.DATABASES:
            return "catalog"
        return None

    def db_for_write(self, model: type[models.Model], **_: Any) -> str | None:
        if model._meta.app_label == APP and not settings.CATALOG_OWNED:
            raise CatalogIsReadOnly
        return None

    def allow_relation(self, obj1: models.Model, obj2: models.Model, **_: Any) -> bool | None:
        return True if {obj1._meta.app_label, obj2._meta.app_label} == {APP} else None

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        if db == "catalog":
            return False  # a read-only login or a replica: nothing is migrated there
        return settings.CATALOG_OWNED if app_label == APP else None
