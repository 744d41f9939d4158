"""Gathers everything the engine needs to know of a member right now, with or without the database."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from catalog.keys import member_id_of
from catalog.queries import MemberMarks
from engine.catalog.text import fold
from engine.types import Exclude, ImpressionCount, Preference, Signal
from infrastructure.database import DATABASE_FAULTS, guard
from profiles.favorites import (
    delete_overlays,
    distinct,
    marks_by_key,
    remembered,
    with_overlays,
)
from profiles.member_rows import BlockRow, MemberRows, read_member_rows
from profiles.models import BlockKind, OverrideAction, OverrideKind
from profiles.taste import Override, StoredTaste, model_preferences, override_preferences

log = logging.getLogger(__name__)
T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class MemberProfile:
    """What the engine needs to know of a member, and fingerprints of it."""

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
        return list(self.taste.words_by_kind()[kind]) if self.taste is not None else []

    def with_overrides(self, kind: str, words: Iterable[str]) -> list[str]:
        """Put staff's pins first and additions last, drop barred words; spelled as staff did."""
        overrides = {fold(o.value): o for o in self.overrides if o.kind == kind}
        pinned = [o.value for o in overrides.values() if o.action == OverrideAction.PIN]
        added = [o.value for o in overrides.values() if o.action == OverrideAction.ADD]
        return [*pinned, *(word for word in words if fold(word) not in overrides), *added]


def member_profile(
    member_key: str,
    *,
    favorite_ids: Sequence[int] | None,
    now: datetime,
    last_known: Callable[[], Sequence[int]] = tuple,
) -> MemberProfile:
    """Gather what is known of a member in at most four queries.

    favorite_ids: exactly these count, None = what is stored. last_known: called for favourites when the
    database is down and this process does not remember the member. Never raises because of the database.
    """
    rows, rows_ok = _attempt(lambda: read_member_rows(member_key, now), MemberRows())
    marks, marks_ok = _attempt(lambda: marks_by_key(member_key), None)
    database_ok = rows_ok and marks_ok
    favorites = _favorites(member_key, favorite_ids, rows, marks)
    if favorites is None or (not database_ok and favorite_ids is None and not favorites):
        favorites = remembered.get(member_key) or distinct(last_known())
    elif database_ok and favorite_ids is None:
        remembered.put(member_key, favorites)
    return _assembled(member_key, favorites, rows, marks, database_ok=database_ok)


def favorites_fingerprint(song_ids: Iterable[int]) -> str:
    """Digest of a set of favourites, whatever their order."""
    return _digest(",".join(map(str, sorted(set(song_ids)))))


def _attempt(read: Callable[[], T], default: D) -> tuple[T | D, bool]:
    """What was read and True, or the default and False when the database is down."""
    try:
        with guard():
            return read(), True
    except DATABASE_FAULTS as error:
        log.warning("Member is served without the database: %s", type(error).__name__)
        return default, False


def _favorites(
    member_key: str, sent: Sequence[int] | None, rows: MemberRows, marks: MemberMarks | None
) -> tuple[int, ...] | None:
    """Return the effective favourites; None when they cannot be known without the database."""
    if sent is not None:
        return distinct(sent)
    if member_id_of(member_key) is None:
        newest_first = sorted(rows.favorites, key=lambda f: (-f.stated_at.timestamp(), f.rank))
        return distinct(favorite.song_id for favorite in newest_first)
    if marks is None:
        return None
    overlaid = with_overlays(marks, rows.overlays)
    if overlaid.settled:
        _attempt(lambda: delete_overlays(overlaid.settled), None)
    return overlaid.favorite_ids


def _assembled(
    member_key: str,
    favorites: tuple[int, ...],
    rows: MemberRows,
    marks: MemberMarks | None,
    *,
    database_ok: bool,
) -> MemberProfile:
    favorite_set = set(favorites)
    marked = [s for s in marks.signals if s.song_id in favorite_set] if marks else []
    text = next((o.value for o in rows.overrides if o.kind == OverrideKind.TEXT), "")
    blocks = sorted((block.kind, block.name, block.song_id) for block in rows.blocks)
    return MemberProfile(
        member_key=member_key,
        favorite_ids=favorites,
        signals=(*marked, *rows.signals),
        impressions=tuple(rows.impressions),
        preferences=(*override_preferences(rows.overrides), *model_preferences(rows.taste)),
        exclude=_exclude(rows.blocks),
        database_ok=database_ok,
        taste=rows.taste,
        overrides=tuple(rows.overrides),
        taste_text=text or (rows.taste.text if rows.taste else ""),
        taste_text_override=text,
        favorites_sha=favorites_fingerprint(favorites),
        feedback_sha=_digest(repr((rows.newest_event, blocks))),
        overrides_sha=_digest(repr(sorted(rows.overrides))),
    )


def _exclude(blocks: Iterable[BlockRow]) -> Exclude:
    """A member's own blocks. What staff bars is a preference, so that the trace names staff."""

    def names(kind: BlockKind) -> frozenset[str]:
        return frozenset(fold(block.name) for block in blocks if block.kind == kind)

    return Exclude(
        song_ids=frozenset(block.song_id for block in blocks if block.kind == BlockKind.SONG),
        artists=names(BlockKind.ARTIST),
        genres=names(BlockKind.GENRE),
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
