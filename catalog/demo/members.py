"""Plans the demo members: what each one likes, since when, and what is on their playlists."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from catalog.models import Role

HERE = Path(__file__).parent
SONGS_CSV = HERE / "songs.csv"
PERSONAS_JSON = HERE / "personas.json"

#: Days over which likes are spread: long enough that taste drifts, short enough to count.
LIKES_SPAN_DAYS = 548
#: How much more often well-known songs are liked than their artist alone explains.
HIT_FACTOR = 3.0
#: Weight of a song outside a member's taste: every member has a few odd likes.
STRAY_WEIGHT = 0.01
#: Exponent of the fit: a song that fits twice as well is liked more than four times as often.
PEAKEDNESS = 2.2
#: Share of a second persona in every member, so that two fans of one artist differ.
SIDE_SHARE = 0.25
#: Factor for the persona's artists that a member does not follow closely.
FAINT_ARTIST = 0.25
GHOSTS = 2


@dataclass(frozen=True, kw_only=True)
class DemoSong:
    """One row of songs.csv."""

    song_id: int
    title_jp: str
    artist: str
    genre: str
    mood: str
    #: Year of release; 0 where it is not known.
    year: int

    @cached_property
    def words(self) -> frozenset[str]:
        """Single genres and moods."""
        return frozenset(f"{self.genre}, {self.mood}".split(", "))


@dataclass(frozen=True, kw_only=True)
class PlannedPlaylist:
    title: str
    song_ids: tuple[int, ...]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class PlannedMember:
    """A demo member before anything is written."""

    email: str
    #: Name of the persona; "" for the showcase member and for newcomers.
    persona: str
    roles: tuple[str, ...]
    joined_at: datetime
    #: (song_id, when), oldest first.
    likes: tuple[tuple[int, datetime], ...]
    playlists: tuple[PlannedPlaylist, ...]


def read_songs() -> list[dict[str, str]]:
    """Rows of songs.csv, in the order of song_id."""
    with SONGS_CSV.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def plan_members(
    rows: Sequence[dict[str, str]], *, now: datetime, rng: Random
) -> list[PlannedMember]:
    """Every demo member; the same rows, `now` and seed give the same members."""
    return _MemberPlanner(rows, now=now, rng=rng).members()


def _fit(song: DemoSong, persona: dict[str, Any], followed: frozenset[str]) -> float:
    """How well a song fits a persona, from 0; about 5 for a favourite artist's typical song."""
    closeness = 1.0 if song.artist in followed else FAINT_ARTIST
    fit = closeness * persona["artists"].get(song.artist, 0)
    for name, weight in {**persona["genres"], **persona["moods"]}.items():
        if song.words.issuperset(name.split(", ")):
            fit += weight
    first, last = persona["era"]
    outside = max(first - song.year, song.year - last, 0) if song.year else 0
    return fit * 0.9**outside


