"""A member's own answer is written by jobs of every strategy and language, and keeps its language."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from bench.installation import spring_body
from recommendations import services
from recommendations.jobs import member_refresh, status_store
from recommendations.jobs.backend_queue.rabbitmq_consumer import attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.models import StoredAnswer, Trigger

from .conftest import World

pytestmark = pytest.mark.django_db
JAPANESE = "おすすめ"


def job(member: str, **fields: Any) -> None:
    _, body = spring_body(int(member), **fields)
    attend(Delivery(body=body, headers={}, properties={}, redelivered=False))


def stored_locale(member: str) -> str:
    return StoredAnswer.objects.get(pk=member).meta["locale"]


@pytest.mark.parametrize("strategy", ["default", "fast", "deep"])
@pytest.mark.parametrize("locale", ["ko", "ja", "en"])
def test_a_job_of_any_strategy_and_language_leaves_a_cached_answer(
    client: Any, world: World, strategy: str, locale: str
) -> None:
    job(world.alice, strategy=strategy, locale=locale)
    cached = client.post(
        "/recommend/cached", {"memberId": world.alice}, content_type="application/json"
    )
    assert cached.status_code == 200
    assert cached.json()["candidates"]
    assert stored_locale(world.alice) == locale


def test_refreshes_keep_the_language_until_the_member_asks_in_another(
    client: Any, world: World
) -> None:
    job(world.alice, locale="ja")
    member_refresh.refresh(world.alice)
    assert stored_locale(world.alice) == "ja"
    services.favorites_updated(world.alice, action="add", song_ids=[world.ballads[0]])
    assert stored_locale(world.alice) == "ja"
    member_refresh.refresh(world.alice, anew=True)
    assert stored_locale(world.alice) == "ja"
    client.post("/recommend", {"memberId": world.alice}, content_type="application/json")
    assert stored_locale(world.alice) == "ko"


def test_a_call_with_dials_leaves_the_members_own_answer_alone(client: Any, world: World) -> None:
    job(world.alice, locale="ja")
    before = StoredAnswer.objects.get(pk=world.alice).run_uuid
    body = {"memberId": world.alice, "locale": "en", "strategy": "fast"}
    assert client.post("/recommend", body, content_type="application/json").status_code == 200
    assert StoredAnswer.objects.get(pk=world.alice).run_uuid == before


def test_a_job_after_another_language_computes_anew(world: World) -> None:
    job(world.alice, locale="ja")
    job(world.alice, locale="ko")
    answer = services.recommend(services.member_request(world.alice, trigger=Trigger.SCHEDULE))
    assert stored_locale(world.alice) == "ko"
    assert json.dumps(answer.groups, ensure_ascii=False)


def test_the_latest_answer_of_a_callers_own_user_ends_and_a_members_does_not(
    shared_redis: str,
) -> None:
    """A caller may name any user; keys without end would fill the Redis that all services share."""
    client = redis.from_url(shared_redis)
    for member_key in ("42", "user123"):
        status_store.write_result("job", member_key, b"{}")
    assert client.ttl("latest:recommendation:42") == -1
    assert client.ttl("latest:recommendation:user123") > 0
