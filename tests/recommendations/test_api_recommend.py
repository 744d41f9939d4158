"""`POST /recommend`: both generations of bodies, what is refused and what is reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from bench.fake_model import FakeModel
from catalog.factories import SongFactory
from catalog.models import Song
from prompts.models import ModelCall
from recommendations import services
from recommendations.models import Job, Run

from .conftest import World

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(path, data, content_type="application/json", headers=headers)


def recommended(client: Client, **body: Any) -> dict[str, Any]:
    answer = post(client, "/recommend", body)
    assert answer.status_code == 200, answer.content
    return answer.json()


# --- Both generations -----------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/recommend", "/recommend/"])
def test_a_member_gets_groups_and_fifty_candidates(client, world: World, path: str) -> None:
    answer = post(client, path, {"memberId": world.alice})
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "completed"
    assert len(body["candidates"]) == 50
    assert body["groups"]
    assert body["favorite_song_ids"] == list(world.alice_likes)
    assert answer["X-Run-Id"] == body["run_id"]
    assert Run.objects.filter(pk=body["run_id"], trigger="api").exists()


def test_a_callers_own_user_gets_twenty(client, world: World) -> None:
    assert len(recommended(client, user_id="user123")["candidates"]) == 20


def test_a_new_user_without_anything_gets_a_varied_start(client, world: World) -> None:
    body = recommended(client, user_id="somebody-new")
    assert body["groups"]
    assert len({song["artist"] for song in body["candidates"]}) > 5


@pytest.mark.parametrize(
    "sent",
    [
        {"memberId": "@alice", "favorite_song_ids": ["@0", "@1", "@0"]},
        {"user_id": "@alice", "favorite_song_ids": ["@0", "@1"]},
        {"memberId": "@alice", "user_id": "@alice", "favorite_song_ids": ["@0", None, "@1"]},
    ],
)
def test_ids_may_be_text_and_come_twice_in_either_body(client, world: World, sent: Any) -> None:
    names = {"@alice": world.alice, "@0": str(world.ballads[0]), "@1": world.ballads[1]}
    body = {
        key: [names.get(one, one) for one in value] if isinstance(value, list) else names[value]
        for key, value in sent.items()
    }
    assert recommended(client, **body)["favorite_song_ids"] == list(world.ballads[:2])


def test_null_and_absent_mean_the_databases_favourites_and_an_empty_list_means_none(
    client, world: World
) -> None:
    assert recommended(client, memberId=world.alice, favorite_song_ids=None)[
        "favorite_song_ids"
    ] == list(world.alice_likes)
    assert (
        recommended(client, memberId=world.alice, favorite_song_ids=[])["favorite_song_ids"] == []
    )


def test_songs_named_by_text_are_found_and_the_others_reported(client, world: World) -> None:
    song = SongFactory(
        title_jp="アイドル", title_kr="아이돌", artist="YOASOBI", artist_kr="요아소비"
    )
    body = recommended(
        client,
        user_id="user123",
        favorite_songs=[
            {"title": "아이돌", "artist": "yoasobi", "genre": "팝"},
            {"title": "그런 노래는 없어요 정말로", "artist": None},
        ],
        count=5,
    )
    assert body["favorite_song_ids"] == [song.pk]
    assert [item["title"] for item in body["unresolved"]] == ["그런 노래는 없어요 정말로"]
    assert len(body["candidates"]) == 5


@pytest.mark.parametrize("key", [42, "42", "0042", " 42 "])
def test_a_member_of_digits_is_one_member_however_written(client, world: World, key: Any) -> None:
    recommended(client, memberId=key)
    assert post(client, "/recommend/cached", {"user_id": "42"}).status_code == 200


@pytest.mark.parametrize("key", ["9" * 64, "user 한글 名前", "a" * 64, "x:y@z.kr"])
def test_unusual_member_ids_are_served(client, world: World, key: str) -> None:
    assert len(recommended(client, memberId=key)["candidates"]) == 50
    assert post(client, "/recommend/cached", {"memberId": key}).status_code == 200


def test_ids_that_can_be_no_song_are_reported_not_refused(client, world: World) -> None:
    body = recommended(
        client, memberId="7", favorite_song_ids=[world.rock[0], 0, -3, 2**31, "99999999999", 10**30]
    )
    assert body["favorite_song_ids"] == [world.rock[0]]
    reported = [item["song_id"] for item in body["unresolved"]]
    assert reported == [0, -3, str(2**31), "99999999999", str(int(float(10**30)))]


def test_every_id_that_is_unknown_is_reported(client, world: World) -> None:
    unknown = list(range(900_000, 900_250))
    impossible = [-number for number in range(1, 201)]
    body = recommended(client, memberId="7", favorite_song_ids=[*unknown, *impossible])
    reported = {item["song_id"] for item in body["unresolved"]}
    assert reported == {*unknown, *impossible}


def test_a_null_among_named_songs_names_nothing(client, world: World) -> None:
    named = [None, {"title": "그런 노래는 없어요 정말로"}, None]
    body = recommended(client, memberId=world.alice, favorite_songs=named)
    assert len(body["unresolved"]) == 1
    assert body["favorite_song_ids"] == list(world.alice_likes)


# --- Situation, dials, filters --------------------------------------------------------------------
@pytest.mark.parametrize(
    "context",
    [
        {"time_of_day": "밤", "activity": "운동"},
        {"time_of_day": "night", "activity": "workout"},
        {"at": "2026-01-31T23:30:00+09:00", "activity": "ジム運動 "},
        {"at": "2026-01-31T14:30:00Z", "mood": "강렬"},
    ],
)
def test_situations_are_understood_in_several_languages(client, world: World, context: Any) -> None:
    body = recommended(client, memberId=world.alice, context=context)
    said = {item["field"] for item in body["unresolved"]}
    assert said <= {"context.activity"}  # only the made-up Japanese word
    assert ("context.activity" in said) == ("ジム運動 " in context.values())
    run = Run.objects.get(pk=body["run_id"])
    assert run.query["context"]["time_of_day"] == "night"


def test_unknown_words_of_a_situation_are_reported_not_refused(client, world: World) -> None:
    body = recommended(
        client,
        memberId=world.alice,
        context={"mood": "grumbly?", "activity": 7, "at": "yesterday", "weather": "rain"},
        only={"artists": ["Nobody At All"]},
    )
    assert {(item["field"], item["value"]) for item in body["unresolved"]} == {
        ("context.mood", "grumbly?"),
        ("context.activity", "7"),
        ("context.at", "yesterday"),
        ("context.weather", "rain"),
        ("only.artists", "Nobody At All"),
    }


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-02-30T10:00", "", 7]
)
def test_a_moment_outside_the_calendar_is_reported_not_refused(client, world: World, at) -> None:
    body = recommended(client, memberId=world.alice, context={"at": at})
    assert [item["field"] for item in body["unresolved"]] == ["context.at"] * (at != "")


def test_only_and_exclude_are_kept(client, world: World) -> None:
    body = recommended(
        client,
        memberId=world.alice,
        only={"genres": ["발라드"]},
        exclude={"artists": ["발라드0"], "song_ids": [str(world.ballads[7])]},
    )
    songs = body["candidates"]
    assert songs
    assert {song["genre"] for song in songs} == {"발라드"}
    assert "발라드0" not in {song["artist"] for song in songs}
    assert world.ballads[7] not in {song["song_id"] for song in songs}


def test_locale_names_a_region_too(client, world: World) -> None:
    body = recommended(client, memberId=world.alice, locale="ja-JP")
    assert body["message"].startswith("おすすめ")


def test_only_the_plain_variant_lands_in_the_shared_key(client, world: World) -> None:
    recommended(client, memberId=world.alice, locale="en")
    assert post(client, "/recommend/cached", {"memberId": world.alice}).status_code == 404


# --- Refused, each with its reason -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "memberId"),
        ({"memberId": None, "user_id": None}, "memberId"),
        ({"memberId": ""}, "memberId"),
        ({"memberId": "x" * 65}, "memberId"),
        ({"memberId": "a\x00b"}, "memberId"),
        ({"memberId": True}, "memberId"),
        ({"memberId": "1", "user_id": "2"}, "user_id"),
        ({"memberId": "1", "favorite_song_ids": "1,2"}, "favorite_song_ids"),
        ({"memberId": "1", "favorite_song_ids": [1, "x", 2.5]}, "favorite_song_ids[1]"),
        ({"memberId": "1", "favorite_song_ids": list(range(1, 10_002))}, "favorite_song_ids"),
        ({"memberId": "1", "favorite_songs": [{"title": "a"}] * 201}, "favorite_songs"),
        ({"memberId": "1", "favorite_songs": [{"artist": "a"}]}, "favorite_songs[0].title"),
        ({"memberId": "1", "count": 0}, "count"),
        ({"memberId": "1", "count": 101}, "count"),
        ({"memberId": "1", "strategy": "slow"}, "strategy"),
        ({"memberId": "1", "locale": "fr"}, "locale"),
        ({"memberId": "1", "adventure": 1.5}, "adventure"),
        ({"memberId": "1", "context": "rainy"}, "context"),
        ({"memberId": "1", "only": {"karaoke": ["joysound"]}}, "only.karaoke"),
    ],
)
def test_a_wrong_value_is_named(client, world: World, body: Any, field: str) -> None:
    answer = post(client, "/recommend", body)
    told = answer.json()
    assert answer.status_code == 400
    assert told["code"] == "INVALID_REQUEST"
    assert field in [error["field"] for error in told["errors"]]
    assert b"timeout" not in answer.content.lower()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"42"',
        b'{"memberId": "1", "count": NaN}',
        b'{"memberId": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_told_so(client, db: None, body: bytes) -> None:
    answer = post(client, "/recommend", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "detail", "errors"}


def test_other_errors_have_the_same_shape(client, db: None) -> None:
    told = {
        405: client.get("/recommend"),
        404: client.get("/recommendations"),
        415: client.post("/recommend", b"memberId=1", content_type="text/plain"),
        413: post(client, "/recommend", b'{"memberId": "1", "x": "' + b"x" * 262_144 + b'"}'),
    }
    for status, answer in told.items():
        assert answer.status_code == status
        assert set(answer.json()) == {"code", "detail", "errors"}
        assert answer["Content-Type"] == "application/json"
    assert "POST" in told[405]["Allow"]


def test_ten_thousand_favourites_are_served(client, world: World) -> None:
    ids = [str(number) for number in range(1, 10_001)]
    body = recommended(client, memberId="77", favorite_song_ids=ids)
    assert len(body["favorite_song_ids"]) == 10_000


def test_a_caller_that_accepts_only_html_gets_json(client, world: World) -> None:
    answer = post(client, "/recommend", {"memberId": world.alice}, accept="text/html")
    assert answer["Content-Type"] == "application/json"


def test_an_unforeseen_error_tells_nothing_of_the_inside(client, monkeypatch, world: World) -> None:
    def broken(request: Any) -> None:
        raise ZeroDivisionError("mysql://root:secret@db.internal/songs")

    monkeypatch.setattr(services, "recommend", broken)
    client.raise_request_exception = False
    answer = post(client, "/recommend", {"memberId": "1"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "INTERNAL"
    assert answer["X-Request-Id"]
    for word in (b"secret", b"mysql", b"Zero", b"Traceback", b".py"):
        assert word not in answer.content


# --- Sensible answers for odd situations ------------------------------------------------------------
def test_an_empty_catalog_gives_an_empty_answer(client, db: None) -> None:
    body = recommended(client, memberId="1")
    assert body["groups"] == []
    assert body["candidates"] == []


@pytest.mark.parametrize(
    ("locale", "said"), [("ko", "없어요"), ("ja", "ありません"), ("en", "no new song")]
)
def test_a_member_who_likes_everything_is_told_that_nothing_is_left(
    client, world: World, locale: str, said: str
) -> None:
    everything = list(Song.objects.values_list("pk", flat=True))
    body = recommended(client, memberId="5", favorite_song_ids=everything, locale=locale)
    assert (body["status"], body["groups"], body["candidates"]) == ("completed", [], [])
    assert said in body["message"]


def test_while_the_model_has_no_room_the_local_answer_leaves_and_the_models_is_queued(
    client, world: World, model: FakeModel, all_places_taken
) -> None:
    body = recommended(client, memberId=world.alice)
    assert body["degraded"] == "busy"
    assert body["candidates"]
    assert not ModelCall.objects.exists()
    assert Job.objects.filter(name="refresh_member", member_key=world.alice).count() == 1


# --- Why --------------------------------------------------------------------------------------------
def test_why_a_song_is_there_and_why_another_is_not(client, world: World) -> None:
    body = recommended(client, memberId=world.alice)
    served = body["candidates"][0]["song_id"]
    there = client.get(f"/recommend/{body['run_id']}/why?song_id={served}")
    assert there.status_code == 200
    assert {"list": "candidates", "place": 1} in there.json()["served_in"]
    liked = client.get(f"/recommend/{body['run_id']}/why/?song_id={world.alice_likes[0]}")
    assert liked.status_code == 200
    assert liked.json()["served_in"] == []


def test_why_of_an_unknown_run_or_without_a_song(client, world: World) -> None:
    unknown = client.get("/recommend/7d0c5c0e-2f0e-4f3e-9c57-0b8a3f1f7a51/why?song_id=1")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "RUN_NOT_FOUND")
    body = recommended(client, memberId=world.alice)
    assert client.get(f"/recommend/{body['run_id']}/why").status_code == 400
