"""Decides what is known of a member right now, and records what is said about him. The only door of this app."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import CharField, F, FloatField, IntegerField, Max, Sum, Value
from django.db.models.functions import Cast, Coalesce

from catalog.keys import member_id_of
from catalog.queries import (
    MemberMarks,
    marks_of,
)
from engine.catalog.text import fold
from engine.types import Exclude, ImpressionCount, Preference, Signal, SignalType
from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
    upsert,
)
from profiles import models

log = logging.getLogger(__name__)

#: What a caller said about a database member's favourites counts until the database shows it, or this long.
OVERLAY_LIFE = timedelta(hours=24)
#: Feedback older than this says little about today's taste.
FEEDBACK_WINDOW = timedelta(days=365)
#: Newest events looked at per request; the busiest singers make a few thousand a year.
EVENTS_PER_PICTURE = 5_000
#: A song ignored a month ago may come back.
IMPRESSION_WINDOW = timedelta(days=30)
#: Weights of staff's and the model's leanings (`engine.types.Preference.weight`).
PINNED, ADDED, BARRED = 1.0, 0.7, -1.0
#: The model's first word weighs most, each later one a little less.
MODEL_FIRST, MODEL_STEP, MODEL_LEAST = 0.6, 0.08, 0.2
#: Members whose favourites a process remembers for the time the database is away.
REMEMBERED_MEMBERS = 5_000
#: An event may be this far ahead of our clock: phones are not exact.
CLOCK_SKEW = timedelta(minutes=10)
DELETE_PER_ROUND = 2_000


# --- What is known of a member ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoredTaste:
    """A taste as it was read (by the model or locally) and stored; staff's overrides are not in it."""

    text: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    artists: tuple[str, ...]
    favorites_sha: str
    source: str
    generated_at: datetime
    prompt_version: str = ""


@dataclass(frozen=True, kw_only=True, order=True)
class Override:
    """One decision of staff that is in force."""

    kind: str  #: `models.OverrideKind`
    action: str  #: `models.OverrideAction`
    value: str


@dataclass(frozen=True, kw_only=True)
class MemberPicture:
    """Everything the engine needs to know of a member, and fingerprints of it."""

    member_key: str
    #: Effective favourites, distinct, newest first.
    favorite_ids: tuple[int, ...]
    signals: tuple[Signal, ...] = ()
    impressions: tuple[ImpressionCount, ...] = ()
    preferences: tuple[Preference, ...] = ()
    exclude: Exclude = field(default_factory=Exclude)
    #: False: the database did not answer; favourites are those sent or last known.
    database_ok: bool = True
    taste: StoredTaste | None = None
    overrides: tuple[Override, ...] = ()
    #: Staff's text, else the stored one.
    taste_text: str = ""
    taste_text_override: str = ""
    favorites_sha: str
    feedback_sha: str = ""
    overrides_sha: str = ""

    def taste_names(self, kind: str) -> list[str]:
        """Genres, moods or artists of the stored taste, without staff's overrides."""
        if self.taste is None:
            return []
        named = {"genre": self.taste.genres, "mood": self.taste.moods, "artist": self.taste.artists}
        return list(named[kind])

    def with_overrides(self, kind: str, words: Iterable[str]) -> list[str]:
        """Put staff's pins first and additions last, leave barred words out; spelled as staff did."""
        said = {fold(o.value): o for o in self.overrides if o.kind == kind}
        pinned = [o.value for o in said.values() if o.action == models.OverrideAction.PIN]
        added = [o.value for o in said.values() if o.action == models.OverrideAction.ADD]
        return [*pinned, *(word for word in words if fold(word) not in said), *added]


