"""Whatever the backend's queue delivers has one outcome, and is acknowledged only when that is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from billiard.einfo import ExceptionInfo
from celery import current_app
from celery.exceptions import Reject
from django.db import OperationalError
from django.utils import timezone
from kombu.message import Message
from kombu.utils.json import loads

from bench.installation import spring_body
from recommendations.jobs import execution, queue
from recommendations.jobs.backend_queue import (
    bootstep,
    dead_letters,
    rabbitmq_consumer,
    rabbitmq_messages,
    rabbitmq_publisher,
    rabbitmq_topology,
)
from recommendations.jobs.backend_queue.rabbitmq_consumer import Verdict, attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.jobs.broker import BrokerUnavailable
from recommendations.models import DeadLetter, Job, JobAnswer, StoredAnswer
from recommendations.models.jobs import Failure, State

pytestmark = pytest.mark.django_db
TYPE_ID = "com.utabox.recommendation.RecommendationMessage"


def delivered(body: bytes, *, redelivered: bool = False, **headers: Any) -> Delivery:
    return Delivery(
        body=body,
        headers={"__TypeId__": TYPE_ID, **headers},
        properties={"content_type": "application/json", "message_id": "m-1", "expiration": "9"},
        redelivered=redelivered,
    )


@pytest.fixture
def broker() -> Iterator[Any]:
    """Celery's in-memory broker with the backend's queues declared; yields a channel."""
    with current_app.connection_for_write() as connection:
        assert rabbitmq_topology.declare(connection) == {}
        channel = connection.default_channel
        yield channel
        for declared in rabbitmq_topology.queues():
            channel.queue_purge(declared.name)


def waiting(channel: Any, name: str) -> Any:
    """The next message of a queue, or None."""
    return channel.basic_get(name, no_ack=True)


def too_slow(job: Job) -> Any:
    raise TimeoutError("the model did not answer in time")


# --- Success --------------------------------------------------------------------------------------
def test_a_job_ends_with_the_answer_kept_under_its_id(world):
    job_id, body = spring_body(world.alice, strategy="default", top_k=30)
    assert attend(delivered(body)) is Verdict.ACK
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.progress, job.member_key) == (State.SUCCEEDED, 100, world.alice)
    answer = json.loads(JobAnswer.objects.get(pk=job_id).json)
    assert answer["status"] == "completed"
    assert len(answer["candidates"]) == 30
    assert not {song["song_id"] for song in answer["candidates"]} & set(world.alice_likes)
    assert StoredAnswer.objects.filter(member_key=world.alice).exists()
    assert bytes(job.message) == body
    assert job.headers == {"__TypeId__": TYPE_ID}


@pytest.mark.parametrize("given", [None, []])
def test_without_favourites_in_the_message_those_of_the_database_count(world, given):
    job_id, body = spring_body(world.alice, favorites=given)
    attend(delivered(body))
    answer = json.loads(JobAnswer.objects.get(pk=job_id).json)
    assert set(answer["favorite_song_ids"]) == set(world.alice_likes)


def test_favourites_in_the_message_are_the_ones_used(world):
    job_id, body = spring_body(world.alice, favorites=list(world.ballads[:3]))
    attend(delivered(body))
    answer = json.loads(JobAnswer.objects.get(pk=job_id).json)
    assert answer["favorite_song_ids"] == list(world.ballads[:3])


def test_the_same_message_twice_is_one_jobs_work(world):
    job_id, body = spring_body(world.alice)
    assert attend(delivered(body)) is Verdict.ACK
    first = JobAnswer.objects.get(pk=job_id)
    assert attend(delivered(body, redelivered=True)) is Verdict.ACK
    assert bytes(JobAnswer.objects.get(pk=job_id).body) == bytes(first.body)
    assert Job.objects.get(pk=job_id).runs.count() == 1


def test_a_job_with_too_many_favourites_says_what_was_left_out(world):
    _, body = spring_body(world.alice, favorites=list(range(1, 10_101)))
    attend(delivered(body))
    job = Job.objects.get()
    assert job.state == State.SUCCEEDED
    assert "10000" in job.note
    assert len(job.arguments["favorite_ids"]) == 10_000


# --- Permanent failures ---------------------------------------------------------------------------
def test_a_member_who_is_gone_fails_at_once(world):
    job_id, body = spring_body(99_999_999)
    assert attend(delivered(body)) is Verdict.DROP
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "MEMBER_NOT_FOUND", 0)
    letter = DeadLetter.objects.get()
    assert (letter.code, bytes(letter.body)) == ("MEMBER_NOT_FOUND", body)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe\x00", b""])
def test_what_cannot_be_read_is_kept_and_dropped(body):
    assert attend(delivered(body)) is Verdict.DROP
    assert attend(delivered(body, redelivered=True)) is Verdict.DROP
    letter = DeadLetter.objects.get()
    assert (letter.code, bytes(letter.body)) == ("INVALID_MESSAGE", body)
    assert letter.headers == {"__TypeId__": TYPE_ID}


def test_a_message_without_a_member_fails_under_its_own_id():
    job_id = str(uuid4())
    body = json.dumps({"jobId": job_id, "memberId": None}).encode()
    assert attend(delivered(body)) is Verdict.DROP
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.error_code) == (State.FAILED, "INVALID_MESSAGE")


def test_an_error_of_ours_is_a_failure_and_not_the_end_of_the_worker(world):
    def broken(job: Job) -> Any:
        raise KeyError("oops")

    job_id, body = spring_body(world.alice)
    assert attend(delivered(body), work=broken) is Verdict.DROP
    assert Job.objects.get(pk=job_id).error_code == "MODEL_ERROR"


def test_what_no_database_takes_is_no_reason_to_fail(world):
    job_id, body = spring_body(world.alice)
    body = body.replace(b'"source":"login"', b'"source":"login \\ud83c","traceId":"\\u0000"')
    assert attend(delivered(body, weight=float("nan"))) is Verdict.ACK
    job = Job.objects.get(pk=job_id)
    assert job.state == State.SUCCEEDED
    assert job.headers["weight"] == "NaN"
    assert bytes(job.message) == body


def test_a_delivery_that_breaks_the_consumer_is_kept_and_dropped(world, monkeypatch):
    def broken(*_: Any, **__: Any) -> Any:
        raise IndexError

    monkeypatch.setattr(execution, "claim", broken)
    job_id, body = spring_body(world.alice)
    assert attend(delivered(body)) is Verdict.DROP
    assert DeadLetter.objects.get().code == "MODEL_ERROR"
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.error_code) == (State.FAILED, "MODEL_ERROR")


def test_a_failed_job_whose_worker_died_before_the_dlq_is_sent_there_now(world):
    job_id, body = spring_body(99_999_999)
    attend(delivered(body))
    assert attend(delivered(body, redelivered=True)) is Verdict.DROP
    # But the same message published a second time is not a second dead letter.
    assert attend(delivered(body)) is Verdict.ACK
    assert Job.objects.get(pk=job_id).runs.count() == 1


# --- The ladder -----------------------------------------------------------------------------------
def test_a_time_out_climbs_the_ladder_and_ends_in_the_dlq(world, broker):
    job_id, body = spring_body(world.alice)
    steps = ("5s", "30s", "120s")
    for number, step in enumerate(steps):
        assert attend(delivered(body, **{"x-death": [{"count": 1}]}), work=too_slow) is Verdict.ACK
        sent = waiting(broker, f"rec.recommendation.retry.{step}.q")
        before, body = body, bytes(sent.body)
        assert body == before.replace(
            f'"attempt":{number}'.encode(), f'"attempt":{number + 1}'.encode()
        )
        assert b".123456789," in body
        assert b'"novelty":0.50' in body
        assert sent.headers == {"__TypeId__": TYPE_ID}
        assert (sent.content_type, sent.content_encoding) == ("application/json", "UTF-8")
        assert sent.properties["delivery_mode"] == 2
        assert "expiration" not in sent.properties
        job = Job.objects.get(pk=job_id)
        assert (job.state, job.attempt) == (State.QUEUED, number + 1)
    assert attend(delivered(body), work=too_slow) is Verdict.DROP
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, "GENERATION_TIMEOUT")
    assert job.error_message
    assert [run.outcome for run in job.runs.order_by("attempt")] == ["retried"] * 3 + ["failed"]


def test_a_published_retry_is_not_mistaken_for_the_jobs_success(world, broker):
    job_id, body = spring_body(world.alice)
    attend(delivered(body), work=too_slow)
    retry = bytes(waiting(broker, "rec.recommendation.retry.5s.q").body)
    # The first delivery comes once more: its retry is out already.
    assert attend(delivered(body, redelivered=True), work=too_slow) is Verdict.ACK
    assert waiting(broker, "rec.recommendation.retry.5s.q") is None
    assert attend(delivered(retry)) is Verdict.ACK
    assert Job.objects.get(pk=job_id).state == State.SUCCEEDED


def test_a_worker_killed_between_publishing_and_noting_it_does_no_harm(world, broker):
    job_id, body = spring_body(world.alice)
    attend(delivered(body), work=too_slow)
    retry = bytes(waiting(broker, "rec.recommendation.retry.5s.q").body)
    # As if the note had been lost with the worker: the row still says that attempt 0 runs, held by a dead one.
    Job.objects.filter(pk=job_id).update(
        state=State.RUNNING, attempt=0, lease_until=timezone.now() - timedelta(seconds=1)
    )
    assert attend(delivered(body, redelivered=True)) is Verdict.ACK
    assert attend(delivered(retry)) is Verdict.ACK
    job = Job.objects.get(pk=job_id)
    assert job.state == State.SUCCEEDED
    assert job.runs.count() == 1  # attempt 0, done again; attempt 1 found it done


def test_without_the_broker_the_delivery_goes_back_untouched(world, monkeypatch):
    def refused(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("refused")

    monkeypatch.setattr(rabbitmq_publisher, "publish", refused)
    job_id, body = spring_body(world.alice)
    assert attend(delivered(body), work=too_slow) is Verdict.REQUEUE
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 0)


def test_without_the_database_the_delivery_goes_back(world, monkeypatch):
    def gone(job: Job) -> Any:
        raise OperationalError("gone away")

    monkeypatch.setattr(execution, "PATIENCE_S", 0.1)
    job_id, body = spring_body(world.alice)
    assert attend(delivered(body), work=gone) is Verdict.REQUEUE
    # Nobody has to wait for a lease: the next delivery is served at once.
    assert Job.objects.get(pk=job_id).state == State.QUEUED
    assert attend(delivered(body, redelivered=True)) is Verdict.ACK


# --- Two at once ----------------------------------------------------------------------------------
def test_a_second_delivery_waits_for_the_outcome_of_the_first(world, monkeypatch):
    job_id, body = spring_body(world.alice)
    _, job = execution.claim(
        UUID(job_id),
        attempt=0,
        first_seen=rabbitmq_consumer._row(rabbitmq_messages.parse(body), delivered(body)),
    )
    looks: list[float] = []

    def finish_meanwhile(seconds: float) -> None:
        looks.append(seconds)
        job.succeed(now=timezone.now(), answer=b'{"by":"the first"}')

    monkeypatch.setattr(rabbitmq_consumer.time, "sleep", finish_meanwhile)
    assert attend(delivered(body)) is Verdict.ACK
    assert len(looks) == 1
    assert JobAnswer.objects.get(pk=job_id).json == b'{"by":"the first"}'


def test_a_job_that_kills_workers_is_not_given_to_another(world):
    job_id, body = spring_body(world.alice)
    row = rabbitmq_consumer._row(rabbitmq_messages.parse(body), delivered(body))
    Job.objects.create(
        uuid=job_id,
        **row
        | {
            "state": State.RUNNING,
            "losses": 5,
            "lease_until": timezone.now() - timedelta(seconds=1),
        },
    )
    assert attend(delivered(body, redelivered=True)) is Verdict.DROP
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.error_code) == (State.FAILED, "MODEL_ERROR")
    assert DeadLetter.objects.get().job_uuid == job_id


# --- Into Celery ----------------------------------------------------------------------------------
class RawMessage:
    """What kombu hands to the step."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers: dict[str, Any] = {"__TypeId__": TYPE_ID, "at": timezone.now()}
        self.properties: dict[str, Any] = {"message_id": "m", "application_headers": self.headers}
        self.delivery_info = {"redelivered": False, "exchange": "rec.exchange", "routing_key": "x"}
        self.content_type, self.content_encoding = "application/json", "UTF-8"


