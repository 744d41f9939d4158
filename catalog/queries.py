"""Reads likes, playlists and roles of members from the neighbours' tables. Lyrics are never read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Exists, IntegerField, OuterRef, QuerySet, Value

from catalog.models import Member, MemberRole, PlaylistSong, Role, Song, SongLike
from engine.types import Signal, SignalType

#: Likes read per round trip when the most recently active members are searched.
RECENT_LIKES_PER_ROUND = 5_000
#: More favourites than this add nothing to a taste; the newest are used.
MOST_FAVORITES = 10_000
#: Member ids per query: SQLite allows 999 parameters in older builds.
IDS_PER_QUERY = 500

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class MemberMarks:
    """What the shared database holds of one member's taste."""

    #: Likes newest first, then playlist songs in their order; distinct, at most MOST_FAVORITES.
    favorite_ids: tuple[int, ...] = ()
    signals: tuple[Signal, ...] = ()
    #: How many favourites the member has.
    total: int = 0


class _Mark(NamedTuple):
    """A like or a playlist song, as a row of their union."""

    song_id: int
    created_at: datetime | None
    row_id: int
    playlist_id: int  #: 0 for a like
    place: int | None  #: within the playlist

    @property
    def is_like(self) -> bool:
        return not self.playlist_id


def marks_of(member_id: int) -> MemberMarks:
    """Read likes and playlist songs of a member in one query."""
    zero = Value(0, IntegerField())
    # Both column lists are in the order of _Mark.
    likes = SongLike.objects.filter(member_id=member_id).values_list(
        "song_id", "created_at", "id", zero, zero
    )
    playlist_songs = PlaylistSong.objects.filter(playlist__member_id=member_id).values_list(
        "song_id", "created_at", "id", "playlist_id", "song_order"
    )
    rows: QuerySet[Any, Any] = likes.union(playlist_songs, all=True)
    marks = list(map(_Mark._make, rows))
    signals = [
        *_like_signals(mark for mark in marks if mark.is_like),
        *_playlist_signals(mark for mark in marks if not mark.is_like),
    ]
    song_ids = tuple(dict.fromkeys(signal.song_id for signal in signals))
    used = song_ids[:MOST_FAVORITES]
    if len(used) < len(song_ids):
        used_set = set(used)
        signals = [signal for signal in signals if signal.song_id in used_set]
    return MemberMarks(favorite_ids=used, signals=tuple(signals), total=len(song_ids))


def favorites_of(member_id: int) -> tuple[int, ...]:
    """Return the member's favourites as songs_be stores them: likes newest first, then playlist songs."""
    return marks_of(member_id).favorite_ids


def signals_of(member_id: int) -> tuple[Signal, ...]:
    """Return likes with their dates and playlist songs with their places."""
    return marks_of(member_id).signals


def _like_signals(likes: Iterable[_Mark]) -> Iterator[Signal]:
    """One signal a song, newest first: the table holds duplicates."""
    newest_first = sorted(
        likes, key=lambda like: (like.created_at or _LONG_AGO, like.row_id), reverse=True
    )
    seen: set[int] = set()
    for like in newest_first:
        if like.song_id not in seen:
            seen.add(like.song_id)
            yield Signal(song_id=like.song_id, type=SignalType.LIKE, at=like.created_at)


def _playlist_signals(songs: Iterable[_Mark]) -> Iterator[Signal]:
    """Count places from 0 within each playlist, newest playlist first: `song_order` may start anywhere."""
    by_playlist = sorted(songs, key=lambda mark: (-mark.playlist_id, mark.place or 0, mark.row_id))
    for _, songs_in_order in groupby(by_playlist, key=lambda mark: mark.playlist_id):
        distinct = {mark.song_id: mark for mark in reversed(list(songs_in_order))}
        for place, mark in enumerate(reversed(distinct.values())):
            yield Signal(
                song_id=mark.song_id,
                type=SignalType.PLAYLIST,
                value=float(place),
                at=mark.created_at,
            )


def member_exists(member_id: int) -> bool:
    return Member.objects.filter(pk=member_id).exists()


def active_member_ids(after: int = 0, limit: int | None = None) -> list[int]:
    """Return ids above `after`, ascending, of members with role USER who are not deactivated (GHOST)."""
    ids = _active_roles().filter(member_id__gt=after).order_by("member_id")
    return list(ids.values_list("member_id", flat=True).distinct()[:limit])


def _active_roles() -> QuerySet[MemberRole]:
    ghost = MemberRole.objects.filter(member_id=OuterRef("member_id"), role=Role.GHOST)
    return MemberRole.objects.filter(~Exists(ghost), role=Role.USER)


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
    for start in range(0, len(distinct), IDS_PER_QUERY):
        part = _active_roles().filter(member_id__in=distinct[start : start + IDS_PER_QUERY])
        active.update(part.values_list("member_id", flat=True))
    return [member_id for member_id in distinct if member_id in active]


@cache
def has_is_active(alias: str) -> bool:
    """Whether this installation's `song` table has the column; read once per process."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, Song._meta.db_table)
    return any(column.name.lower() == "is_active" for column in columns)


def catalog_alias() -> str:
    """Return the database alias that the neighbours' tables are read from."""
    return router.db_for_read(Song)


def may_be_behind() -> bool:
    """Whether the neighbours' tables are read from another connection, which may be a replica."""
    return catalog_alias() != DEFAULT_DB_ALIAS
