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
from engine.types import Exclude, Query, SongView
from infrastructure.redis import gate
from infrastructure.time import SEOUL
from profiles import services as profiles

from . import active_engine, answer_store, query_json
from .request import NamedSong, Request, Unresolved

#: Letters that are compared to find the names of one request that are not exact, about a second of work. Names
#: beyond it are reported in `unresolved`; some 200 misspelt names of ordinary length fit.
FUZZY_LETTERS = 24_000
#: No language model is configured: a standing fact, not a fault.
NO_MODEL = "no_model"


class Clock:
    """Milliseconds by part of the work."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = round(self.parts.get(name, 0.0) + _ms_since(began), 2)

    @property
    def total_s(self) -> float:
        return time.perf_counter() - self._began


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


class Work:
    """Everything gathered for one request, before and while it is answered."""

    def __init__(self, request: Request, *, now: datetime) -> None:
        self.request, self.now, self.clock = request, now, Clock()
        self.run_id = str(uuid4())
        self.state = active_engine.current()
        with self.clock.part("resolve"):
            named, self.unresolved = resolved(request.favorite_songs, self.state)
        given = request.favorite_ids
        if named:
            given = tuple(dict.fromkeys((*(given or ()), *named)))
        with self.clock.part("database"):
            self.picture = profiles.member_profile(
                request.member_key,
                favorite_ids=given,
                now=now,
                last_known=lambda: answer_store.last_known_favorites(request.member_key),
            )
        #: Whether the member's favourites are known, not guessed from what was last heard of him.
        self.knows_favorites = given is not None or self.picture.database_ok
        self.unresolved += self._unknown_ids()

    def _unknown_ids(self) -> list[Unresolved]:
        favorites = self.picture.favorite_ids
        rows = self.state.snapshot.catalog.rows_of(favorites)
        return [
            Unresolved(song_id=song_id)
            for song_id, row in zip(favorites, rows, strict=True)
            if row < 0
        ]

    @property
    def fingerprint(self) -> str:
        """Of everything about the member that an answer depends on; the order of favourites does not matter."""
        picture = self.picture
        parts = (
            picture.favorites_sha,
            picture.feedback_sha,
            picture.overrides_sha,
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

    def degraded(self, by_model: str) -> str:
        """The one reason an answer names: what is away now before what was never there."""
        if not self.picture.database_ok:
            return "database"
        if by_model and by_model != NO_MODEL:
            return by_model
        return "redis" if gate.configured and not gate.up else by_model

    def query(self) -> Query:
        request, picture = self.request, self.picture
        return Query(
            member_key=request.member_key,
            favorite_ids=picture.favorite_ids,
            signals=picture.signals,
            impressions=picture.impressions,
            preferences=picture.preferences,
            context=request.context,
            only=request.only,
            exclude=_merged(request.exclude, picture.exclude),
            count=request.stored_count,
            strategy=request.strategy,
            locale=request.locale,
            adventure=request.adventure,
            diversity=request.diversity,
            allow_known=request.allow_known,
            now=self.now,
            seed=self.seed,
        )

    def query_record(self) -> dict[str, Any]:
        """The query as JSON, for "why" and for replay."""
        return query_json.query_to_json(self.query())


def _merged(asked: Exclude, blocked: Exclude) -> Exclude:
    names = ("song_ids", "artists", "genres", "moods", "anime")
    both: dict[str, Any] = {name: getattr(asked, name) | getattr(blocked, name) for name in names}
    return replace(asked, **both)


def resolved(
    named: Sequence[NamedSong], state: active_engine.EngineState
) -> tuple[list[int], list[Unresolved]]:
    """Song ids of what is named by text, in order, and what could not be found."""
    found: list[int] = []
    missing: list[Unresolved] = []
    catalog = state.snapshot.catalog
    budget = FuzzyBudget(letters=FUZZY_LETTERS)
    matches = resolve_names(state.snapshot.search, named, budget=budget)
    for song, match in zip(named, matches, strict=True):
        if match.row is not None:
            found.append(int(catalog.song_ids[match.row]))
            continue
        near = tuple(_display(catalog.view(row)) for row in match.near[:3])
        missing.append(Unresolved(title=song.title, artist=song.artist, did_you_mean=near))
    return found, missing


def _display(song: SongView) -> str:
    title = song.title_jp or song.title_en or song.title_kr
    return f"{title} - {song.artist or song.artist_kr}"
