"""Stores the taste that was read of a member, and the decisions of staff about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from engine.catalog.text import fold
from engine.types import Preference
from infrastructure.database import upsert
from profiles.models import (
    OverrideAction,
    OverrideKind,
    TasteFields,
    TasteOverride,
    TasteProfile,
    TasteSnapshot,
    TasteSource,
)

#: Weights of overrides by staff (`engine.types.Preference.weight`).
OVERRIDE_WEIGHTS = {OverrideAction.PIN: 1.0, OverrideAction.ADD: 0.7, OverrideAction.BAR: -1.0}
#: Weights of what the model read: the first word weighs most, each later one a little less.
MODEL_FIRST, MODEL_STEP, MODEL_MIN = 0.6, 0.08, 0.2


@dataclass(frozen=True, kw_only=True)
class StoredTaste:
    """A taste as the model or the engine read it, without staff's overrides."""

    text: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    artists: tuple[str, ...]
    favorites_sha: str
    source: str  #: `TasteSource`
    generated_at: datetime
    prompt_version: str = ""

    def words_by_kind(self) -> dict[str, tuple[str, ...]]:
        """Words of the taste by `OverrideKind`."""
        return {
            OverrideKind.GENRE.value: self.genres,
            OverrideKind.MOOD.value: self.moods,
            OverrideKind.ARTIST.value: self.artists,
        }


@dataclass(frozen=True, kw_only=True, order=True)
class Override:
    """One decision of staff that is in force.

    Its repr is part of a fingerprint that is stored with answers: a renamed field makes them stale once.
    """

    kind: str  #: `OverrideKind`
    action: str  #: `OverrideAction`
    value: str


def stored_taste(member_key: str) -> StoredTaste | None:
    """Read the taste in force."""
    row = TasteProfile.objects.filter(member_key=member_key).first()
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
    """Put a newly read taste in force; add it to the history when its words changed."""
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
    upsert(TasteProfile(member_key=member_key, **taste), key="member_key")
    history = TasteSnapshot.objects.filter(member_key=member_key)
    before = history.order_by("-generated_at", "-pk").first()
    after = TasteSnapshot(member_key=member_key, **taste)
    if before is None or _wording(before) != _wording(after):
        after.save()


def _wording(taste: TasteFields) -> tuple[Any, ...]:
    return (
        taste.taste_text,
        taste.preferred_genres,
        taste.preferred_moods,
        taste.preferred_artists,
        taste.source,
    )


def override_taste(
    member_key: str, *, kind: str, action: str, value: str, reason: str, by: Any, now: datetime
) -> TasteOverride:
    """Pin, add or bar a genre, mood or artist, or replace the computed text.

    Undoes an earlier decision about the same thing. The caller checks permissions.
    """
    value = value.strip()
    with transaction.atomic():
        same = TasteOverride.objects.for_member(member_key).active().filter(kind=kind)
        for earlier in same:
            if kind == OverrideKind.TEXT or fold(earlier.value) == fold(value):
                earlier.undo(by=by, reason=reason, now=now)
        return TasteOverride.objects.create(
            member_key=member_key,
            kind=kind,
            action=OverrideAction.PIN if kind == OverrideKind.TEXT else action,
            value=value,
            reason=reason,
            made_by=by,
            made_by_name=by.get_username(),
            made_at=now,
        )


def override_preferences(overrides: Iterable[Override]) -> list[Preference]:
    """Overrides by staff as leanings of the engine."""
    return [
        Preference(
            kind=override.kind,
            name=fold(override.value),
            weight=OVERRIDE_WEIGHTS[OverrideAction(override.action)],
            source="staff",
        )
        for override in overrides
        if override.kind != OverrideKind.TEXT
    ]


def model_preferences(taste: StoredTaste | None) -> list[Preference]:
    """Leanings that the model read. A taste computed by the engine adds nothing the engine does not know."""
    if taste is None or taste.source != TasteSource.MODEL:
        return []
    return [
        Preference(
            kind=kind,
            name=fold(word),
            weight=max(MODEL_FIRST - MODEL_STEP * place, MODEL_MIN),
            source="model",
        )
        for kind, words in taste.words_by_kind().items()
        for place, word in enumerate(words)
    ]
