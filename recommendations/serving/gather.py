"""Gathers what one recommendation needs: who asks, what is known of the member, the engine in force."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from engine.catalog.search.fuzzy_budget import FuzzyBudget
from engine.catalog.search.query import resolve_names
from engine.types import Query
from infrastructure.redis import gate
from infrastructure.time import SEOUL
from profiles import services as profiles

from ..models import Degraded
from . import active_engine
from .active_engine import EngineState
from .parsing import context_words
from .request import NamedSong, Request, Unresolved
from .stored_answers import answer_store

#: Letters that are compared to find the names of one request that are not exact, about a second of work. Names
#: beyond it are reported in `unresolved`; some 200 misspelt names of ordinary length fit.
FUZZY_LETTERS = 24_000


class Stopwatch:
    """Milliseconds by part of the work."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._started = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self.parts[name] = round(self.parts.get(name, 0.0) + took_ms, 2)

    @property
    def total_s(self) -> float:
        return time.perf_counter() - self._started


class Gathered:
    """Everything known for one request, before and while it is answered."""

    def __init__(self, request: Request, *, now: datetime) -> None:
        self.now, self.stopwatch = now, Stopwatch()
        self.run_id = str(uuid4())
        self.state = active_engine.current()
        self.request, unknown_words = _resolve_words(request, self.state)
        with self.stopwatch.part("resolve"):
            named, not_found = resolve_songs(request.favorite_songs, self.state)
        given = request.favorite_ids
        if named:
            given = tuple(dict.fromkeys((*(given or ()), *named)))
        with self.stopwatch.part("database"):
            self.profile = profiles.member_profile(
                request.member_key,
                favorite_ids=given,
                now=now,
                last_known=lambda: answer_store.last_known_favorites(request.member_key),
            )
        #: False: the favourites are those of the member's last answer, because the database is down.
        self.knows_favorites = given is not None or self.profile.database_ok
        self.unresolved = [
            *request.unresolved,
            *unknown_words,
            *not_found,
            *self._unknown_favorites(),
        ]

    def _unknown_favorites(self) -> list[Unresolved]:
        favorites = self.profile.favorite_ids
        rows = self.state.snapshot.catalog.rows_of(favorites)
        return [
            Unresolved(song_id=song_id)
            for song_id, row in zip(favorites, rows, strict=True)
            if row < 0
        ]

    @property
    def fingerprint(self) -> str:
        """Of everything about the member that an answer depends on; the order of favourites does not matter."""
        profile = self.profile
        parts = (
            profile.favorites_sha,
            profile.feedback_sha,
            profile.overrides_sha,
            self.request.variant,
        )
        return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()

    @property
    def seed(self) -> int:
        """Same member, same favourites, same day: same list."""
        day = self.now.astimezone(SEOUL).date().isoformat()
        digest = hashlib.blake2b(
            f"{self.request.member_key}|{self.fingerprint}|{day}".encode(), digest_size=7
        )
        return int.from_bytes(digest.digest())

    def choose_degraded(self, by_model: str) -> str:
        """Choose `degraded`: a current outage outranks "no model configured".

        by_model: why the model did not take part, "" when it did or was not wanted.
        """
        if not self.profile.database_ok:
            return Degraded.DATABASE
        if by_model and by_model != Degraded.NO_MODEL:
            return by_model
        return Degraded.REDIS if gate.configured and not gate.up else by_model

    def query(self) -> Query:
        request, profile = self.request, self.profile
        exclude: dict[str, Any] = {
            name: getattr(request.exclude, name) | getattr(profile.exclude, name)
            for name in ("song_ids", "artists", "genres", "moods", "anime")
        }
        return Query(
            member_key=request.member_key,
            favorite_ids=profile.favorite_ids,
            signals=profile.signals,
            impressions=profile.impressions,
            preferences=profile.preferences,
            context=request.context,
            only=request.only,
            exclude=replace(request.exclude, **exclude),
            count=request.stored_count,
            strategy=request.strategy,
            locale=request.locale,
            adventure=request.adventure,
            diversity=request.diversity,
            allow_known=request.allow_known,
            now=self.now,
            seed=self.seed,
        )


def _resolve_words(request: Request, state: EngineState) -> tuple[Request, list[Unresolved]]:
    """The request with the catalog's word for its mood, and names that the catalog does not have."""
    unknown: list[Unresolved] = []
    if request.mood_word:
        mood = context_words.resolve_mood(request.mood_word, state)
        if not mood:
            unknown.append(context_words.unknown_mood(request.mood_word))
        request = replace(request, context=replace(request.context, mood=mood), mood_word="")
    unknown += context_words.unknown_names(request.only, "only", state)
    unknown += context_words.unknown_names(request.exclude, "exclude", state)
    return request, unknown


def resolve_songs(
    named: Sequence[NamedSong], state: EngineState
) -> tuple[list[int], list[Unresolved]]:
    """Ids of the songs named by text, in order, and what could not be found."""
    found: list[int] = []
    missing: list[Unresolved] = []
    catalog = state.snapshot.catalog
    budget = FuzzyBudget(letters=FUZZY_LETTERS)
    matches = resolve_names(state.snapshot.search, named, budget=budget)
    for song, match in zip(named, matches, strict=True):
        if match.row is not None:
            found.append(int(catalog.song_ids[match.row]))
            continue
        near = tuple(
            f"{view.title_jp or view.title_en or view.title_kr} - {view.artist or view.artist_kr}"
            for view in map(catalog.view, match.near[:3])
        )
        missing.append(Unresolved(title=song.title, artist=song.artist, did_you_mean=near))
    return found, missing
