"""Both answers, read as the backend's classes read them (contract §1): every field's name and type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from django.test import Client

from catalog.factories import AnimeFactory, MemberFactory, SongFactory, SongLikeFactory
from infrastructure.redis import gate

pytestmark = pytest.mark.django_db
INT_32 = 2**31 - 1
Check = Callable[[Any], bool]


def text(value: Any) -> bool:
    return isinstance(value, str)


def said(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def id_(value: Any) -> bool:
    return type(value) is int and 0 < value <= INT_32


def karaoke_number(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def score(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value <= 1


def day(value: Any) -> bool:
    return isinstance(value, str) and date.fromisoformat(value).isoformat() == value


def a_list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def an_object(fields: dict[str, Check], *, closed: bool = False) -> Check:
    """Every field is there and of its kind; closed: and no other."""

    def check(value: Any) -> bool:
        assert isinstance(value, dict), value
        assert not closed or set(value) == set(fields), set(value) ^ set(fields)
        wrong = {
            name: value.get(name, "(missing)")
            for name, is_right in fields.items()
            if name not in value or not is_right(value[name])
        }
        assert not wrong, wrong
        return True

    return check


GROUP_SONG: dict[str, Check] = {
    "song_id": id_,
    "title_jp": text,
    "title_kr": text,
    "title_en": text,
    "title_yomi": text,
    "artist": text,
    "artist_kr": text,
    "tj_number": karaoke_number,
    "ky_number": karaoke_number,
}
CANDIDATE = GROUP_SONG | {
    "genre": text,
    "mood": text,
    "recommendation_type": lambda value: value in {"preference", "random"},
    "matched_criteria": a_list_of(text),
    "match_score": score,
    "reason": text,
}
GROUP: dict[str, Check] = {
    "label": said,
    "tagline": lambda value: said(value) and len(value) <= 24,
    "songs": a_list_of(an_object(GROUP_SONG, closed=True)),
}
LISTS: dict[str, Check] = {
    "groups": a_list_of(an_object(GROUP, closed=True)),
    "candidates": a_list_of(an_object(CANDIDATE, closed=True)),
    "generated_date": day,
}
RECOMMENDATION = LISTS | {
    "status": lambda value: value == "completed",
    "message": said,
    "favorite_song_ids": a_list_of(id_),
    "run_id": said,
    "source": lambda value: value in {"cache", "local", "model"},
    "degraded": lambda value: value is None or said(value),
    "unresolved": a_list_of(lambda value: isinstance(value, dict)),
}
CACHED = LISTS | {"favorite_song_ids": a_list_of(id_), "cached": lambda value: value is True}


@pytest.fixture
def member() -> str:
    """A member whose songs hold what hand-written tables hold: zeros, nulls, blanks, odd characters."""
    anime = AnimeFactory()
    songs = [
        SongFactory(
            title_jp=None if number % 7 == 0 else f"𠮷野家の歌{number}",
            title_en=None if number % 7 == 0 else "",
            title_kr=f"노래 {number} 🎵",
            title_yomi=None,
            artist=f"髙橋{number % 8}" if number % 5 else None,
            artist_kr=f"가수{number % 8}",
            tj_number=(None, 0, 10_000 + number)[number % 3],
            ky_number=(0, 20_000 + number, None)[number % 3],
            genre=("J-pop  서정 팝", "팝, 록", None)[number % 3],
            mood=("에너지", None, "감성적, 잔잔")[number % 3],
            anime=anime if number % 4 == 0 else None,
        )
        for number in range(1, 81)
    ]
    member = MemberFactory()
    for song in songs[::9]:
        SongLikeFactory(member=member, song=song)
    return str(member.pk)


def recommended(client: Client, member: str, **more: Any) -> Any:
    body = {"memberId": member, **more}
    return client.post("/recommend", body, content_type="application/json")


@pytest.mark.parametrize(
    "more", [{}, {"favorite_song_ids": []}, {"locale": "ja"}, {"locale": "en"}]
)
def test_a_recommendation_can_be_read(client: Client, member: str, more: dict[str, Any]) -> None:
    answer = recommended(client, member, **more)
    assert answer.status_code == 200
    body = orjson.loads(answer.content)  # refuses NaN and Infinity
    an_object(RECOMMENDATION, closed=True)(body)
    assert body["groups"]
    assert body["candidates"]
    assert all(2 <= len(group["songs"]) <= 6 for group in body["groups"])
    today = datetime.now(ZoneInfo("Asia/Seoul")).date().isoformat()
    assert body["generated_date"] == today


def test_a_cached_answer_can_be_read(client: Client, member: str) -> None:
    recommended(client, member)
    for answer in (
        client.post("/recommend/cached", {"memberId": member}, content_type="application/json"),
        client.get(f"/recommend/cached/{member}"),
    ):
        an_object(CACHED, closed=True)(orjson.loads(answer.content))


def test_every_song_has_something_to_show(client: Client, member: str) -> None:
    """The app shows `title_jp || title_en` and `artist || artist_kr`."""
    body = recommended(client, member).json()
    songs = body["candidates"] + [song for group in body["groups"] for song in group["songs"]]
    assert all(song["title_jp"] or song["title_en"] for song in songs)
    assert all(song["artist"] or song["artist_kr"] for song in songs)


OLD_SCHEDULER = {
    "favorites": ["1", 65, None],
    "recommendations": {
        "groups": [
            {
                "label": "록",
                "tagline": None,
                "songs": [
                    {"title_jp": "夜", "title_kr": None, "artist": "A", "tj_number": "0"},
                    {"title_jp": "朝", "tj_number": "68134", "ky_number": ""},
                ],
            }
        ]
    },
    "generated_date": "2026-01-31",
}
JAVA_RESERIALISED = {
    "groups": [
        {"label": "팝", "tagline": "좋아요", "songs": [{"title_jp": "歌", "ky_number": "44529"}]}
    ],
    "candidates": [
        {"song_id": 7, "title_jp": None, "match_score": 0.5, "matched_criteria": None, "mood": None}
    ],
    "generated_date": "2026-01-31",
    "status": "completed",
}


@pytest.mark.parametrize("left", [OLD_SCHEDULER, JAVA_RESERIALISED], ids=["scheduler", "java"])
def test_what_other_writers_left_can_be_read_too(
    client: Client, left: Any, shared_redis: str
) -> None:
    gate.client().set("recommend:9", orjson.dumps(left))
    answer = client.post("/recommend/cached", {"memberId": "9"}, content_type="application/json")
    body = orjson.loads(answer.content)
    lists = {"favorite_song_ids": a_list_of(id_), "groups": a_list_of(bool)}
    an_object(lists | {"candidates": a_list_of(bool), "generated_date": day})(body)
    without_id = {name: check for name, check in GROUP_SONG.items() if name != "song_id"}
    for group in body["groups"]:
        an_object({"label": said, "tagline": said})(group)
        assert group["songs"]
        for song in group["songs"]:
            an_object(without_id)(song)
    for candidate in body["candidates"]:
        an_object(CANDIDATE)(candidate)
    assert body["cached"] is True