class _MemberPlanner:
    """Draws members from the personas; every draw comes from one random source."""

    def __init__(self, rows: Sequence[dict[str, str]], *, now: datetime, rng: Random) -> None:
        data = json.loads(PERSONAS_JSON.read_text("utf-8"))
        self.songs = [
            DemoSong(
                song_id=int(row["song_id"]),
                title_jp=row["title_jp"],
                artist=row["artist"],
                genre=row["genre"],
                mood=row["mood"],
                year=int(row["released"][:4] or 0),
            )
            for row in rows
        ]
        self.personas: list[dict[str, Any]] = data["personas"]
        self.showcase: dict[str, Any] = data["showcase"]
        self.common_titles: list[str] = data["playlist_titles"]
        self.hits = frozenset(data["hits"])
        self.now = now
        self.rng = rng

    def members(self) -> list[PlannedMember]:
        planned = [self._showcase_member()]
        # One of each persona in turn, so that the first page of the admin already shows variety.
        rounds = max(persona["members"] for persona in self.personas)
        for turn in range(rounds):
            for persona in self.personas:
                if turn < persona["members"]:
                    planned.append(self._member(len(planned) + 1, persona))
        for likes in (0, 1, 2):
            planned.append(self._newcomer(len(planned) + 1, likes))
        return planned

    def _member(self, number: int, persona: dict[str, Any]) -> PlannedMember:
        weights = self._weights(persona)
        chosen = self._draw(weights, self.rng.randint(*persona["likes"]))
        # The last members drawn are deactivated: rows that batches leave out.
        total = 1 + sum(each["members"] for each in self.personas)
        roles = (Role.GHOST.value,) if number > total - GHOSTS else (Role.USER.value,)
        likes = self._dated(chosen)
        return PlannedMember(
            email=_email(number),
            persona=persona["name"],
            roles=roles,
            joined_at=likes[0][1] - timedelta(days=self.rng.randint(0, 60)),
            likes=likes,
            playlists=self._playlists(persona, weights, chosen, since=likes[0][1]),
        )

    def _weights(self, persona: dict[str, Any]) -> list[float]:
        """One weight a song: the persona, a share of another one, and what everybody knows."""
        artists = sorted(persona["artists"])
        followed = frozenset(self.rng.sample(artists, max(3, round(len(artists) * 0.6))))
        side = self.rng.choice([other for other in self.personas if other is not persona])
        side_artists: frozenset[str] = frozenset(side["artists"])
        weights = []
        for song in self.songs:
            fit = _fit(song, persona, followed) + SIDE_SHARE * _fit(song, side, side_artists)
            known = HIT_FACTOR if song.title_jp in self.hits else 1.0
            weights.append((STRAY_WEIGHT + fit**PEAKEDNESS) * known)
        return weights

    def _draw(self, weights: Sequence[float], count: int) -> list[int]:
        """`count` different song ids, heavier ones first more often (Efraimidis and Spirakis, 2006)."""
        keyed = [
            (self.rng.random() ** (1 / weight), song.song_id)
            for song, weight in zip(self.songs, weights, strict=True)
        ]
        return [song_id for _, song_id in sorted(keyed, reverse=True)[:count]]

    def _dated(self, song_ids: Sequence[int]) -> tuple[tuple[int, datetime], ...]:
        """Give every like a moment of the last 18 months, oldest first, in evening singing sessions."""
        first_day = self.rng.randint(90, LIKES_SPAN_DAYS)
        dated = []
        for song_id in song_ids:
            age_days = self.rng.triangular(0.2, first_day, first_day * 0.3)
            minute = self.rng.randint(0, 5 * 60)
            day = (self.now - timedelta(days=age_days)).replace(hour=18, minute=0, second=0)
            moment = day.replace(microsecond=0) + timedelta(minutes=minute)
            dated.append((song_id, min(moment, self.now - timedelta(minutes=5))))
        return tuple(sorted(dated, key=lambda like: (like[1], like[0])))

    def _playlists(
        self,
        persona: dict[str, Any],
        weights: Sequence[float],
        liked: Sequence[int],
        *,
        since: datetime,
    ) -> tuple[PlannedPlaylist, ...]:
        """Up to three lists; about two thirds of a list are liked songs, the rest fit but are not liked."""
        titles = self.rng.sample(
            [*persona["playlists"], *self.common_titles], self.rng.randint(0, 3)
        )
        lists = []
        for title in titles:
            size = self.rng.randint(5, 14)
            from_likes = self.rng.sample(list(liked), min(len(liked), round(size * 0.65)))
            others = [song_id for song_id in self._draw(weights, size * 3) if song_id not in liked]
            age = (self.now - since) * self.rng.random()
            lists.append(
                PlannedPlaylist(
                    title=title,
                    song_ids=tuple(from_likes + others[: size - len(from_likes)]),
                    created_at=(self.now - age).replace(microsecond=0),
                )
            )
        return tuple(lists)

    def _newcomer(self, number: int, likes: int) -> PlannedMember:
        """A member who joined days ago and has hardly liked anything yet."""
        joined_at = (self.now - timedelta(days=3 - likes)).replace(microsecond=0)
        hits = [song.song_id for song in self.songs if song.title_jp in self.hits]
        moments = [joined_at + timedelta(minutes=20 * (index + 1)) for index in range(likes)]
        return PlannedMember(
            email=_email(number),
            persona="",
            roles=(Role.USER.value,),
            joined_at=joined_at,
            likes=tuple(zip(self.rng.sample(hits, likes), moments, strict=True)),
            playlists=(),
        )

    def _showcase_member(self) -> PlannedMember:
        """Member 1: the one that `make run`, the README and the screenshots show."""
        by_name = {(song.title_jp, song.artist): song.song_id for song in self.songs}
        by_title = {song.title_jp: song.song_id for song in reversed(self.songs)}
        likes = self._dated([by_name[title, artist] for title, artist in self.showcase["likes"]])
        return PlannedMember(
            email=self.showcase["email"],
            persona="",
            roles=(Role.USER.value,),
            joined_at=likes[0][1] - timedelta(days=7),
            likes=likes,
            playlists=tuple(
                PlannedPlaylist(
                    title=title,
                    song_ids=tuple(by_title[name] for name in songs),
                    created_at=likes[-1][1],
                )
                for title, songs in self.showcase["playlists"]
            ),
        )


def _email(number: int) -> str:
    return f"demo{number:02d}@example.invalid"