def picture(
    member_key: str,
    *,
    favorite_ids: Sequence[int] | None,
    now: datetime,
    last_known: Callable[[], Sequence[int]] = tuple,
) -> MemberPicture:
    """Gather what is known of a member in at most four queries.

    favorite_ids: exactly these count, None = what is stored. last_known: asked for favourites when the
    database is away and this process has not seen the member. Never raises because of the database.
    """
    own, own_ok = _attempt(lambda: _read_own(member_key, now), _Own(), member_key)
    marks, marks_ok = _attempt(lambda: _marks(member_key), None, member_key)
    database_ok = own_ok and marks_ok
    favorites = _favorites(member_key, favorite_ids, own, marks, now)
    if favorites is None or (not database_ok and favorite_ids is None and not favorites):
        favorites = _memory.recall(member_key) or _distinct(last_known())
    elif database_ok and favorite_ids is None:
        _memory.keep(member_key, favorites)
    return _picture(member_key, favorites, own, marks, database_ok=database_ok)


def favorites_fingerprint(song_ids: Iterable[int]) -> str:
    """Digest of a set of favourites, whatever their order."""
    return _sha(",".join(map(str, sorted(set(song_ids)))))


def _attempt(read: Callable[[], Any], otherwise: Any, member_key: str) -> tuple[Any, bool]:
    try:
        with guard():
            return read(), True
    except DATABASE_FAULTS as error:
        log.warning("Member is served without the database: %s", type(error).__name__)
        return otherwise, False


def _marks(member_key: str) -> MemberMarks:
    member_id = member_id_of(member_key)
    return MemberMarks() if member_id is None else marks_of(member_id)


@dataclass(frozen=True, kw_only=True)
class _Overlay:
    pk: int
    action: str
    song_id: int
    song_ids: tuple[int, ...]
    stated_at: datetime


@dataclass(kw_only=True)
class _Own:
    """Our own rows about a member."""

    taste: StoredTaste | None = None
    overrides: list[Override] = field(default_factory=list)
    blocks: list[tuple[str, str, int]] = field(default_factory=list)  # kind, name, song id
    overlays: list[_Overlay] = field(default_factory=list)
    favorites: list[tuple[int, datetime, int]] = field(default_factory=list)  # song, at, rank
    signals: list[Signal] = field(default_factory=list)
    impressions: list[ImpressionCount] = field(default_factory=list)
    newest_event: int = 0


def _read_own(member_key: str, now: datetime) -> _Own:
    own = _Own(taste=_stored_taste(member_key))
    for pk, source, kind, action, value, song_id, at, rank in _statements(member_key, now):
        if source == "override":
            own.overrides.append(Override(kind=kind, action=action, value=value))
        elif source == "block":
            own.blocks.append((kind, value, song_id))
        elif source == "overlay":
            ids = tuple(map(int, filter(None, value.split(","))))
            overlay = _Overlay(pk=pk, action=kind, song_id=song_id, song_ids=ids, stated_at=at)
            own.overlays.append(overlay)
        else:
            own.favorites.append((song_id, at, rank))
    _read_events(own, member_key, now)
    return own


def _stored_taste(member_key: str) -> StoredTaste | None:
    row = models.TasteProfile.objects.filter(member_key=member_key).first()
    if row is None:
        return None
    return StoredTaste(
        text=row.taste_text,
        genres=tuple(row.preferred_genres),
        moods=tuple(row.preferred_moods),
        artists=tuple(row.preferred_artists),
        favorites_sha=row.favorites_sha,
        source=row.source,
        generated_at=row.generated_at,
        prompt_version=row.prompt_version,
    )


def _statements(member_key: str, now: datetime) -> Any:
    """One query for the small tables: overrides, blocks, overlays and a caller's own favourites."""
    word = lambda text: Value(text, CharField())  # noqa: E731
    zero = Value(0, IntegerField())
    overrides = (
        models.TasteOverride.objects.for_member(member_key)
        .active()
        .values_list(
            "pk",
            word("override"),
            "kind",
            "action",
            "value",
            zero,
            "made_at",
            zero,
        )
    )
    blocks = (
        models.Block.objects.filter(member_key=member_key)
        .active(now)
        .values_list(
            "pk", word("block"), "kind", word(""), "name", _or_zero("song_id"), "created_at", zero
        )
    )
    overlays = models.FavoriteOverlay.objects.filter(
        member_key=member_key, stated_at__gt=now - OVERLAY_LIFE
    ).values_list(
        "pk", word("overlay"), "action", word(""), "song_ids", "song_id", "stated_at", zero
    )
    favorites = models.CallerFavorite.objects.filter(member_key=member_key).values_list(
        "pk", word("favorite"), word(""), word(""), word(""), "song_id", "stated_at", "rank"
    )
    return overrides.union(blocks, overlays, favorites, all=True)


