"""Refuses changes of what members get outside of prompts/versions/moves.py, from a shell or a script too."""

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
    """Allow changes in this block. Only prompts/versions/moves.py may open it; it checks and locks first."""
    token = _moving.set(True)
    try:
        yield
    finally:
        _moving.reset(token)


def needs_moving(what: str) -> None:
    """Raises OnlyPublishingMoves."""
    if not _moving.get():
        raise OnlyPublishingMoves(
            f"{what}: only prompts.versions.releases and its neighbours change what members get."
        )


class MovedQuerySet(models.QuerySet[Any]):
    """Refuses to change `model.MOVED_FIELDS` outside of a `moving()` block, and to delete at all."""

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


class MovedManager(models.Manager[Any]):
    def get_queryset(self) -> MovedQuerySet:
        return MovedQuerySet(self.model, using=self._db)


def check_move(row: models.Model, fields: frozenset[str]) -> None:
    """Refuse to save a row whose `fields` differ from the stored ones, outside of a `moving()` block."""
    if _moving.get():
        return
    stored = type(row)._base_manager.filter(pk=row.pk).values(*fields).first()
    known = stored or {field.attname: field.get_default() for field in row._meta.concrete_fields}
    moved = sorted(name for name in fields if getattr(row, name) != known[name])
    if moved:
        needs_moving(", ".join(moved))
