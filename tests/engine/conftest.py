"""A small, named world: 60 songs of eight artists, twelve members with three tastes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.catalog.catalog import Catalog
from engine.training.model import Model
from engine.types import Query, SongView

NOW = datetime(2026, 1, 15, 21, tzinfo=UTC)

#: artist, Hangul name, genre, mood, anime
ARTISTS = (
    ("米津玄師", "요네즈 켄시", "J-pop", "감성적", ""),
    ("YOASOBI", "요아소비", "일렉트로 팝", "에너지", "推しの子"),
    ("Ado", "아도", "J-pop, 록", "강렬", ""),
    ("back number", "백 넘버", "발라드", "감성적", ""),
    ("結束バンド", "결속밴드", "록", "에너지", "ぼっち・ざ・ろっく！"),
    ("あいみょん", "아이묭", "J-pop  서정 팝", "잔잔", ""),
    ("藤井風", "후지이 카제", "팝", "잔잔", ""),
    ("LiSA", "리사", "록", "강렬", "鬼滅の刃"),
)


def song(song_id: int, **changes: object) -> SongView:
    """One song of the small catalog; seven in a row have different artists."""
    artist, artist_kr, genre, mood, anime = ARTISTS[song_id % len(ARTISTS)]
    given: dict[str, object] = {
        "title_jp": f"曲{song_id}番目のうた",
        "title_kr": f"{song_id}번째 노래",
        "artist": artist,
        "artist_kr": artist_kr,
        "genre": genre,
        "mood": mood,
        "anime": anime,
        "lang": "ja",
        "tj_number": 1000 + song_id if song_id % 5 else None,
        "ky_number": 40_000 + song_id if song_id % 3 else None,
        "created_at": NOW - timedelta(days=20 * song_id),
    }
    return SongView(song_id=song_id, **{**given, **changes})  # type: ignore[arg-type]


def likes() -> list[tuple[int, int, datetime | None]]:
    """Members 1–12: each likes every third song of "their" artists, all like songs 1 and 2."""
    found: list[tuple[int, int, datetime | None]] = []
    for member in range(1, 13):
        own = {member % 3, member % 3 + 3}
        liked = [n for n in range(1, 61) if n % len(ARTISTS) in own and (n + member) % 3]
        found += [(member, n, NOW - timedelta(days=n)) for n in liked]
        found += [(member, 1, None), (member, 2, NOW)]
    return found


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.build([song(n) for n in range(1, 61)], likes=likes(), now=NOW)


@pytest.fixture(scope="session")
def model(catalog: Catalog) -> Model:
    return Model.untrained(catalog.corpus)


def query(*favorites: int, **changes: object) -> Query:
    given: dict[str, object] = {"member_key": "1", "now": NOW, "count": 20}
    return Query(favorite_ids=favorites, **{**given, **changes})  # type: ignore[arg-type]