def _or_zero(column: str) -> Any:
    return Coalesce(F(column), Value(0), output_field=IntegerField())


def _read_events(own: _Own, member_key: str, now: datetime) -> None:
    """Add feedback and impressions, read in one query."""
    feedback = models.FeedbackEvent.objects.filter(
        member_key=member_key, occurred_at__gt=now - FEEDBACK_WINDOW
    ).values_list("pk", "type", "song_id", "value", "occurred_at")
    shown = (
        models.Impression.objects.filter(member_key=member_key, last_at__gt=now - IMPRESSION_WINDOW)
        .values("song_id")
        .annotate(served=Cast(Sum("times"), FloatField()), latest=Max("last_at"))
        .values_list(
            Value(0, IntegerField()), Value("shown", CharField()), "song_id", "served", "latest"
        )
    )
    events = feedback.union(shown, all=True).order_by("-occurred_at")[:EVENTS_PER_PICTURE]
    for pk, kind, song_id, value, at in events:
        own.newest_event = max(own.newest_event, pk)
        if kind == "shown":
            own.impressions.append(
                ImpressionCount(song_id=song_id, times=int(value or 0), last_at=at)
            )
        else:
            amount = 1.0 if value is None else value
            own.signals.append(Signal(song_id=song_id, type=SignalType(kind), value=amount, at=at))


def _favorites(
    member_key: str,
    sent: Sequence[int] | None,
    own: _Own,
    marks: MemberMarks | None,
    now: datetime,
) -> tuple[int, ...] | None:
    """Return the effective favourites; None when they cannot be known without the database."""
    if sent is not None:
        return _distinct(sent)
    if member_id_of(member_key) is None:
        newest_first = sorted(own.favorites, key=lambda row: (-row[1].timestamp(), row[2]))
        return _distinct(row[0] for row in newest_first)
    if marks is None:
        return None
    favorites, settled = with_overlays(marks, own.overlays)
    if settled:
        _attempt(lambda: _drop_overlays(settled), None, member_key)
    return favorites


def with_overlays(
    marks: MemberMarks, overlays: Iterable[_Overlay]
) -> tuple[tuple[int, ...], list[int]]:
    """Apply what callers said and the database does not show yet.

    Returns the favourites, newest first, and the keys of overlays that the database shows by now.
    """
    stored = set(marks.favorite_ids)
    favorites, settled, listed = marks.favorite_ids, [], False
    for overlay in sorted(overlays, key=lambda o: (bool(o.song_id), o.stated_at, o.pk)):
        # What was said after a list is about the list, not about the database.
        if not listed and _is_settled(overlay, stored):
            settled.append(overlay.pk)
        elif overlay.action == models.OverlayAction.LIST:
            listed = True
            favorites = _distinct([*_liked_since(marks, overlay.stated_at), *overlay.song_ids])
        elif overlay.action == models.OverlayAction.ADD:
            favorites = _distinct([overlay.song_id, *favorites])
        else:
            favorites = tuple(song_id for song_id in favorites if song_id != overlay.song_id)
    return favorites, settled


def _is_settled(overlay: _Overlay, stored: set[int]) -> bool:
    if overlay.action == models.OverlayAction.LIST:
        return set(overlay.song_ids) == stored
    return (overlay.song_id in stored) == (overlay.action == models.OverlayAction.ADD)


