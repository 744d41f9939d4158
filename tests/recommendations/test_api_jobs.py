"""`/recommend/jobs`: asking in the background, looking, cancelling."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from recommendations.jobs import queue
from recommendations.models import Job
from recommendations.models.jobs import State

pytestmark = pytest.mark.django_db


def ask(client: Any, body: Any, **headers: str) -> Any:
    return client.post(
        "/recommend/jobs", json.dumps(body), content_type="application/json", headers=headers
    )


def test_a_job_is_accepted_done_and_read(client, world):
    accepted = ask(client, {"memberId": world.alice, "count": 7, "strategy": "fast"})
    assert accepted.status_code == 202
    address = accepted["Location"]
    told = client.get(address).json()
    assert (told["status"], told["progress"], told["result"]) == ("queued", 0, None)
    queue.run(Job.objects.get().pk)
    told = client.get(address + "/").json()
    assert (told["status"], told["progress"], told["error"]) == ("succeeded", 100, None)
    assert told["finished_at"].endswith("Z")
    assert len(told["result"]["candidates"]) == 7
    assert told["result"]["favorite_song_ids"] == list(world.alice_likes)


def test_a_user_of_the_callers_own_and_songs_by_name_work_as_in_recommend(client, world):
    body = {"user_id": "user123", "favorite_songs": [{"title": "no such song at all"}]}
    job_id = ask(client, body).json()["job_id"]
    queue.run(Job.objects.get().pk)
    result = client.get(f"/recommend/jobs/{job_id}").json()["result"]
    assert result["unresolved"][0]["title"] == "no such song at all"
    assert len(result["candidates"]) == 20


def test_the_same_key_gives_the_same_job(client, world):
    body = {"memberId": world.alice}
    first = ask(client, body, idempotency_key="k1")
    again = ask(client, body, idempotency_key="k1")
    assert again.status_code == 202
    assert again["Location"] == first["Location"]
    assert Job.objects.count() == 1
    # Another member's key of the same name is another key.
    assert ask(client, {"memberId": world.bob}, idempotency_key="k1").status_code == 202
    assert Job.objects.count() == 2


def test_a_key_used_with_another_body_is_a_conflict(client, world):
    ask(client, {"memberId": world.alice}, idempotency_key="k1")
    other = ask(client, {"memberId": world.alice, "count": 3}, idempotency_key="k1")
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_a_key_is_free_again_after_a_day(client, world):
    ask(client, {"memberId": world.alice}, idempotency_key="k1")
    Job.objects.update(submitted_at=timezone.now() - timedelta(hours=25))
    ask(client, {"memberId": world.alice, "count": 3}, idempotency_key="k1")
    assert Job.objects.count() == 2


def test_a_member_gets_three_jobs_a_minute(client, world):
    for _ in range(3):
        assert ask(client, {"memberId": world.alice}).status_code == 202
    refused = ask(client, {"memberId": world.alice})
    assert refused.status_code == 429
    assert 50 <= int(refused["Retry-After"]) <= 60
    assert refused.json()["code"] == "TOO_MANY_REQUESTS"
    assert "timeout" not in refused.content.decode().lower()
    # The backend's jobs and other members are not counted.
    assert ask(client, {"memberId": world.bob}).status_code == 202
    Job.objects.update(submitted_at=timezone.now() - timedelta(seconds=61))
    assert ask(client, {"memberId": world.alice}).status_code == 202


def test_a_member_gets_fifty_jobs_a_day(client, world, settings):
    settings.JOBS_PER_DAY = 5
    for _ in range(5):
        assert ask(client, {"memberId": world.alice}).status_code == 202
        Job.objects.update(submitted_at=timezone.now() - timedelta(hours=2))
    refused = ask(client, {"memberId": world.alice})
    assert refused.status_code == 429
    assert 21 * 3600 < int(refused["Retry-After"]) <= 22 * 3600


def test_a_waiting_job_can_be_cancelled_once(client, world):
    address = ask(client, {"memberId": world.alice})["Location"]
    cancelled = client.delete(address)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
    again = client.delete(address)
    assert (again.status_code, again.json()["code"]) == (409, "JOB_ENDED")
    assert queue.run(Job.objects.get().pk) == {"job": "ended"}


def test_a_running_job_is_cancelled_at_its_next_step(client, world):
    address = ask(client, {"memberId": world.alice})["Location"]
    Job.objects.update(state=State.RUNNING)
    told = client.delete(address).json()
    assert (told["status"], told["cancel_requested"]) == ("running", True)


def test_a_failed_job_says_why(client, world):
    address = ask(client, {"memberId": world.alice})["Location"]
    Job.objects.update(state=State.FAILED, error_code="GENERATION_TIMEOUT", error_message="slow")
    assert client.get(address).json()["error"] == {"code": "GENERATION_TIMEOUT", "message": "slow"}


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_job_that_is_not_there_is_a_404(client, method):
    answer = getattr(client, method)(f"/recommend/jobs/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "JOB_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "key"),
    [({}, "k"), ({"memberId": "1", "count": 1000}, "k"), ({"memberId": "1"}, "k" * 121)],
)
def test_what_cannot_be_asked_for_is_refused_at_once(client, body, key):
    answer = ask(client, body, idempotency_key=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert not Job.objects.exists()
