"""The one door: what a member gets, from where, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import orjson
import pytest
from django.db import OperationalError
from django.utils import timezone

from bench.fake_model import FakeModel
from catalog.factories import SongFactory
from catalog.models import SongLike
from engine.types import Context, Strategy, TimeOfDay
from infrastructure import database
from infrastructure.redis import gate
from profiles import services as profiles
from profiles.models import TasteProfile
from recommendations import services
from recommendations.jobs import member_refresh
from recommendations.models import EngineSettingsVersion, Run, StoredAnswer
from recommendations.serving import active_engine, impressions
from recommendations.serving.freshness import MODEL_COOL_DOWN_S
from recommendations.serving.request import NamedSong, Recommendation, Request
from recommendations.serving.stored_answers import answer_store
from recommendations.serving.stored_answers.answer_payload import encode_answer

from .conftest import World

pytestmark = pytest.mark.django_db


def recommend(member_key: str, **options: object) -> Recommendation:
    return services.recommend(Request(member_key=member_key, **options))


def ids_of(answer: Recommendation) -> set[int]:
    grouped = {song["song_id"] for group in answer.groups for song in group["songs"]}
    return grouped | {song["song_id"] for song in answer.candidates}


# --- Without a model ------------------------------------------------------------------------------
def test_a_member_gets_songs_of_his_taste_that_he_does_not_have(world: World) -> None:
    answer = recommend(world.alice, count=10)
    assert not ids_of(answer) & set(world.alice_likes)
    rock = [song for song in answer.candidates if song["genre"] == "록"]
    assert len(rock) >= 6
    assert answer.favorite_song_ids == list(world.alice_likes)
    assert all(song["reason"] for song in answer.candidates)


def test_groups_hold_two_to_six_songs_and_no_song_twice(world: World) -> None:
    groups = recommend(world.alice).groups
    assert groups
    songs = [song["song_id"] for group in groups for song in group["songs"]]
    assert len(songs) == len(set(songs))
    assert all(2 <= len(group["songs"]) <= 6 and group["tagline"] for group in groups)


def test_the_second_answer_comes_from_the_cache_and_is_the_same(world: World) -> None:
    first, second = recommend(world.alice), recommend(world.alice)
    assert (first.source, second.source) == ("local", "cache")
    assert first.candidates == second.candidates
    assert first.groups == second.groups
    assert first.run_id == second.run_id
    assert Run.objects.count() == 1


def test_a_smaller_count_is_cut_from_the_stored_list_and_leaves_it_whole(world: World) -> None:
    assert len(recommend(world.alice, count=3).candidates) == 3
    assert len(orjson.loads(answer_store.read(world.alice).body)["candidates"]) == 50


def test_a_new_like_makes_a_new_list_without_that_song(world: World) -> None:
    before = recommend(world.alice)
    liked = before.candidates[0]["song_id"]
    SongLike.objects.create(member_id=int(world.alice), song_id=liked, created_at=timezone.now())
    after = recommend(world.alice)
    assert after.source == "local"
    assert liked not in ids_of(after)


def test_the_order_of_favourites_does_not_make_another_list(world: World) -> None:
    recommend(world.alice, favorite_ids=world.alice_likes)
    again = recommend(world.alice, favorite_ids=tuple(reversed(world.alice_likes)))
    assert again.source == "cache"


def test_explicit_favourites_count_for_that_answer_alone(world: World) -> None:
    other = recommend(world.alice, favorite_ids=world.ballads[:5])
    assert other.favorite_song_ids == list(world.ballads[:5])
    assert recommend(world.alice).favorite_song_ids == list(world.alice_likes)


def test_no_favourites_and_nobody_known_get_a_popular_start(world: World) -> None:
    none_at_all = recommend(world.alice, favorite_ids=())
    stranger = recommend("user123", count=20)
    assert none_at_all.favorite_song_ids == []
    assert len(stranger.candidates) == 20
    assert len({song["genre"] for song in stranger.candidates}) >= 2
    assert len({song["artist"] for song in stranger.candidates}) >= 6


def test_songs_named_by_text_are_found_and_the_rest_reported(world: World) -> None:
    SongFactory(
        title_jp="夜に駆ける", title_kr="밤을 달리다", artist="YOASOBI", artist_kr="요아소비"
    )
    named = (
        NamedSong(title="밤을  달리다!", artist="요아소비"),
        NamedSong(title="없는 노래 zzz", artist="아무도"),
    )
    answer = recommend("user123", favorite_songs=named)
    assert len(answer.favorite_song_ids) == 1
    assert [item["title"] for item in answer.unresolved] == ["없는 노래 zzz"]


def test_ids_that_are_not_in_the_catalog_are_reported(world: World) -> None:
    answer = recommend("user123", favorite_ids=(world.rock[0], 2_000_000))
    assert answer.unresolved == [{"song_id": 2_000_000}]
    assert answer.candidates


def test_an_empty_catalog_gives_an_empty_answer(db: None) -> None:
    answer = recommend("user123")
    assert (answer.groups, answer.candidates) == ([], [])


def test_only_the_plain_answer_is_stored_for_the_neighbours(world: World) -> None:
    evening = Context(time_of_day=TimeOfDay.EVENING)
    recommend(world.alice, context=evening)
    recommend(world.alice, strategy=Strategy.FAST)
    assert not StoredAnswer.objects.exists()
    assert recommend(world.alice, context=evening).source == "cache"


def test_the_stored_record_has_the_contracts_shape(world: World) -> None:
    recommend(world.alice)
    body = orjson.loads(answer_store.read(world.alice).body)
    assert list(body) == ["favorite_song_ids", "groups", "candidates", "generated_date"]


def test_a_change_of_settings_makes_the_answer_again(world: World) -> None:
    recommend(world.alice)
    payload = active_engine.current().settings.to_json()
    payload["shaping"]["artist_cap"] = 1
    EngineSettingsVersion.objects.create(number=1, payload=payload, note="가수 하나씩")
    active_engine.reset()
    answer = recommend(world.alice)
    assert answer.source == "local"
    assert Run.objects.latest("created_at").versions["settings"] == "1"


def test_a_run_keeps_the_funnel_the_candidates_and_the_time_of_each_part(world: World) -> None:
    answer = recommend(world.alice)
    run = Run.objects.get(pk=answer.run_id)
    assert [step["name"] for step in run.trace][-1] == "give_reasons"
    assert all({"name", "left", "ms"} <= set(step) for step in run.trace)
    assert {"database", "engine", "store", "total"} <= set(run.timings)
    assert len(run.snapshot["candidates"]) >= 50
    assert run.groups[0]["song_ids"]


def test_what_was_shown_is_counted_in_batches(world: World) -> None:
    recommend(world.alice)
    services.cached(world.alice)
    impressions.flush()
    shown = profiles.member_profile(world.alice, favorite_ids=None, now=timezone.now()).impressions
    assert shown
    assert {item.times for item in shown} == {2}


# --- Why ------------------------------------------------------------------------------------------
def test_why_a_song_is_there_and_why_another_is_not(world: World) -> None:
    answer = recommend(world.alice)
    told = services.why(answer.run_id, answer.candidates[0]["song_id"])
    assert told["recommended"]
    assert told["served_in"][0] == {"list": "candidates", "place": 1}
    assert told["same_versions"]
    liked = services.why(answer.run_id, world.alice_likes[0])
    assert not liked["recommended"]
    assert liked["stopped_by"] == "without_known_songs"


# --- Changes of favourites ------------------------------------------------------------------------
def test_a_song_just_liked_is_gone_before_the_call_returns(world: World) -> None:
    liked = recommend(world.alice).candidates[0]["song_id"]
    services.favorites_updated(world.alice, action="add", song_ids=[liked])
    served = orjson.loads(services.cached(world.alice).body)
    assert served["favorite_song_ids"][0] == liked
    assert liked not in {song["song_id"] for song in served["candidates"]}
    assert Run.objects.filter(trigger="favorites").count() == 1
    services.favorites_updated(world.alice, action="add", song_ids=[liked])
    assert Run.objects.filter(trigger="favorites").count() == 1  # a repeat changes nothing


def test_a_callers_own_user_keeps_favourites_with_us(world: World) -> None:
    services.favorites_updated("user123", action="list", song_ids=world.rock[:4])
    services.favorites_updated("user123", action="remove", song_ids=[world.rock[0]])
    assert set(recommend("user123").favorite_song_ids) == set(world.rock[1:4])


# --- With a model ---------------------------------------------------------------------------------
def test_the_model_curates_with_two_calls_and_its_words_are_kept(
    world: World, model: FakeModel
) -> None:
    answer = recommend(world.alice)
    assert (answer.source, answer.degraded) == ("model", "")
    assert len(model.seen) == 2
    assert answer.groups[0]["tagline"] == "떼창하기 좋은 록 🎤"
    run = Run.objects.get(pk=answer.run_id)
    assert set(run.prompt_versions) == {"curation", "taste_and_taglines"}
    assert len(run.snapshot["picks"]) == 20
    assert TasteProfile.objects.get(member_key=world.alice).source == "model"
    assert recommend(world.alice).source == "cache"


def test_no_title_leaves_with_the_taste_and_no_member_with_either(
    world: World, model: FakeModel
) -> None:
    recommend(world.alice)
    curation, taste = sorted(model.seen, key=lambda seen: "picks" not in str(seen.schema))
    assert "노래 " in curation.text
    assert "노래 " not in taste.text.replace("노래방", "")
    assert "@example.invalid" not in curation.text + taste.text


def test_a_fast_answer_asks_no_model(world: World, model: FakeModel) -> None:
    answer = recommend(world.alice, strategy=Strategy.FAST)
    assert (answer.source, answer.degraded, model.seen) == ("local", "", [])


def test_a_schedule_waits_longer_for_the_model_than_a_caller(
    world: World, model: FakeModel, settings
) -> None:
    settings.LLM_DEADLINE_S, settings.LLM_DEADLINE_DEEP_S = 0.3, 20.0
    model.delay_s = 0.6
    assert recommend(world.alice).degraded == "deadline"
    assert member_refresh.refresh(world.bob) == "model"


def test_after_a_failure_the_model_is_asked_again_but_not_at_once(
    world: World, model: FakeModel
) -> None:
    model.fault = "500"
    recommend(world.alice)
    calls = len(model.seen)
    model.fault = ""
    assert recommend(world.alice).source == "cache"
    assert len(model.seen) == calls
    row = StoredAnswer.objects.get(pk=world.alice)
    earlier = timezone.now() - timedelta(seconds=MODEL_COOL_DOWN_S + 1)
    row.meta["generated_at"] = earlier.isoformat()
    row.save()
    assert recommend(world.alice).source == "model"


def test_a_new_catalog_keeps_the_models_words_without_asking_it(
    world: World, model: FakeModel
) -> None:
    first = recommend(world.alice)
    calls = len(model.seen)
    payload = active_engine.current().settings.to_json()
    payload["shaping"]["rotation"] = 0.6
    EngineSettingsVersion.objects.create(number=1, payload=payload, note="다시")
    active_engine.reset()
    again = recommend(world.alice)
    assert again.source == "local"
    assert len(model.seen) == calls
    assert again.groups[0]["tagline"] == first.groups[0]["tagline"]
    assert recommend(world.alice).source == "cache"


def test_the_analysis_steers_the_candidates_of_the_next_run(world: World, model: FakeModel) -> None:
    plain = recommend(world.alice, strategy=Strategy.FAST, refresh=True)
    profiles.store_taste(
        world.alice,
        text="발라드를 찾고 있어요.",
        genres=("발라드",),
        moods=("잔잔",),
        artists=(),
        favorites_sha="any",
        source="model",
        now=timezone.now(),
    )
    steered = recommend(world.alice, strategy=Strategy.FAST, refresh=True)

    def ballads(answer: Recommendation) -> int:
        return sum(song["genre"] == "발라드" for song in answer.candidates[:20])

    assert ballads(steered) > ballads(plain)
    trace = Run.objects.latest("created_at").trace
    assert any(note.get("source") == "model" for step in trace for note in step["notes"])


def test_staffs_word_is_stronger_and_stands_in_the_trace(world: World, admin_user) -> None:
    recommend(world.alice)
    profiles.override_taste(
        world.alice,
        kind="genre",
        action="bar",
        value="록",
        reason="회원 요청",
        by=admin_user,
        now=timezone.now(),
    )
    answer = recommend(world.alice)
    assert answer.source == "local"
    assert not [song for song in answer.candidates if song["genre"] == "록"]
    trace = Run.objects.latest("created_at").trace
    assert any(note.get("source") == "staff" for step in trace for note in step["notes"])


def test_busy_places_give_a_local_answer_at_once(
    world: World, model: FakeModel, all_places_taken
) -> None:
    answer = recommend(world.alice)
    assert (answer.source, answer.degraded, answer.wants_refresh) == ("local", "busy", True)
    assert model.seen == []


@pytest.mark.parametrize(("liked", "counts"), [(slice(0, 5), True), (slice(0, 4), False)])
def test_a_taste_left_by_the_old_api_is_used_while_it_fits_the_favourites(
    world: World, model: FakeModel, shared_redis: str, liked: slice, counts: bool
) -> None:
    left = {
        "favorite_song_ids": [str(song_id) for song_id in world.alice_likes[liked]],
        "preference": {"overall_taste": "비 오는 새벽의 록"},
    }
    gate.client().set(f"pref:{world.alice}", orjson.dumps(left))
    recommend(world.alice)
    assert ("비 오는 새벽의 록" in str(model.seen)) is counts


# --- The database is away ---------------------------------------------------------------------------
@pytest.fixture
def database_away(monkeypatch) -> Iterator[Callable[[], None]]:
    """Call it: from then on every guarded query fails at once; an unguarded one would still reach the tests' database."""
    monkeypatch.setattr(database.guard, "_answers", lambda: False)

    def go() -> None:
        with pytest.raises(OperationalError), database.guard():
            raise OperationalError(2003, "refused")

    yield go
    database.guard.reset()


