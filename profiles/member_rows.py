"""Reads our own rows about a member in three queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import CharField, F, FloatField, IntegerField, Max, QuerySet, Sum, Value
from django.db.models.functions import Cast, Coalesce

from engine.types import ImpressionCount, Signal, SignalType
from profiles import models
from profiles.favorites import OVERLAY_LIFE, Overlay, split_ids
from profiles.feedback import FEEDBACK_WINDOW
from profiles.taste import Override, StoredTaste, stored_taste

#: Newest events read per request; the busiest singers make a few thousand a year.
MAX_EVENTS = 5_000
#: A song ignored a month ago may come back.
IMPRESSION_WINDOW = timedelta(days=30)
#: Marks rows of impressions among the events; no `FeedbackType` is called so.
SHOWN = "shown"


@dataclass(frozen=True, kw_only=True, order=True)
class BlockRow:
    """A block in force."""

    kind: str  #: `models.BlockKind`
    name: str
    song_id: int


@dataclass(frozen=True, kw_only=True)
class CallerFavoriteRow:
    """A favourite of a caller's own user."""

    song_id: int
    stated_at: datetime
    rank: int


@dataclass(kw_only=True)
class MemberRows:
    """Our own rows about a member."""

    taste: StoredTaste | None = None
    overrides: list[Override] = field(default_factory=list)
    blocks: list[BlockRow] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    favorites: list[CallerFavoriteRow] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    impressions: list[ImpressionCount] = field(default_factory=list)
    #: Primary key of the newest feedback event.
    newest_event: int = 0


def read_member_rows(member_key: str, now: datetime) -> MemberRows:
    """Read everything our tables hold of a member: taste, small tables, events."""
    rows = MemberRows(taste=stored_taste(member_key))
    _read_small_tables(rows, member_key, now)
    _read_events(rows, member_key, now)
    return rows


class _Table(StrEnum):
    """The small tables that are read in one query."""

    OVERRIDE = "override"
    BLOCK = "block"
    OVERLAY = "overlay"
    FAVORITE = "favorite"


class _SmallRow(NamedTuple):
    """A row of the union over the small tables. A column that a table lacks is "" or 0."""

    pk: int
    table: str
    kind: str
    action: str
    text: str
    song_id: int
    at: datetime
    rank: int


_ABSENT = {
    "kind": Value("", CharField()),
    "action": Value("", CharField()),
    "text": Value("", CharField()),
    "song_id": Value(0, IntegerField()),
    "rank": Value(0, IntegerField()),
}


def _columns(table: _Table, **columns: Any) -> list[Any]:
    """Columns of one table in the order of _SmallRow; `columns` maps its names to those of the table."""
    named = _ABSENT | {"pk": "pk", "table": Value(table.value, CharField())} | columns
    return [named[name] for name in _SmallRow._fields]


def _small_rows(member_key: str, now: datetime) -> QuerySet[Any, Any]:
    overrides = (
        models.TasteOverride.objects.for_member(member_key)
        .active()
        .values_list(
            *_columns(_Table.OVERRIDE, kind="kind", action="action", text="value", at="made_at")
        )
    )
    song_id = Coalesce(F("song_id"), Value(0), output_field=IntegerField())
    blocks = (
        models.Block.objects.filter(member_key=member_key)
        .active(now)
        .values_list(
            *_columns(_Table.BLOCK, kind="kind", text="name", song_id=song_id, at="created_at")
        )
    )
    overlays = models.FavoriteOverlay.objects.filter(
        member_key=member_key, stated_at__gt=now - OVERLAY_LIFE
    ).values_list(
        *_columns(
            _Table.OVERLAY, action="action", text="song_ids", song_id="song_id", at="stated_at"
        )
    )
    favorites = models.CallerFavorite.objects.filter(member_key=member_key).values_list(
        *_columns(_Table.FAVORITE, song_id="song_id", at="stated_at", rank="rank")
    )
    return overrides.union(blocks, overlays, favorites, all=True)


def _read_small_tables(rows: MemberRows, member_key: str, now: datetime) -> None:
    for row in map(_SmallRow._make, _small_rows(member_key, now)):
        match _Table(row.table):
            case _Table.OVERRIDE:
                rows.overrides.append(Override(kind=row.kind, action=row.action, value=row.text))
            case _Table.BLOCK:
                rows.blocks.append(BlockRow(kind=row.kind, name=row.text, song_id=row.song_id))
            case _Table.OVERLAY:
                rows.overlays.append(
                    Overlay(
                        pk=row.pk,
                        action=row.action,
                        song_id=row.song_id,
                        song_ids=split_ids(row.text),
                        stated_at=row.at,
                    )
                )
            case _Table.FAVORITE:
                rows.favorites.append(
                    CallerFavoriteRow(song_id=row.song_id, stated_at=row.at, rank=row.rank)
                )


def _read_events(rows: MemberRows, member_key: str, now: datetime) -> None:
    """Add feedback and impressions, read in one query."""
    feedback = models.FeedbackEvent.objects.filter(
        member_key=member_key, occurred_at__gt=now - FEEDBACK_WINDOW
    ).values_list("pk", "type", "song_id", "value", "occurred_at")
    shown = (
        models.Impression.objects.filter(member_key=member_key, last_at__gt=now - IMPRESSION_WINDOW)
        .values("song_id")
        .annotate(served=Cast(Sum("times"), FloatField()), latest=Max("last_at"))
        .values_list(
            Value(0, IntegerField()), Value(SHOWN, CharField()), "song_id", "served", "latest"
        )
    )
    events = feedback.union(shown, all=True).order_by("-occurred_at")[:MAX_EVENTS]
    for pk, kind, song_id, value, at in events:
        rows.newest_event = max(rows.newest_event, pk)
        if kind == SHOWN:
            rows.impressions.append(
                ImpressionCount(song_id=song_id, times=int(value or 0), last_at=at)
            )
        else:
            amount = 1.0 if value is None else value
            rows.signals.append(Signal(song_id=song_id, type=SignalType(kind), value=amount, at=at))
