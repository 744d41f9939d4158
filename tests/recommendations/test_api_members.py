"""Feedback, blocks, similar songs and search as callers use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from rest_framework.test import APIClient

from catalog import snapshot
from catalog.factories import MemberFactory, SongFactory, SongLikeFactory
from catalog.models import Song
from profiles.models import Block, FeedbackEvent
from recommendations import services

pytestmark = [pytest.mark.django_db, pytest.mark.urls("recommendations.api.urls")]


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def songs() -> list[Song]:
    """Six songs of two artists; the last one has the Korean title only."""
    made = [
        SongFactory(
            song_id=n,
            title_jp=f"夜の歌{n}",
            title_kr=f"밤의 노래 {n}",
            artist="YOASOBI" if n <= 3 else "Ado",
            artist_kr="요아소비" if n <= 3 else "아도",
            genre="J-pop" if n <= 3 else "록",
            mood="감성적" if n <= 3 else "강렬",
        )
        for n in range(1, 6)
    ]
    return [*made, SongFactory(song_id=6, title_jp="", title_kr="이름", tj_number=0, artist="Ado")]


def event(**changes):
    return {"event_id": "e1", "memberId": "42", "song_id": 1, "type": "skip", **changes}


def send(api, *events):
    return api.post("/feedback", {"events": list(events)}, format="json")


# --- Feedback ----------------------------------------------------------------------------------------
def test_each_event_gets_its_verdict_and_a_bad_one_spoils_no_other(api):
    answer = send(
        api,
        event(),
        event(event_id="e2", type="rating", value=9),
        event(event_id="e3", song_id="x"),
        event(event_id="e4", type="play", value=0.5, occurred_at="2026-05-01T21:04:00+09:00"),
    )
    assert answer.status_code == 202
    told = [(v["event_id"], v["verdict"]) for v in answer.json()["verdicts"]]
    assert told == [("e1", "accepted"), ("e2", "rejected"), ("e3", "rejected"), ("e4", "accepted")]
    counts = {k: v for k, v in answer.json().items() if k != "verdicts"}
    assert counts == {"accepted": 2, "duplicate": 0, "rejected": 2}
    assert FeedbackEvent.objects.get(event_id="e4").occurred_at == datetime(
        2026, 5, 1, 12, 4, tzinfo=UTC
    )


def test_an_event_sent_twice_is_one_event(api):
    send(api, event())
    again = send(api, event(type="dislike"), event(event_id="e9"), event(event_id="e9"))
    assert [v["verdict"] for v in again.json()["verdicts"]] == [
        "duplicate",
        "accepted",
        "duplicate",
    ]
    assert FeedbackEvent.objects.get(event_id="e1").type == "skip"


def test_late_events_are_welcome_and_future_ones_are_not(api):
    now = datetime.now(UTC)
    answer = send(
        api,
        event(occurred_at=(now - timedelta(days=90)).isoformat()),
        event(event_id="e2", occurred_at=(now + timedelta(days=1)).isoformat()),
        event(event_id="e3", occurred_at=(now + timedelta(minutes=2)).isoformat()),
    )
    assert [v["verdict"] for v in answer.json()["verdicts"]] == ["accepted", "rejected", "accepted"]


def test_both_names_of_the_member_and_numbers_work(api):
    send(api, event(memberId=42), event(event_id="e2", memberId=None, user_id="user123"))
    assert set(FeedbackEvent.objects.values_list("member_key", flat=True)) == {"42"}
    send(api, {"event_id": "e3", "user_id": "user123", "song_id": 1, "type": "play"})
    assert FeedbackEvent.objects.get(event_id="e3").member_key == "user123"


@pytest.mark.parametrize(
    "body", [{}, {"events": []}, {"events": [event()] * 501}, {"events": "x"}, {"events": [1]}, []]
)
def test_a_body_without_one_to_500_events_is_refused(api, body):
    assert api.post("/feedback", body, format="json").status_code == 400


def test_a_disliked_song_is_gone_from_the_answer_in_force(api, songs):
    gone = recommended()[0]
    send(api, event(song_id=gone, type="dislike"))
    assert gone not in in_force()


# --- Blocks ------------------------------------------------------------------------------------------
def test_a_block_is_listed_moved_and_lifted(api):
    url = "/members/42/blocks"
    api.post(url, {"kind": "artist", "name": "ＹＯＡＳＯＢＩ"}, format="json")
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    again = api.post(url, {"kind": "artist", "name": "yoasobi ", "until": until}, format="json")
    assert again.status_code == 200
    listed = api.get(url).json()
    assert listed["member_id"] == "42"
    assert [(b["kind"], b["name"], b["song_id"]) for b in listed["blocks"]] == [
        ("artist", "yoasobi", None)
    ]
    assert listed["blocks"][0]["until"]
    assert api.delete(f"{url}?kind=artist&name=Yoasobi").json()["removed"] == 1
    assert api.delete(f"{url}?kind=artist&name=Yoasobi").json()["removed"] == 0
    assert api.get(url).json()["blocks"] == []


def test_an_ended_block_counts_no_more(api):
    api.post("/members/42/blocks", {"kind": "song", "song_id": 5}, format="json")
    Block.objects.update(until=datetime.now(UTC) - timedelta(seconds=1))
    assert api.get("/members/42/blocks").json()["blocks"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "song"},
        {"kind": "artist", "name": " "},
        {"kind": "mood", "name": "x"},
        {"kind": "song", "song_id": 2**63},
        {"kind": "song", "song_id": 1, "until": "2001-01-01T00:00:00Z"},
    ],
)
def test_a_block_that_names_nothing_is_refused(api, body):
    assert api.post("/members/42/blocks", body, format="json").status_code == 400


def test_blocks_of_one_member_are_not_another_ones(api):
    api.post("/members/42/blocks", {"kind": "song", "song_id": 5}, format="json")
    assert api.get("/members/4/blocks").json()["blocks"] == []


def test_a_blocked_artist_is_gone_from_the_answer_in_force_and_back_when_lifted(api, songs):
    recommended()
    api.post("/members/42/blocks", {"kind": "artist", "name": "요아소비"}, format="json")
    assert {1, 2, 3}.isdisjoint(in_force())
    api.delete("/members/42/blocks?kind=artist&name=요아소비")
    assert {1, 2, 3} & set(in_force())


def recommended() -> list[int]:
    """Make an answer and return what is stored of it."""
    services.recommend(services.Request(member_key="42", ask_model=False))
    return in_force()


def in_force() -> list[int]:
    """Ids of the candidates that a cached read gives."""
    return [song["song_id"] for song in orjson.loads(services.cached("42").body)["candidates"]]


# --- Finding songs -----------------------------------------------------------------------------------
@pytest.mark.parametrize("typed", ["夜の歌2", "밤의노래2", "ㅂㅇㄴㄹ", "요아소비"])
def test_songs_are_found_as_people_type(api, songs, typed):
    answer = api.get("/songs/search", {"q": typed})
    assert answer.status_code == 200
    assert 2 in [song["song_id"] for song in answer.json()["songs"]]


def test_a_found_song_has_the_contracts_fields(api, songs):
    song = api.get("/songs/search", {"q": "이름"}).json()["songs"][0]
    assert song["title_en"] == "이름"  # the app shows title_jp || title_en only
    assert song["tj_number"] is None
    assert 0 < song["score"] <= 1


@pytest.mark.parametrize("query", [{}, {"q": ""}, {"q": "x" * 101}, {"q": "x", "limit": 0}])
def test_a_search_for_nothing_is_refused(api, query):
    assert api.get("/songs/search", query).status_code == 400


def test_a_search_that_finds_nothing_is_an_empty_list(api, songs):
    assert api.get("/songs/search", {"q": "zzzzzz"}).json()["songs"] == []


def test_similar_songs_are_others_with_a_reason(api, songs):
    answer = api.get("/songs/1/similar", {"count": 2}).json()
    found = [song["song_id"] for song in answer["songs"]]
    assert found
    assert 1 not in found
    assert found[0] in {2, 3}
    assert all(song["reason"] for song in answer["songs"])


def test_a_song_that_is_not_there_has_no_similar_ones(api, songs):
    assert api.get("/songs/999/similar").status_code == 404


def test_several_seeds_work_together_and_unknown_ones_are_named(api, songs):
    answer = api.post("/songs/similar", {"song_ids": [1, "4", 999, 1]}, format="json").json()
    assert answer["song_ids"] == [1, 4, 999]
    assert answer["unresolved"] == [999]
    assert {1, 4}.isdisjoint(song["song_id"] for song in answer["songs"])


def test_only_unknown_seeds_give_an_empty_list(api, songs):
    answer = api.post("/songs/similar", {"song_ids": [998, 999]}, format="json")
    assert (answer.status_code, answer.json()["songs"]) == (200, [])


def test_reading_costs_no_database_query(api, songs, django_assert_num_queries):
    SongLikeFactory(song=songs[0], member=MemberFactory())
    snapshot.current()
    api.get("/songs/search", {"q": "밤"})
    with django_assert_num_queries(0):
        api.get("/songs/search", {"q": "노래"})