def test_without_the_database_no_call_tries_it_and_each_is_answered(
    world: World, database_away, django_assert_num_queries
) -> None:
    recommend(world.alice)
    database_away()
    with django_assert_num_queries(0):
        assert recommend(world.alice).degraded == "database"
        sent = recommend(world.bob, favorite_ids=world.rock[:3])
        assert (sent.degraded, sent.favorite_song_ids) == ("database", list(world.rock[:3]))
        assert recommend("user123", context=Context(time_of_day=TimeOfDay.NIGHT)).candidates
        updated = services.favorites_updated("user123", action="add", song_ids=[world.rock[0]])
        assert updated.degraded == "database"
        services.cached("nobody")


def test_without_the_database_favourites_last_known_to_others_count_and_no_guess_is_kept(
    world: World, database_away, shared_redis: str
) -> None:
    """This process never saw the member; another one stored the answer."""
    liked = list(world.ballads[:4])
    stored = encode_answer(
        favorite_song_ids=liked, groups=[], candidates=[], generated_date="2026-11-23"
    )
    gate.client().set("recommend:4242", stored)
    active_engine.current()
    database_away()
    answer = recommend("4242")
    assert (answer.degraded, answer.favorite_song_ids) == ("database", liked)
    assert not ids_of(answer) & set(liked)
    assert recommend("nobody-knows").candidates
    assert gate.client().keys("recommend:*") == [b"recommend:4242"]
    assert gate.client().get("recommend:4242") == stored


@pytest.mark.parametrize(
    ("action", "song", "then"),
    [
        ("add", 9, lambda known, new: [new, *known]),
        ("remove", 0, lambda known, new: known[1:]),
        ("list", 9, lambda known, new: [new]),
    ],
)
def test_without_the_database_a_change_counts_in_the_stored_answer(
    world: World, database_away, shared_redis: str, action: str, song: int, then
) -> None:
    recommend(world.bob)
    known, new = (
        answer_store.last_known_favorites(world.bob),
        world.ballads[0] if song == 0 else world.dance[9],
    )
    database_away()
    services.favorites_updated(world.bob, action=action, song_ids=[new])
    assert answer_store.last_known_favorites(world.bob) == then(known, new)
