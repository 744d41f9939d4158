"""New users of callers' own are stored up to a number a day; members and known users always."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from recommendations.models import Run, StoredAnswer
from recommendations.serving import new_callers
from recommendations.serving.new_callers import DailyCounter, may_be_stored

from .conftest import World

pytestmark = pytest.mark.django_db
NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.NEW_CALLERS_PER_DAY = 2
    monkeypatch.setattr(new_callers, "_counter", DailyCounter())


def asked(client: Any, member_key: str) -> dict[str, Any]:
    answer = client.post("/recommend", {"user_id": member_key}, content_type="application/json")
    assert answer.status_code == 200
    return answer.json()


def test_beyond_the_days_number_an_answer_comes_and_is_not_stored(
    client: Any, world: World
) -> None:
    for name in ("a", "b"):
        assert asked(client, name)["degraded"] != "not_stored"
    over = asked(client, "c")
    assert over["degraded"] == "not_stored"
    assert over["candidates"]
    assert set(StoredAnswer.objects.values_list("member_key", flat=True)) == {"a", "b"}
    assert not Run.objects.filter(member_key="c").exists()
    assert asked(client, "a")["degraded"] != "not_stored"
    assert asked(client, str(world.alice))["degraded"] != "not_stored"


def test_the_next_day_counts_anew() -> None:
    assert [may_be_stored(name, now=NOW) for name in ("a", "b", "c")] == [True, True, False]
    assert may_be_stored("d", now=NOW + timedelta(days=1))


def test_an_invented_number_is_a_new_caller() -> None:
    assert [may_be_stored(f"99999{n}", now=NOW) for n in range(3)] == [True, True, False]


def test_all_processes_count_together(shared_redis: str) -> None:
    day = NOW.date()
    assert [DailyCounter().next(day) for _ in range(3)] == [1, 2, 3]
    client = redis.from_url(shared_redis)
    assert client.ttl(f"songs_ai:new_callers:{day.isoformat()}") > 0