def test_a_message_becomes_a_task_that_carries_every_byte_and_header():
    job_id, body = spring_body(42)
    message = RawMessage(body)
    headers = dict(message.headers)
    task = bootstep.as_task(message)  # type: ignore[arg-type]
    assert task.headers["id"] == f"{job_id}:0"
    assert task.headers["task"] == "recommendations.consumer.take"
    # What Celery itself sends for this task must not land in the backend's exchange.
    assert task.delivery_info["exchange"] == ""
    assert task.delivery_info["routing_key"] != "recommendation.generate"
    args, kwargs, _ = loads(task.body)
    assert kwargs == {}
    carried = Delivery.of_arguments(*args)
    assert (carried.body, carried.headers) == (body, headers)
    assert carried.properties == {"message_id": "m"}


def test_a_failure_always_has_a_message_for_the_backend():
    job = Job(state=State.FAILED, error_code="X", error_message="", arguments={})
    assert execution.status_fields(job)["error.message"] == "X"
    assert Failure(code="X", message="").code == "X"


# --- What fails outside the task's own code -------------------------------------------------------
def failed_with(error: Exception) -> list[bool]:
    """How a worker rejects the delivery of a task that failed with `error`: requeued or not."""
    _, body = spring_body(1)
    message = Message(body=body, headers={}, properties={}, delivery_info={"redelivered": True})
    rejected: list[bool] = []
    task = current_app.tasks[rabbitmq_consumer.TASK]
    request = task.Request(
        bootstep.as_task(message),
        app=current_app,
        task=task,
        hostname="worker",
        on_reject=lambda _log, _errors, requeue: rejected.append(requeue),
    )
    try:
        raise error
    except type(error):
        request.on_failure(ExceptionInfo())
    return rejected


