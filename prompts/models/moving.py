"""Decides that what members get is moved by prompts/versions/releases.py alone: a shell or a script is refused like anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from django.db import models

from prompts.errors import OnlyPublishingMoves

_moving: ContextVar[bool] = ContextVar("moving", default=False)


@contextmanager
def moving() -> Iterator[None]:
    """Allow moves in this block. For prompts/versions/releases.py, which holds the template's lock meanwhile."""
    token = _moving.set(True)
    try:
        yield
    finally:
        _moving.reset(token)


def needs_moving(what: str) -> None:
    """Raises OnlyPublishingMoves."""
    if not _moving.get():
        raise OnlyPublishingMoves(
            f"{what}: only prompts.versions.releases changes what members get."
        )


class MovedQuerySet(models.QuerySet[Any]):
    """Refuses to change `model.MOVED_FIELDS` outside of publishing, and to delete at all."""

    def update(self, **values: Any) -> int:
        touched = self.model.MOVED_FIELDS & values.keys()
        if touched:
            needs_moving(", ".join(sorted(touched)))
        return super().update(**values)

    def bulk_create(self, *args: Any, **kwargs: Any) -> Any:
        needs_moving(self.model.__name__)
        return super().bulk_create(*args, **kwargs)

    def delete(self) -> NoReturn:
        raise OnlyPublishingMoves(f"{self.model.__name__}: rows are kept, history names them.")


def check_move(row: models.Model, fields: frozenset[str]) -> None:
    """Refuse to save a row whose `fields` differ from what is stored, outside of publishing."""
    if _moving.get():
        return
    stored = type(row)._base_manager.filter(pk=row.pk).values(*fields).first()
    known = stored or {field.attname: field.get_default() for field in row._meta.concrete_fields}
    moved = sorted(name for name in fields if getattr(row, name) != known[name])
    if moved:
        needs_moving(", ".join(moved))