def _liked_since(marks: MemberMarks, moment: datetime) -> list[int]:
    """Likes the database got after a list was sent are newer than the list."""
    return [
        s.song_id for s in marks.signals if s.type is SignalType.LIKE and s.at and s.at > moment
    ]


def _drop_overlays(keys: list[int]) -> None:
    models.FavoriteOverlay.objects.filter(pk__in=keys).delete()


def _picture(
    member_key: str,
    favorites: tuple[int, ...],
    own: _Own,
    marks: MemberMarks | None,
    *,
    database_ok: bool,
) -> MemberPicture:
    held = set(favorites)
    known = [signal for signal in marks.signals if signal.song_id in held] if marks else []
    text = next((o.value for o in own.overrides if o.kind == models.OverrideKind.TEXT), "")
    taste = own.taste
    return MemberPicture(
        member_key=member_key,
        favorite_ids=favorites,
        signals=(*known, *own.signals),
        impressions=tuple(own.impressions),
        preferences=(*_staff_preferences(own), *_model_preferences(taste)),
        exclude=_exclude(own),
        database_ok=database_ok,
        taste=taste,
        overrides=tuple(own.overrides),
        taste_text=text or (taste.text if taste else ""),
        taste_text_override=text,
        favorites_sha=favorites_fingerprint(favorites),
        feedback_sha=_sha(repr((own.newest_event, sorted(own.blocks)))),
        overrides_sha=_sha(repr(sorted(own.overrides))),
    )


def _staff_preferences(own: _Own) -> list[Preference]:
    weights = {"pin": PINNED, "add": ADDED, "bar": BARRED}
    return [
        Preference(kind=o.kind, name=fold(o.value), weight=weights[o.action], source="staff")
        for o in own.overrides
        if o.kind != models.OverrideKind.TEXT
    ]


def _model_preferences(taste: StoredTaste | None) -> list[Preference]:
    """What the model read steers the next run; what the engine computed it knows already."""
    if taste is None or taste.source != models.TasteSource.MODEL:
        return []
    kinds = {"genre": taste.genres, "mood": taste.moods, "artist": taste.artists}
    return [
        Preference(
            kind=kind,
            name=fold(word),
            weight=max(MODEL_FIRST - MODEL_STEP * place, MODEL_LEAST),
            source="model",
        )
        for kind, words in kinds.items()
        for place, word in enumerate(words)
    ]


def _exclude(own: _Own) -> Exclude:
    names: dict[str, set[str]] = {"artist": set(), "genre": set(), "mood": set()}
    for kind, name, _song in own.blocks:  # staff's bars are preferences: the trace names staff
        if kind in names:
            names[kind].add(fold(name))
    return Exclude(
        song_ids=frozenset(song_id for kind, _name, song_id in own.blocks if kind == "song"),
        artists=frozenset(names["artist"]),
        genres=frozenset(names["genre"]),
        moods=frozenset(names["mood"]),
    )


class _FavoritesMemory:
    """The favourites of members seen lately, for the time the database is away."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, member_key: str, favorites: tuple[int, ...]) -> None:
        with self._lock:
            self._held[member_key] = favorites
            self._held.move_to_end(member_key)
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)

    def recall(self, member_key: str) -> tuple[int, ...]:
        with self._lock:
            return self._held.get(member_key, ())

    def clear(self) -> None:
        with self._lock:
            self._held.clear()


_memory = _FavoritesMemory(REMEMBERED_MEMBERS)


def _distinct(song_ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(song_ids))


def _sha(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


# --- Favourites --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FavoritesUpdate:
    """What a caller's word about favourites came to."""

    favorite_ids: tuple[int, ...]  #: effective, newest first
    changed: bool


