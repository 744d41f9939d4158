"""Records changes of favourites that callers report, and computes a member's effective favourites.

Favourites of a caller's own user are stored. For a member of the shared database a change is an overlay:
it counts until the database shows it, at most OVERLAY_LIFE.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from catalog.keys import member_id_of
from catalog.queries import MemberMarks, marks_of
from engine.types import SignalType
from profiles.models import CallerFavorite, FavoriteOverlay, OverlayAction

OVERLAY_LIFE = timedelta(hours=24)
#: Members whose favourites a process remembers for the time the database is down.
REMEMBERED_MEMBERS = 5_000


@dataclass(frozen=True, kw_only=True)
class FavoritesUpdate:
    """The favourites after a change."""

    favorite_ids: tuple[int, ...]  #: effective, newest first
    changed: bool


def record_favorites_update(
    member_key: str, *, action: str, song_ids: Sequence[int], now: datetime
) -> FavoritesUpdate:
    """Record favourites that were added, removed or listed in full (`OverlayAction`).

    Repeats change nothing. Raises DATABASE_FAULTS when nothing could be written.
    """
    record = _update_own_user if member_id_of(member_key) is None else _update_database_member
    with transaction.atomic():
        update = record(member_key, OverlayAction(action), distinct(song_ids), now)
    remembered.put(member_key, update.favorite_ids)
    return update


def distinct(song_ids: Iterable[int]) -> tuple[int, ...]:
    """Drop repeated ids, keep the order."""
    return tuple(dict.fromkeys(song_ids))


def marks_by_key(member_key: str) -> MemberMarks:
    """What the shared database holds of a member; empty for a caller's own user."""
    member_id = member_id_of(member_key)
    return MemberMarks() if member_id is None else marks_of(member_id)


def has_favorites(member_key: str) -> bool:
    """Whether favourites of a caller's own user are stored."""
    return CallerFavorite.objects.filter(member_key=member_key).exists()


# --- A caller's own users -------------------------------------------------------------------------


def _update_own_user(
    member_key: str, action: OverlayAction, song_ids: tuple[int, ...], now: datetime
) -> FavoritesUpdate:
    rows = CallerFavorite.objects.filter(member_key=member_key)
    before = _newest_first(rows)
    if action == OverlayAction.REMOVE:
        rows.filter(song_id__in=song_ids).delete()
    elif action == OverlayAction.ADD:
        _insert_favorites(member_key, [s for s in song_ids if s not in set(before)], now)
    elif before != song_ids:
        rows.delete()
        _insert_favorites(member_key, song_ids, now)
    after = _newest_first(rows)
    return FavoritesUpdate(favorite_ids=after, changed=set(before) != set(after))


def _newest_first(rows: QuerySet[CallerFavorite]) -> tuple[int, ...]:
    return tuple(rows.order_by("-stated_at", "rank").values_list("song_id", flat=True))


def _insert_favorites(member_key: str, song_ids: Iterable[int], now: datetime) -> None:
    CallerFavorite.objects.bulk_create(
        [
            CallerFavorite(member_key=member_key, song_id=song_id, stated_at=now, rank=rank)
            for rank, song_id in enumerate(song_ids)
        ],
        batch_size=500,
        ignore_conflicts=True,  # the same call may arrive twice at once
    )


# --- Members of the shared database ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A change of favourites that the database may not show yet."""

    pk: int
    action: str  #: `OverlayAction`
    song_id: int
    song_ids: tuple[int, ...]
    stated_at: datetime

    def is_shown_by(self, stored: set[int]) -> bool:
        """Whether the favourites in the database hold this change."""
        if self.action == OverlayAction.LIST:
            return set(self.song_ids) == stored
        return (self.song_id in stored) == (self.action == OverlayAction.ADD)


@dataclass(frozen=True, kw_only=True)
class OverlaidFavorites:
    """Favourites with the overlays applied."""

    favorite_ids: tuple[int, ...]  #: newest first
    #: Primary keys of overlays that the database shows by now.
    settled: tuple[int, ...]


