"""`POST /favorites/updated` and `POST /warm/active`: noted at once, the rest queued."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from bench.fake_model import FakeModel
from catalog.factories import SongFactory
from infrastructure.database import DatabaseUnavailable
from recommendations.jobs import queue
from recommendations.models import Job

from .conftest import World

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, body: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def updated(client: Client, **body: Any) -> dict[str, Any]:
    answer = post(client, "/favorites/updated", body)
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "queued"
    return answer.json()


def served_ids(client: Client, member: str) -> tuple[list[int], set[int]]:
    """Favourites and every song of the stored answer."""
    body = post(client, "/recommend/cached", {"memberId": member}).json()
    songs = body["candidates"] + [song for group in body["groups"] for song in group["songs"]]
    return body["favorite_song_ids"], {song["song_id"] for song in songs}


def test_a_song_just_liked_is_in_no_cached_answer(client, world: World) -> None:
    post(client, "/recommend", {"memberId": world.alice})
    liked = min(served_ids(client, world.alice)[1])
    updated(client, user_id=world.alice, action="add_favorite", song_data={"song_id": liked})
    favorites, songs = served_ids(client, world.alice)
    assert favorites == [liked, *world.alice_likes]
    assert liked not in songs


def test_a_song_is_removed_and_saying_it_twice_changes_nothing(client, world: World) -> None:
    gone = world.alice_likes[1]
    for _ in range(2):
        told = updated(
            client, memberId=world.alice, action="remove_favorite", song_data={"song_id": str(gone)}
        )
        assert told["favorite_song_ids"] == [n for n in world.alice_likes if n != gone]


@pytest.mark.parametrize("member", ["user123", "@alice"])
def test_the_full_list_replaces_what_was_known(client, world: World, member: str) -> None:
    member = world.alice if member == "@alice" else member
    wanted = list(world.dance[:3])
    assert updated(client, memberId=member, favorite_song_ids=wanted)["favorite_song_ids"] == wanted
    recommended = post(client, "/recommend", {"user_id": member}).json()
    assert recommended["favorite_song_ids"] == wanted


def test_an_empty_list_means_none_and_null_means_look_anew(client, world: World) -> None:
    assert updated(client, memberId=world.alice, favorite_song_ids=[])["favorite_song_ids"] == []
    assert updated(client, memberId=world.bob, favorite_song_ids=None)["favorite_song_ids"] == list(
        world.ballads[0:25:5]
    )


def test_a_song_named_by_text_is_found_or_reported(client, world: World) -> None:
    song = SongFactory(title_jp="紅蓮華", title_kr="홍련화", artist="LiSA", artist_kr="리사")
    told = updated(
        client,
        user_id="user123",
        action="add_favorite",
        song_data={"title": "홍련화", "artist": "LiSA", "genre": "애니메이션"},
    )
    assert told["favorite_song_ids"] == [song.pk]
    told = updated(
        client, user_id="user123", action="add_favorite", song_data={"title": "없는 노래입니다만"}
    )
    assert told["favorite_song_ids"] == [song.pk]
    assert told["unresolved"][0]["title"] == "없는 노래입니다만"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "add_favorite", "song_data": {"song_id": 1}}, "memberId"),
        ({"memberId": "1", "action": "add_favorite"}, "song_data"),
        ({"memberId": "1", "action": "love", "song_data": {"song_id": 1}}, "action"),
        ({"memberId": "1", "action": "add_favorite", "song_data": {}}, "song_data.title"),
        ({"memberId": "1", "action": "add_favorite", "song_data": "65"}, "song_data"),
        (
            {"memberId": "1", "action": "add_favorite", "song_data": {"song_id": "x"}},
            "song_data.song_id",
        ),
    ],
)
def test_a_change_that_says_nothing_is_refused(client, world: World, body: Any, field: str) -> None:
    answer = post(client, "/favorites/updated", body)
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_the_models_version_is_queued_once(client, world: World, model: FakeModel) -> None:
    change = {
        "memberId": world.alice,
        "action": "add_favorite",
        "song_data": {"song_id": world.rock[1]},
    }
    first, second = updated(client, **change), updated(client, **change)
    job = Job.objects.get(name="refresh_member")
    assert first["task_id"] == second["task_id"] == str(job.pk)
    assert (job.member_key, job.arguments, job.source) == (
        world.alice,
        {"member_key": world.alice},
        "api",
    )
    assert not model.seen  # the answer did not wait for it


def test_a_database_that_went_away_costs_the_note_not_the_answer(
    client, world: World, model: FakeModel, monkeypatch
) -> None:
    post(client, "/recommend", {"memberId": world.alice, "strategy": "fast"})

    def away(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseUnavailable

    monkeypatch.setattr(queue, "enqueue", away)
    told = updated(client, memberId=world.alice, favorite_song_ids=[world.rock[0]])
    assert told["task_id"] is None
    assert post(client, "/warm/active", {}).status_code == 503


# --- Warming ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "limit"), [("/warm/active?limit=7", 7), ("/warm/active/", 500)]
)
def test_warming_is_queued(client, db: None, address: str, limit: int) -> None:
    answer = client.post(address)
    job = Job.objects.get(name="warm_active")
    assert answer.status_code == 200
    assert answer.json() == {"task_id": str(job.pk), "status": "queued"}
    assert job.arguments == {"limit": limit}


@pytest.mark.parametrize("limit", ["0", "-1", "many", "100001"])
def test_a_limit_must_be_a_sensible_number(client, db: None, limit: str) -> None:
    assert client.post(f"/warm/active?limit={limit}").status_code == 400