def record_favorites_update(
    member_key: str, *, action: str, song_ids: Sequence[int], now: datetime
) -> FavoritesUpdate:
    """Take note of favourites added, removed or listed in full (`models.OverlayAction`).

    Favourites of a caller's own user are stored; for a member of the database the word counts until the
    database shows it. Repeats change nothing. Raises DATABASE_FAULTS when nothing could be written.
    """
    action = models.OverlayAction(action)
    record = _update_own_user if member_id_of(member_key) is None else _update_database_member
    with transaction.atomic():
        update = record(member_key, action, _distinct(song_ids), now)
    _memory.keep(member_key, update.favorite_ids)
    return update


def _update_own_user(
    member_key: str, action: models.OverlayAction, song_ids: tuple[int, ...], now: datetime
) -> FavoritesUpdate:
    rows = models.CallerFavorite.objects.filter(member_key=member_key)
    before = _newest_first(rows)
    if action == models.OverlayAction.REMOVE:
        rows.filter(song_id__in=song_ids).delete()
    elif action == models.OverlayAction.ADD:
        _insert_favorites(member_key, [s for s in song_ids if s not in set(before)], now)
    elif before != song_ids:
        rows.delete()
        _insert_favorites(member_key, song_ids, now)
    after = _newest_first(rows)
    return FavoritesUpdate(favorite_ids=after, changed=set(before) != set(after))


def _newest_first(rows: Any) -> tuple[int, ...]:
    return tuple(rows.order_by("-stated_at", "rank").values_list("song_id", flat=True))


def _insert_favorites(member_key: str, song_ids: Iterable[int], now: datetime) -> None:
    models.CallerFavorite.objects.bulk_create(
        [
            models.CallerFavorite(member_key=member_key, song_id=song_id, stated_at=now, rank=rank)
            for rank, song_id in enumerate(song_ids)
        ],
        batch_size=500,
        ignore_conflicts=True,  # the same call may arrive twice at once
    )


def _update_database_member(
    member_key: str, action: models.OverlayAction, song_ids: tuple[int, ...], now: datetime
) -> FavoritesUpdate:
    marks = _marks(member_key)
    models.FavoriteOverlay.objects.filter(
        member_key=member_key, stated_at__lte=now - OVERLAY_LIFE
    ).delete()
    before, _ = with_overlays(marks, _overlays(member_key))
    if action == models.OverlayAction.LIST:
        _state_list(member_key, song_ids, before, now)
    else:
        _state_songs(member_key, action, song_ids, before, now)
    after, settled = with_overlays(marks, _overlays(member_key))
    if settled:
        _drop_overlays(settled)
    return FavoritesUpdate(favorite_ids=after, changed=set(before) != set(after))


def _overlays(member_key: str) -> list[_Overlay]:
    return [
        _Overlay(
            pk=row.pk,
            action=row.action,
            song_id=row.song_id,
            song_ids=tuple(map(int, filter(None, row.song_ids.split(",")))),
            stated_at=row.stated_at,
        )
        for row in models.FavoriteOverlay.objects.filter(member_key=member_key)
    ]


def _state_list(
    member_key: str, song_ids: tuple[int, ...], before: tuple[int, ...], now: datetime
) -> None:
    """A full list replaces everything said before; one that says nothing new changes nothing."""
    if set(song_ids) == set(before):
        return
    rows = models.FavoriteOverlay.objects.filter(member_key=member_key)
    rows.delete()
    rows.create(
        member_key=member_key,
        action=models.OverlayAction.LIST,
        song_ids=",".join(map(str, song_ids)),
        stated_at=now,
    )


def _state_songs(
    member_key: str,
    action: models.OverlayAction,
    song_ids: tuple[int, ...],
    before: tuple[int, ...],
    now: datetime,
) -> None:
    adding = action == models.OverlayAction.ADD
    for song_id in song_ids:
        if (song_id in before) == adding:
            continue
        models.FavoriteOverlay.objects.update_or_create(
            member_key=member_key,
            song_id=song_id,
            defaults={"action": action, "stated_at": now},
        )


# --- Stored taste ------------------------------------------------------------------------------------


