"""Decides what is read of one member, or of all members, from the neighbours' tables. Lyrics are never read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import (
    DEFAULT_DB_ALIAS,
    connections,
    router,
)
from django.db.models import Exists, IntegerField, OuterRef, QuerySet, Value

from catalog.models import Member, MemberRole, PlaylistSong, Song, SongLike
from engine.types import Signal, SignalType

#: Likes looked at per round trip when the latest members are searched.
RECENT_LIKES_PER_ROUND = 5_000

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
#: song id, date, row id, playlist id (0 = a like), place
Mark = tuple[int, datetime | None, int, int, int | None]


#: More favourites than this add nothing to a taste; the newest are used.
MOST_FAVORITES = 10_000


@dataclass(frozen=True, kw_only=True)
class MemberMarks:
    """What the shared database holds of one member's taste."""

    #: Likes newest first, then playlist songs in their order; distinct, at most MOST_FAVORITES.
    favorite_ids: tuple[int, ...] = ()
    signals: tuple[Signal, ...] = ()
    #: How many favourites the member has.
    total: int = 0


def marks_of(member_id: int) -> MemberMarks:
    """Read likes and playlist songs of a member in one query."""
    marks: list[Mark] = list(_likes(member_id).union(_playlist_songs(member_id), all=True))
    likes = sorted(
        (mark for mark in marks if not mark[3]),
        key=lambda mark: (mark[1] or _LONG_AGO, mark[2]),
        reverse=True,
    )
    placed = list(_placed(mark for mark in marks if mark[3]))
    signals = [*_like_signals(likes), *placed]
    found = tuple(dict.fromkeys(signal.song_id for signal in signals))
    used = found[:MOST_FAVORITES]
    if len(used) < len(found):
        kept = set(used)
        signals = [signal for signal in signals if signal.song_id in kept]
    return MemberMarks(favorite_ids=used, signals=tuple(signals), total=len(found))


def favorites_of(member_id: int) -> tuple[int, ...]:
    """Return the member's favourites as songs_be knows them: likes newest first, then playlist songs."""
    return marks_of(member_id).favorite_ids


def signals_of(member_id: int) -> tuple[Signal, ...]:
    """Return likes with their dates and playlist songs with their places."""
    return marks_of(member_id).signals


def _likes(member_id: int) -> QuerySet[Any, Any]:
    zero = Value(0, IntegerField())
    return SongLike.objects.filter(member_id=member_id).values_list(
        "song_id", "created_at", "id", zero, zero
    )


def _playlist_songs(member_id: int) -> QuerySet[Any, Any]:
    return PlaylistSong.objects.filter(playlist__member_id=member_id).values_list(
        "song_id", "created_at", "id", "playlist_id", "song_order"
    )


def _like_signals(likes: list[Mark]) -> Iterator[Signal]:
    """One signal a song, the newest: the table holds duplicates."""
    seen: set[int] = set()
    for song_id, at, *_ in likes:
        if song_id not in seen:
            seen.add(song_id)
            yield Signal(song_id=song_id, type=SignalType.LIKE, at=at)


def _placed(marks: Iterator[Mark]) -> Iterator[Signal]:
    """Count places from 0 within each playlist, newest playlist first: `song_order` may start anywhere."""
    by_playlist = sorted(marks, key=lambda mark: (-mark[3], mark[4] or 0, mark[2]))
    for _, songs in groupby(by_playlist, key=itemgetter(3)):
        distinct = {mark[0]: mark for mark in reversed(list(songs))}
        for place, mark in enumerate(reversed(distinct.values())):
            yield Signal(song_id=mark[0], type=SignalType.PLAYLIST, value=float(place), at=mark[1])


def member_exists(member_id: int) -> bool:
    return Member.objects.filter(pk=member_id).exists()


def active_member_ids(after: int = 0, limit: int | None = None) -> list[int]:
    """Return ids above `after`, ascending, of members with role USER who are not deactivated (GHOST)."""
    ids = _active_roles().filter(member_id__gt=after).order_by("member_id")
    return list(ids.values_list("member_id", flat=True).distinct()[:limit])


def _active_roles() -> QuerySet[MemberRole]:
    ghost = MemberRole.objects.filter(member_id=OuterRef("member_id"), role="GHOST")
    return MemberRole.objects.filter(~Exists(ghost), role="USER")


def recently_active_member_ids(limit: int) -> list[int]:
    """Return up to `limit` active members, those with the newest likes first."""
    found: dict[int, None] = {}
    before: int | None = None
    while len(found) < limit:
        likes = SongLike.objects.order_by("-id").values_list("id", "member_id")
        page = list((likes.filter(id__lt=before) if before else likes)[:RECENT_LIKES_PER_ROUND])
        if not page:
            break
        before = page[-1][0]
        found |= dict.fromkeys(keep_active([member_id for _, member_id in page]))
    return list(found)[:limit]


def keep_active(member_ids: list[int]) -> list[int]:
    """Drop deactivated members, keep the order."""
    distinct = list(dict.fromkeys(member_ids))
    active: set[int] = set()
    for start in range(0, len(distinct), 500):  # SQLite allows 999 parameters in older builds
        part = _active_roles().filter(member_id__in=distinct[start : start + 500])
        active.update(part.values_list("member_id", flat=True))
    return [member_id for member_id in distinct if member_id in active]


@cache
def has_is_active(alias: str) -> bool:
    """Tell whether this installation's `song` table has the column; asked once per process."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, Song._meta.db_table)
    return any(column.name.lower() == "is_active" for column in columns)


def catalog_alias() -> str:
    """Return the database alias that the neighbours' tables are read from."""
    return router.db_for_read(Song)


def may_be_behind() -> bool:
    """Whether the neighbours' tables are read over a connection of their own, which may lead to a replica."""
    return catalog_alias() != DEFAULT_DB_ALIAS
