"""Cached reads where Redis is there: one round trip, no query; what the thread's own connection survives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import orjson
import pytest
import redis
from django.utils import timezone

from infrastructure.redis import gate
from recommendations.serving.stored_answers import answer_store

pytestmark = pytest.mark.django_db

BODY = b'{"favorite_song_ids":[1],"groups":[],"candidates":[],"generated_date":"2026-07-01"}'


@pytest.fixture
def server(settings, own_redis: str) -> Iterator[redis.Redis]:
    """A Redis that holds everything, as its sentinel says."""
    settings.REDIS_URL = own_redis
    settings.L1_TTL_S = 0
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": own_redis,
            "OPTIONS": {"SOCKET_TIMEOUT": 0.3, "SOCKET_CONNECT_TIMEOUT": 0.3},
        }
    }
    client = redis.Redis.from_url(own_redis)
    client.set(answer_store.SENTINEL, "now")
    yield client
    client.close()


def commands(server: redis.Redis) -> int:
    """Reads of values so far: Redis' own count of MGET and GET and EXISTS."""
    stats = server.info("commandstats")
    return sum(
        stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("get", "mget", "exists")
    )


@pytest.mark.parametrize("stored", [True, False])
def test_a_read_is_one_trip_and_no_query(server, stored, django_assert_num_queries) -> None:
    if stored:
        server.set("recommend:1", BODY)
    before = commands(server)
    with django_assert_num_queries(0):
        found = answer_store.read_cached("1")
    assert (found is not None) is stored
    assert commands(server) == before + 1


def test_without_the_sentinel_the_database_is_asked(server, django_assert_num_queries) -> None:
    server.delete(answer_store.SENTINEL)
    with django_assert_num_queries(1):
        assert answer_store.read_cached("1") is None


def test_a_connection_that_redis_closed_is_opened_again(server) -> None:
    server.set("recommend:1", BODY)
    assert answer_store.read_cached("1") is not None
    server.client_kill_filter(_type="normal", skipme=True)
    assert answer_store.read_cached("1") is not None
    assert gate.up


def test_another_kind_of_value_under_the_key_is_nothing_cached(server) -> None:
    server.hset("recommend:1", "a", "b")
    assert answer_store.read_cached("1") is None
    assert gate.up


def test_a_redis_that_went_away_leaves_the_reading_to_the_database(server) -> None:
    assert answer_store.read_cached("1") is None
    server.shutdown(nosave=True)
    assert answer_store.read_cached("1") is None
    assert not gate.up


def test_a_redis_that_lost_everything_gets_answers_and_preferences_back(server, settings) -> None:
    now = timezone.now()
    preference = {
        "favorite_song_ids": [1],
        "preference": {"preferred_genres": ["록"], "overall_taste": "밤의 록"},
        "generated_date": "2026-07-01",
    }
    meta = answer_store.AnswerMeta(
        run_id=str(uuid4()),
        fingerprint="f",
        favorites_sha="s",
        source="local",
        generated_at=now.isoformat(),
        preference=preference,
    )
    assert answer_store.save("1", BODY, meta, now=now) == ""
    names = ("recommend:1", "preference:1", "songs_ai:meta:1")
    before = server.mget(*names)
    assert orjson.loads(before[1]) == preference
    server.delete(*names, answer_store.SENTINEL)
    later = now + timedelta(days=1)
    assert answer_store.rebuild_redis(now=later) == 1
    assert server.mget(*names) == before
    assert server.exists(answer_store.SENTINEL)
    assert server.ttl("preference:1") <= settings.RESULT_TTL_S - 86_400
    assert answer_store.read("1").meta == meta