def store_taste(
    member_key: str,
    *,
    text: str,
    genres: Sequence[str],
    moods: Sequence[str],
    artists: Sequence[str],
    favorites_sha: str,
    source: str,
    now: datetime,
    prompt_version: str = "",
) -> None:
    """Put a newly read taste in force; a change of words is kept in the history."""
    taste = {
        "taste_text": text,
        "preferred_genres": list(genres),
        "preferred_moods": list(moods),
        "preferred_artists": list(artists),
        "favorites_sha": favorites_sha,
        "source": source,
        "prompt_version": prompt_version,
        "generated_at": now,
    }
    latest = models.TasteSnapshot.objects.filter(member_key=member_key).order_by(
        "-generated_at", "-pk"
    )
    upsert(models.TasteProfile(member_key=member_key, **taste), key="member_key")
    snapshot = models.TasteSnapshot(member_key=member_key, **taste)
    before = latest.first()
    if before is None or _wording(before) != _wording(snapshot):
        snapshot.save()


def _wording(taste: models.TasteFields) -> tuple[Any, ...]:
    return (
        taste.taste_text,
        taste.preferred_genres,
        taste.preferred_moods,
        taste.preferred_artists,
        taste.source,
    )


# --- Overrides by staff ------------------------------------------------------------------------------


def override_taste(
    member_key: str, *, kind: str, action: str, value: str, reason: str, by: Any, now: datetime
) -> models.TasteOverride:
    """Pin, add or bar a genre, mood or artist, or put a text in place of the computed one.

    An earlier decision about the same thing is undone by the new one. The caller checks permissions.
    """
    value = value.strip()
    with transaction.atomic():
        same = models.TasteOverride.objects.for_member(member_key).active().filter(kind=kind)
        for earlier in same:
            if kind == models.OverrideKind.TEXT or fold(earlier.value) == fold(value):
                earlier.undo(by=by, reason=reason, now=now)
        return models.TasteOverride.objects.create(
            member_key=member_key,
            kind=kind,
            action=models.OverrideAction.PIN if kind == models.OverrideKind.TEXT else action,
            value=value,
            reason=reason,
            made_by=by,
            made_by_name=by.get_username(),
            made_at=now,
        )


# --- Feedback ----------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What became of one reported event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One event as a caller reports it."""

    event_id: str
    member_key: str
    song_id: int
    type: str
    value: float | None = None
    run_id: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    #: Timezone-aware; None = now.
    occurred_at: datetime | None = None


def record_feedback(events: Sequence[Feedback], *, now: datetime) -> list[tuple[Verdict, str]]:
    """Store events and return a verdict with its reason for each, in order.

    An event id that was seen before changes nothing; late events are welcome, events from the future
    are not.
    """
    seen = _known_event_ids(event.event_id for event in events)
    rows, verdicts = [], []
    for event in events:
        verdict = _judge(event, seen, now)
        verdicts.append(verdict)
        if verdict[0] is Verdict.ACCEPTED:
            seen.add(event.event_id)
            rows.append(_feedback_row(event, now))
    models.FeedbackEvent.objects.bulk_create(rows, ignore_conflicts=True)
    return verdicts


def _known_event_ids(event_ids: Iterable[str]) -> set[str]:
    known = models.FeedbackEvent.objects.filter(event_id__in=list(event_ids))
    return set(known.values_list("event_id", flat=True))


def _judge(event: Feedback, seen: set[str], now: datetime) -> tuple[Verdict, str]:
    if event.event_id in seen:
        return Verdict.DUPLICATE, "This event id was reported before."
    if event.occurred_at and event.occurred_at > now + CLOCK_SKEW:
        return Verdict.REJECTED, "occurred_at lies in the future."
    low, high = {"rating": (1, 5), "play": (0, 1)}.get(event.type, (float("-inf"), float("inf")))
    if event.value is None:
        missing = event.type == models.FeedbackType.RATING
        return (
            (Verdict.REJECTED, "A rating needs a value from 1 to 5.")
            if missing
            else (Verdict.ACCEPTED, "")
        )
    if not low <= event.value <= high:
        return Verdict.REJECTED, f"value of {event.type} must be from {low} to {high}."
    return Verdict.ACCEPTED, ""