def with_overlays(marks: MemberMarks, overlays: Iterable[Overlay]) -> OverlaidFavorites:
    """Apply the changes that the database does not show yet: the list first, then single songs."""
    stored = set(marks.favorite_ids)
    favorites, settled, listed = marks.favorite_ids, [], False
    for overlay in sorted(overlays, key=lambda o: (bool(o.song_id), o.stated_at, o.pk)):
        # A change after a full list is about that list, not about the database.
        if not listed and overlay.is_shown_by(stored):
            settled.append(overlay.pk)
        elif overlay.action == OverlayAction.LIST:
            listed = True
            # Likes that came after the list was sent are newer than the list.
            later = [
                signal.song_id
                for signal in marks.signals
                if signal.type is SignalType.LIKE and signal.at and signal.at > overlay.stated_at
            ]
            favorites = distinct([*later, *overlay.song_ids])
        elif overlay.action == OverlayAction.ADD:
            favorites = distinct([overlay.song_id, *favorites])
        else:
            favorites = tuple(song_id for song_id in favorites if song_id != overlay.song_id)
    return OverlaidFavorites(favorite_ids=favorites, settled=tuple(settled))


def delete_overlays(keys: Iterable[int]) -> None:
    FavoriteOverlay.objects.filter(pk__in=list(keys)).delete()


def split_ids(text: str) -> tuple[int, ...]:
    """Ids of a comma-separated `FavoriteOverlay.song_ids`."""
    return tuple(map(int, filter(None, text.split(","))))


def _update_database_member(
    member_key: str, action: OverlayAction, song_ids: tuple[int, ...], now: datetime
) -> FavoritesUpdate:
    marks = marks_by_key(member_key)
    FavoriteOverlay.objects.filter(
        member_key=member_key, stated_at__lte=now - OVERLAY_LIFE
    ).delete()
    before = with_overlays(marks, _overlays(member_key)).favorite_ids
    if action == OverlayAction.LIST:
        _store_list(member_key, song_ids, before, now)
    else:
        _store_songs(member_key, action, song_ids, before, now)
    after = with_overlays(marks, _overlays(member_key))
    if after.settled:
        delete_overlays(after.settled)
    changed = set(before) != set(after.favorite_ids)
    return FavoritesUpdate(favorite_ids=after.favorite_ids, changed=changed)


def _overlays(member_key: str) -> list[Overlay]:
    return [
        Overlay(
            pk=row.pk,
            action=row.action,
            song_id=row.song_id,
            song_ids=split_ids(row.song_ids),
            stated_at=row.stated_at,
        )
        for row in FavoriteOverlay.objects.filter(member_key=member_key)
    ]


def _store_list(
    member_key: str, song_ids: tuple[int, ...], before: tuple[int, ...], now: datetime
) -> None:
    """Replace every earlier change by a full list, unless the list holds the same songs."""
    if set(song_ids) == set(before):
        return
    rows = FavoriteOverlay.objects.filter(member_key=member_key)
    rows.delete()
    rows.create(
        member_key=member_key,
        action=OverlayAction.LIST,
        song_ids=",".join(map(str, song_ids)),
        stated_at=now,
    )


def _store_songs(
    member_key: str,
    action: OverlayAction,
    song_ids: tuple[int, ...],
    before: tuple[int, ...],
    now: datetime,
) -> None:
    adding = action == OverlayAction.ADD
    for song_id in song_ids:
        if (song_id in before) == adding:
            continue
        FavoriteOverlay.objects.update_or_create(
            member_key=member_key,
            song_id=song_id,
            defaults={"action": action, "stated_at": now},
        )


# --- While the database is down -------------------------------------------------------------------


class RememberedFavorites:
    """The favourites of recently served members, in memory, least recently written dropped first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_member: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, member_key: str, favorites: tuple[int, ...]) -> None:
        with self._lock:
            self._by_member[member_key] = favorites
            self._by_member.move_to_end(member_key)
            while len(self._by_member) > self._capacity:
                self._by_member.popitem(last=False)

    def get(self, member_key: str) -> tuple[int, ...]:
        with self._lock:
            return self._by_member.get(member_key, ())

    def clear(self) -> None:
        with self._lock:
            self._by_member.clear()


#: Shared by all threads of this process.
remembered = RememberedFavorites(REMEMBERED_MEMBERS)


def clear_cache() -> None:
    """Drop the favourites this process remembers (tests)."""
    remembered.clear()
