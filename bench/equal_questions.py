"""What equal_answers.py asks for each member: recommendations in several situations, reasons, songs, changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

SEED = 20260501
#: Members with higher numbers are users of callers' own.
DEMO_MEMBERS = 120


@dataclass(frozen=True)
class Song:
    """What the demo says of a song."""

    song_id: int
    title_jp: str
    title_kr: str
    artist: str
    artist_kr: str
    genre: str
    mood: str


CONTEXTS: tuple[dict[str, str], ...] = (
    {"time_of_day": "밤", "mood": "비 오는 날", "activity": "휴식"},
    {"at": "2026-01-31T23:30:00+09:00", "activity": "출퇴근"},
    {"mood": "신나는", "activity": "party"},
    {"time_of_day": "morning", "mood": "Calm"},
    {"activity": "workout", "mood": "없는 기분"},
    {"at": "2026-07-04T08:00:00", "mood": "雨"},
)
INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "like"},
    {"type": "sang", "context": {"activity": "party"}},
    {"type": "skip"},
    {"type": "rating", "value": 2},
    {"type": "dislike"},
    {"type": "play", "value": 0.9},
    {"type": "replay"},
    {"type": "playlist"},
    {"type": "complete"},
    {"type": "rating", "value": 5},
)


def read_songs(database: Path) -> list[Song]:
    columns = "song_id, title_jp, title_kr, artist, artist_kr, genre, mood"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(f"SELECT {columns} FROM song ORDER BY song_id").fetchall()
    return [Song(song_id, *(text or "" for text in texts)) for song_id, *texts in rows]


class Questions:
    """The questions of every member, the same for both checkouts."""

    def __init__(self, songs: list[Song], *, briefly: bool) -> None:
        self._songs, self._briefly, self._random = songs, briefly, Random(SEED)

    def of_members(self, count: int) -> list[dict[str, Any]]:
        asked = [question for number in range(1, count + 1) for question in self._of(number)]
        return [*asked, *(self._cached(number) for number in range(1, count + 1))]

    def _of(self, number: int) -> Iterator[dict[str, Any]]:
        """briefly: with each member one of the further questions instead of all."""
        member = self._member(number)
        plain: dict[str, Any] = dict(member)
        if "user_id" in member:
            plain["favorite_songs"] = self._named(self._random.randint(0, 9))
        yield _post("/recommend", plain)
        yield self._cached(number)
        further = (
            self._explained(number),
            self._in_a_situation(number, member),
            self._songs_asked_for(number),
            self._changed(number, member),
        )
        for place, questions in enumerate(further):
            if not self._briefly or number % len(further) == place:
                yield from questions

    def _explained(self, number: int) -> Iterator[dict[str, Any]]:
        yield _get("/recommend/{run}/why?song_id={song}")
        if number % 3 == 1:
            yield _get(f"/recommend/{{run}}/why?song_id={self._random.choice(self._songs).song_id}")

    def _in_a_situation(self, number: int, member: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield _post("/recommend", self._varied(number, member))
        if number % 3 == 2:
            yield _get("/recommend/{run}/why?song_id={song}")

    def _songs_asked_for(self, number: int) -> Iterator[dict[str, Any]]:
        song = self._random.choice(self._songs)
        yield self._similar(number, song)
        yield _get("/songs/search?" + urlencode({"q": _typed(song, number), "limit": 5}))

    def _changed(self, number: int, member: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if number % 3 == 0:
            yield self._change(number, member)
        elif number % 4 == 0:
            yield _post("/feedback", {"events": self._events(number, member)})
        elif number % 5 == 0:
            yield from self._block(number, member, self._random.choice(self._songs))
        else:
            return
        yield _post("/recommend", dict(member))

    def _member(self, number: int) -> dict[str, Any]:
        if number <= DEMO_MEMBERS:
            return {"memberId": str(number)} if number % 2 else {"user_id": number}
        return {"user_id": f"caller-{number}"}

    def _cached(self, number: int) -> dict[str, Any]:
        key = next(iter(self._member(number).values()))
        if number % 2:
            return _get(f"/recommend/cached/{key}")
        return _post("/recommend/cached", self._member(number))

    def _named(self, count: int) -> list[dict[str, str]]:
        """Songs as people write them: in Korean or Japanese, with slips, with and without the singer."""
        named = []
        for index, song in enumerate(self._random.sample(self._songs, count)):
            title = song.title_kr if index % 2 and song.title_kr else song.title_jp or song.title_kr
            if index % 4 == 3:
                title = title[:-1] or title
            artist = ("", song.artist, song.artist_kr)[index % 3]
            named.append({"title": title or "?", "artist": artist, "genre": song.genre})
        return named

    def _varied(self, number: int, member: dict[str, Any]) -> dict[str, Any]:
        """A recommendation with every dial in turn."""
        some = self._random.sample(self._songs, 6)
        fields: dict[str, tuple[Any, ...]] = {
            "locale": ("ja", "en-US", "ko_KR", None),
            "strategy": ("default", "fast", "deep"),
            "context": (*CONTEXTS, None),
            "adventure": (None, 0, 1, 0.3),
            "diversity": (None, None, 0, 1, 0.6),
            "count": (None, 5, 100, 33, 1),
            "allow_known": (False, True),
            "favorite_song_ids": (None, None, [song.song_id for song in some] + ["999999"], []),
            "favorite_songs": (None, None, None, None, self._named(3)),
            "only": (
                *(None,) * 4,
                {"karaoke": ["tj"], "languages": ["ja"]},
                {"genres": sorted({song.genre for song in some}), "moods": "없는 기분"},
                {"artists": [some[0].artist, some[1].artist_kr]},
            ),
            "exclude": (
                *(None,) * 5,
                {"artists": [song.artist for song in some], "genres": [some[0].genre]},
                {"song_ids": [song.song_id for song in some], "moods": [some[1].mood]},
            ),
        }
        chosen = {
            name: values[(number + place) % len(values)]
            for place, (name, values) in enumerate(fields.items())
        }
        return member | {name: value for name, value in chosen.items() if value is not None}

    def _similar(self, number: int, song: Song) -> dict[str, Any]:
        locale = ("ko", "ja", "en")[number % 3]
        if number % 4:
            return _get(f"/songs/{song.song_id}/similar?count=10&locale={locale}")
        others = [other.song_id for other in self._random.sample(self._songs, 3)]
        return _post(
            "/songs/similar", {"song_ids": [*others, 888_888], "count": 10, "locale": locale}
        )

    def _change(self, number: int, member: dict[str, Any]) -> dict[str, Any]:
        song = self._random.choice(self._songs)
        if number % 2:
            data = {"title": song.title_kr or song.title_jp, "artist": song.artist_kr}
            action = "remove_favorite" if number % 9 == 0 else "add_favorite"
            return _post("/favorites/updated", member | {"action": action, "song_data": data})
        ids = [other.song_id for other in self._random.sample(self._songs, 5)]
        return _post("/favorites/updated", member | {"favorite_song_ids": ids})

    def _events(self, number: int, member: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                **member,
                **event,
                "event_id": f"{number}-{place}",
                "song_id": self._random.choice(self._songs).song_id,
                "occurred_at": f"2026-04-{1 + place:02d}T21:04:00+09:00",
            }
            for place, event in enumerate(EVENTS)
        ]

    def _block(self, number: int, member: dict[str, Any], song: Song) -> Iterator[dict[str, Any]]:
        blocks = f"/members/{next(iter(member.values()))}/blocks"
        wanted: tuple[dict[str, Any], ...] = (
            {"kind": "artist", "name": song.artist, "until": "2036-06-01T00:00:00+09:00"},
            {"kind": "song", "song_id": song.song_id},
            {"kind": "genre", "name": song.genre},
        )
        yield _post(blocks, wanted[number // 5 % 3])
        yield _get(blocks)


def _post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"method": "POST", "path": path, "body": body}


def _get(path: str) -> dict[str, Any]:
    return {"method": "GET", "path": quote(path, safe="/?=&{}%+")}


def _typed(song: Song, number: int) -> str:
    """What a member types to find a song."""
    korean = song.title_kr or song.title_jp
    return (
        korean,
        "".join(_initial(letter) for letter in korean),
        song.title_jp or korean,
        f"{song.artist_kr} {korean}",
        song.artist,
        korean[: max(1, len(korean) - 1)],
    )[number % 6]


def _initial(letter: str) -> str:
    place = ord(letter) - 0xAC00
    return INITIALS[place // 588] if 0 <= place < 11_172 else letter