def _feedback_row(event: Feedback, now: datetime) -> models.FeedbackEvent:
    return models.FeedbackEvent(
        event_id=event.event_id,
        member_key=event.member_key,
        song_id=event.song_id,
        type=event.type,
        value=event.value,
        run_id=event.run_id,
        context=event.context,
        occurred_at=min(event.occurred_at or now, now),
        received_at=now,
    )


# --- Blocks ------------------------------------------------------------------------------------------


def blocks_of(member_key: str, *, now: datetime) -> list[models.Block]:
    """Return blocks in force, newest first."""
    active = models.Block.objects.filter(member_key=member_key).active(now)
    return list(active.order_by("-created_at", "-pk"))


def block(
    member_key: str,
    *,
    kind: str,
    song_id: int | None = None,
    name: str = "",
    until: datetime | None = None,
    now: datetime,
) -> models.Block:
    """Keep a song, artist or genre from a member; the same block again only moves its end."""
    row, _created = models.Block.objects.update_or_create(
        member_key=member_key,
        kind=kind,
        key=_block_key(kind, song_id, name),
        defaults={"song_id": song_id, "name": name.strip(), "until": until},
        create_defaults={
            "song_id": song_id,
            "name": name.strip(),
            "until": until,
            "created_at": now,
        },
    )
    return row


def unblock(member_key: str, *, kind: str, song_id: int | None = None, name: str = "") -> int:
    """Lift a block; 0 when there was none."""
    rows = models.Block.objects.filter(
        member_key=member_key, kind=kind, key=_block_key(kind, song_id, name)
    )
    return rows.delete()[0]


def _block_key(kind: str, song_id: int | None, name: str) -> str:
    return str(song_id) if kind == models.BlockKind.SONG else fold(name)


# --- Impressions -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An answer a member was shown, once or more often since the last batch."""

    member_key: str
    run_uuid: UUID
    #: (song id, list it stood in, place from 1), every song once
    places: Sequence[tuple[int, str, int]]
    times: int = 1


def record_impressions(batch: Iterable[Shown], *, now: datetime) -> None:
    """Count what was shown: two statements per run, never one per song or read."""
    shown = list(batch)
    rows = [
        models.Impression(
            run_id=str(answer.run_uuid),
            member_key=answer.member_key,
            song_id=song_id,
            group=label[:120],
            position=place,
            first_at=now,
            last_at=now,
        )
        for answer in shown
        for song_id, label, place in answer.places
    ]
    with transaction.atomic():
        models.Impression.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
        for answer in shown:
            models.Impression.objects.filter(run_id=str(answer.run_uuid)).update(
                times=F("times") + answer.times, last_at=now
            )


# --- Retention ---------------------------------------------------------------------------------------


def purge(*, now: datetime, feedback_days: int, impression_days: int) -> dict[str, int]:
    """Delete what is too old to count, in small transactions; returns how many rows of each."""
    return {
        "feedback": _delete_in_rounds(
            models.FeedbackEvent.objects.filter(received_at__lt=now - timedelta(days=feedback_days))
        ),
        "impressions": _delete_in_rounds(
            models.Impression.objects.filter(last_at__lt=now - timedelta(days=impression_days))
        ),
        "overlays": models.FavoriteOverlay.objects.filter(
            stated_at__lte=now - OVERLAY_LIFE
        ).delete()[0],
        "blocks": models.Block.objects.filter(until__lt=now).delete()[0],
    }


def _delete_in_rounds(rows: Any) -> int:
    deleted = 0
    while keys := list(rows.values_list("pk", flat=True)[:DELETE_PER_ROUND]):
        deleted += rows.model.objects.filter(pk__in=keys).delete()[0]
    return deleted


def forget() -> None:
    """Drop the favourites this process remembers (tests)."""
    _memory.clear()
