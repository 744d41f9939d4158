"""Cached reads on the event loop: what the hot path in a thread gives, byte for byte, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from recommendations import metrics, services
from recommendations.api.cached_reads import COMMON_HEADERS, CachedReadLayer, CachedReply
from recommendations.serving import impressions
from recommendations.serving.request import Request
from recommendations.serving.stored_answers import answer_store, memory_cache
from songs_ai.server.cached_read_batches import MOST_KEYS, CachedReads
from tests.recommendations.conftest import World
from tests.recommendations.test_cached_reads import FORMS, UNUSUAL, Answered, _pass_on, asked

pytestmark = pytest.mark.django_db

BODY = b'{"favorite_song_ids":[1],"groups":[],"candidates":[],"generated_date":"2026-07-01"}'


def on_the_loop(*environs: dict[str, Any]) -> list[CachedReply | None]:
    """The answers to requests that come at the same moment."""

    async def gathered() -> list[CachedReply | None]:
        reads = CachedReads()
        return await asyncio.gather(*(reads(environ) for environ in environs))

    return asyncio.run(gathered())


@pytest.fixture
def stored(shared_redis: str) -> redis.Redis:
    """Redis with two members' answers, which holds everything."""
    client = redis.Redis.from_url(shared_redis)
    client.mset({"recommend:1": BODY, "recommend:user123": BODY})
    client.set(answer_store.SENTINEL, "now")
    return client


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("warm", [True, False], ids=["memory", "Redis"])
def test_an_answer_on_the_loop_is_the_hot_paths(stored: redis.Redis, form: str, warm: bool) -> None:
    method, path, body, named = FORMS[form]
    served = answer_store.read_cached("1")
    assert served is not None
    named = {name: value.replace("@etag", served.etag) for name, value in named.items()}
    hot = Answered(CachedReadLayer(_pass_on), asked(method, path, body, **named))
    if not warm:
        memory_cache.answers.clear()
    [reply] = on_the_loop(asked(method, path, body, **named))
    if reply is None:  # has to be compressed first
        assert "gzip" in named["HTTP_ACCEPT_ENCODING"]
        return
    status, headers, answer = reply
    headers_sent = {name.lower(): value for name, value in COMMON_HEADERS + headers}
    assert (status, headers_sent, answer) == (hot.status, hot.headers, hot.body)


def test_what_is_compressed_already_is_answered_on_the_loop(stored: redis.Redis) -> None:
    environ = asked("GET", "/recommend/cached/1", HTTP_ACCEPT_ENCODING="gzip")
    assert on_the_loop(dict(environ)) == [None]
    hot = Answered(CachedReadLayer(_pass_on), dict(environ))
    [reply] = on_the_loop(environ)
    assert reply is not None
    assert reply[2] == hot.body


@pytest.mark.parametrize("what", UNUSUAL)
def test_anything_unusual_goes_to_the_threads(stored: redis.Redis, what: str) -> None:
    assert on_the_loop(dict(UNUSUAL[what])) == [None]


def test_many_members_are_one_trip_to_redis_each_thirty_two(
    stored: redis.Redis, settings: Any
) -> None:
    members = [str(number) for number in range(1, 2 * MOST_KEYS + 1)]
    stored.mset({f"recommend:{member}": BODY for member in members})
    before = _mgets(stored)
    replies = on_the_loop(*(asked("GET", f"/recommend/cached/{member}") for member in members))
    assert {reply[0] for reply in replies if reply} == {"200 OK"}
    assert len([reply for reply in replies if reply]) == len(members)
    assert _mgets(stored) - before == 2


def _mgets(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0))


def test_without_the_sentinel_a_miss_is_for_the_database(stored: redis.Redis) -> None:
    stored.delete(answer_store.SENTINEL)
    hit, miss = on_the_loop(
        asked("GET", "/recommend/cached/1"), asked("GET", "/recommend/cached/404")
    )
    assert hit is not None
    assert miss is None


def test_without_redis_only_memory_answers_on_the_loop(world: World) -> None:
    services.recommend(Request(member_key=world.alice))
    assert on_the_loop(asked("GET", f"/recommend/cached/{world.alice}")) == [None]
    assert answer_store.read_cached(world.alice) is not None
    [reply] = on_the_loop(asked("GET", f"/recommend/cached/{world.alice}"))
    assert reply is not None


def test_a_value_that_is_no_recommendation_is_nothing_cached(stored: redis.Redis) -> None:
    stored.set("recommend:1", "rubbish")
    bad, good = on_the_loop(
        asked("GET", "/recommend/cached/1"), asked("GET", "/recommend/cached/user123")
    )
    assert bad is not None
    assert bad[0].startswith("404")
    assert good is not None
    assert good[0].startswith("200")


def test_reads_on_the_loop_are_counted(stored: redis.Redis) -> None:
    metrics.flush()
    impressions.reset()
    hits = metrics.LOOKUPS.labels("hit")._value.get()
    misses = metrics.LOOKUPS.labels("miss")._value.get()
    on_the_loop(asked("GET", "/recommend/cached/1"), asked("GET", "/recommend/cached/404"))
    metrics.flush()
    assert metrics.LOOKUPS.labels("hit")._value.get() == hits + 1
    assert metrics.LOOKUPS.labels("miss")._value.get() == misses + 1
    assert impressions._counts._reads == {"1": 1}