@pytest.mark.parametrize("error", [OperationalError(2002, "gone"), KeyError("x"), RuntimeError()])
def test_a_delivery_that_fails_before_its_work_goes_back_to_the_queue(error):
    assert failed_with(error) == [True]


def test_a_verdict_is_kept():
    assert failed_with(Reject("drop", requeue=False)) == [False]
    assert failed_with(Reject("requeue", requeue=True)) == [True]


def test_no_result_is_read_or_written():
    """The backend for results was what failed when the database was away."""
    for name, task in current_app.tasks.items():
        if name.startswith("recommendations."):
            assert task.ignore_result, name
    assert not current_app.conf.worker_deduplicate_successful_tasks
    assert not current_app.conf.task_track_started
    assert type(current_app.backend).__name__ == "DisabledBackend"


# --- The backend's own consumer on the same queue -------------------------------------------------
@pytest.fixture
def redis_server(shared_redis: str) -> redis.Redis:
    return redis.Redis.from_url(shared_redis)


def ended_by_the_backend(server: redis.Redis, job_id: str, status: str, **more: str) -> None:
    server.hset(f"job:status:{job_id}", mapping={"status": status, "progress": "5", **more})
    if status == "succeeded":
        server.set(f"job:result:{job_id}", '{"groups":[],"by":"songs_be"}')


