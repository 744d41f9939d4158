"""The request that a job's row stores: what is written is read back, in every form rows may have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.types import Activity, Locale, Strategy, TimeOfDay
from recommendations.api.recommend_serializers import RecommendInput
from recommendations.serving.parsing.request_json import request_from_json, request_to_json
from recommendations.serving.parsing.stored_requests import read_request
from recommendations.serving.request import Request, Unresolved

BODIES: dict[str, dict[str, Any]] = {
    "a member": {"memberId": "042"},
    "a caller's user": {"user_id": " user123 ", "memberId": None},
    "a number": {"memberId": 42, "count": "7", "strategy": " Fast ", "locale": "ja-JP"},
    "defaults spelled out": {"memberId": "1", "count": None, "strategy": "", "locale": None},
    "ids of all kinds": {"memberId": "1", "favorite_song_ids": [3, "4", 5.0, None, 3, -1, 2**31]},
    "no favourites": {"memberId": "1", "favorite_song_ids": []},
    "songs by name": {
        "user_id": "u",
        "favorite_songs": [{"title": " 아이돌\x00 ", "artist": None}, None, {"title": 24}],
    },
    "a situation": {
        "memberId": "1",
        "context": {"time_of_day": "밤", "activity": "운동", "mood": "신나는", "weather": "rain"},
    },
    "a moment": {"memberId": "1", "context": {"at": "2026-01-31T14:30:00Z", "mood": 7}},
    "dials": {"memberId": "1", "adventure": "0.5", "diversity": 1, "allow_known": "true"},
    "filters": {
        "memberId": "1",
        "only": {"genres": " 록 ", "karaoke": ["tj"], "song_ids": ["7", 8], "moods": None},
        "exclude": {"artists": ["YOASOBI", 7], "anime": [], "song_ids": [9, -9]},
        "allow_known": False,
    },
}


def parsed(body: dict[str, Any]) -> Request:
    given = RecommendInput(data=body)
    given.is_valid(raise_exception=True)
    return given.request()


@pytest.mark.parametrize("name", BODIES)
def test_a_request_is_read_back_from_its_json(name: str) -> None:
    request = parsed(BODIES[name])
    stored = json.loads(json.dumps(request_to_json(request)))
    assert request_from_json(stored) == request
    assert read_request({"request": stored, "digest": "d"}) == request


@pytest.mark.parametrize("name", BODIES)
def test_a_raw_body_in_an_old_row_means_the_same_request(name: str) -> None:
    assert read_request({"body": BODIES[name], "digest": "d"}) == parsed(BODIES[name])


def test_a_message_of_the_backend_is_read_from_its_arguments() -> None:
    arguments = {
        "member_key": "42",
        "favorite_ids": [3, 4],
        "count": 30,
        "strategy": "deep",
        "locale": "en",
        "requested_at": "2026-01-31T12:00:00+00:00",
    }
    assert read_request(arguments) == Request(
        member_key="42",
        favorite_ids=(3, 4),
        count=30,
        strategy=Strategy.DEEP,
        locale=Locale.EN,
    )


def test_what_needs_no_catalog_is_understood_when_the_request_is_parsed() -> None:
    request = parsed(BODIES["a situation"])
    assert (request.context.time_of_day, request.context.activity) == (
        TimeOfDay.NIGHT,
        Activity.WORKOUT,
    )
    assert (request.context.mood, request.mood_word) == ("", "신나는")
    assert request.unresolved == (Unresolved(field="context.weather", value="rain"),)


def test_a_request_of_a_newer_release_is_refused() -> None:
    with pytest.raises(ValueError, match="newer release"):
        request_from_json(request_to_json(Request(member_key="1")) | {"version": 2})