def test_a_job_that_the_backend_served_is_not_served_again(world, broker, redis_server):
    job_id, body = spring_body(world.alice)
    attend(delivered(body), work=too_slow)
    assert redis_server.hget(f"job:status:{job_id}", "status") == b"queued"
    ended_by_the_backend(redis_server, job_id, "succeeded")  # it took the retry before we could
    queue.run(UUID(job_id))  # the sweep's own delivery, ten minutes later
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.result) == (State.SUCCEEDED, {"served_by": "backend"})
    assert JobAnswer.objects.get(pk=job_id).json == b'{"groups":[],"by":"songs_be"}'
    assert redis_server.get(f"job:result:{job_id}") == b'{"groups":[],"by":"songs_be"}'
    assert redis_server.hgetall(f"job:status:{job_id}")[b"progress"] == b"5"  # nothing was written
    assert not redis_server.exists(f"latest:recommendation:{world.alice}")


def test_a_delivery_whose_job_the_backend_finished_is_acknowledged(world, redis_server):
    job_id, body = spring_body(world.alice)
    ended_by_the_backend(redis_server, job_id, "succeeded")  # and died before it acknowledged
    assert attend(delivered(body, redelivered=True)) is Verdict.ACK
    assert JobAnswer.objects.get(pk=job_id).json == b'{"groups":[],"by":"songs_be"}'


def test_a_retry_that_failed_at_the_backend_has_failed(world, broker, redis_server):
    job_id, body = spring_body(world.alice)
    attend(delivered(body), work=too_slow)
    ended_by_the_backend(redis_server, job_id, "failed", **{"error.code": "DLQ_ARRIVED"})
    queue.run(UUID(job_id))
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.error_code) == (State.FAILED, "DLQ_ARRIVED")


def test_a_failed_job_that_is_sent_again_is_served(world, redis_server):
    job_id, body = spring_body(world.alice)
    ended_by_the_backend(redis_server, job_id, "failed", **{"error.code": "DLQ_ARRIVED"})
    assert attend(delivered(body)) is Verdict.ACK
    assert Job.objects.get(pk=job_id).state == State.SUCCEEDED
    assert redis_server.hget(f"job:status:{job_id}", "status") == b"succeeded"


def test_redis_hears_of_an_outcome_only_when_it_is_committed(world, redis_server, monkeypatch):
    def roll_back(*_: Any, **__: Any) -> None:
        raise OperationalError("gone away at the commit")

    monkeypatch.setattr(execution, "PATIENCE_S", 0.1)
    monkeypatch.setattr(dead_letters, "keep", roll_back)
    job_id, body = spring_body(99_999_999)
    assert attend(delivered(body)) is Verdict.REQUEUE
    assert redis_server.hget(f"job:status:{job_id}", "status") == b"running"


# --- More favourites than are used ----------------------------------------------------------------
def test_a_member_with_too_many_likes_is_served_from_the_newest_and_the_job_says_so(
    world, monkeypatch
):
    monkeypatch.setattr("catalog.queries.MOST_FAVORITES", 3)
    job_id, body = spring_body(world.alice)
    assert attend(delivered(body)) is Verdict.ACK
    job = Job.objects.get(pk=job_id)
    total = len(set(world.alice_likes))
    assert total > 3
    assert job.note == f"{total} favourites given; the newest 10000 were used"
    assert len(json.loads(JobAnswer.objects.get(pk=job_id).json)["favorite_song_ids"]) == 3
