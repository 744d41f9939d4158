"""When many jobs wait, each ends with the local answer, and the model's version follows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from celery import current_app
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bench.fake_model import FakeModel
from bench.installation import spring_body
from infrastructure.redis import gate
from recommendations import services
from recommendations.jobs import execution, queue, redis_restore, rush, sweep
from recommendations.jobs.backend_queue import rabbitmq_topology
from recommendations.jobs.backend_queue.rabbitmq_consumer import Verdict, attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.jobs.kinds import NIGHTLY_QUEUE, JobKind
from recommendations.models import Job, JobAnswer, StoredAnswer
from recommendations.models.jobs import JobSource, State
from recommendations.serving.parsing.stored_requests import read_request


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_rush() -> Iterator[None]:
    rush.forget()
    yield
    rush.forget()


# --- The rule -------------------------------------------------------------------------------------
def test_a_rush_is_more_waiting_jobs_than_the_threshold_and_lasts_a_while(settings):
    clock, waiting = Clock(), [settings.JOBS_RUSH_AT]
    seen = rush.Rush(lambda: waiting[0], clock=clock)
    assert not seen.is_on()
    waiting[0] += 1
    assert seen.is_on()  # without a rush every job counts
    waiting[0] = 0
    clock.now += rush.LASTS_S - 0.1
    assert seen.is_on()  # its last jobs too
    clock.now += 0.2
    assert not seen.is_on()


def test_a_process_that_drains_a_rush_counts_once_a_second():
    looks, clock = [], Clock()
    seen = rush.Rush(lambda: looks.append(1) or 50, clock=clock)
    for _ in range(20):
        clock.now += rush.LOOK_EVERY_S / 10
        assert seen.is_on()
    assert len(looks) <= 3


def test_the_rule_can_be_switched_off(settings):
    settings.JOBS_RUSH_AT = 0
    assert not rush.Rush(lambda: pytest.fail("nobody needs to look")).is_on()


@pytest.mark.django_db
def test_jobs_that_wait_are_counted_and_no_others(settings):
    def row(**values: Any) -> None:
        now = timezone.now()
        Job.objects.create(**{"name": "serve", "queue": "q", "submitted_at": now} | values)

    for _ in range(3):
        row(source=JobSource.API)
    row(state=State.RUNNING)
    row(name="refresh_members")
    row(not_before=timezone.now() + timedelta(minutes=1))
    row(source=JobSource.QUEUE)  # counted by the broker
    assert rush.waiting_rows() == 3
    settings.JOBS_RUSH_AT = 1
    assert rush.waiting_rows() == 2  # counts no further than it has to


@pytest.fixture
def broker() -> Iterator[Any]:
    """Celery's in-memory broker with the backend's queues declared."""
    with current_app.connection_for_write() as connection:
        assert rabbitmq_topology.declare(connection) == {}
        yield connection.default_channel
        for declared in rabbitmq_topology.queues():
            connection.default_channel.queue_purge(declared.name)


def fill(channel: Any, count: int) -> None:
    for _ in range(count):
        channel.basic_publish(
            channel.prepare_message("x"), rabbitmq_topology.EXCHANGE, rabbitmq_topology.ROUTING_KEY
        )


def test_messages_that_wait_at_the_broker_are_counted(broker):
    depth = rush.BackendQueue()
    assert depth.waiting() == 0
    fill(broker, 4)
    assert depth.waiting() == 4


def test_a_broker_that_is_away_is_no_rush_and_is_left_alone_for_a_while():
    calls = []

    def refuses() -> Any:
        calls.append(1)
        return current_app.connection_for_read("amqp://guest:guest@127.0.0.1:1//")

    depth = rush.BackendQueue(connect=refuses)
    assert depth.waiting() == 0
    assert depth.waiting() == 0
    assert len(calls) == 1


# --- A job of a rush ------------------------------------------------------------------------------
pytestmark = pytest.mark.django_db


def delivered(body: bytes) -> Delivery:
    return Delivery(body=body, headers={}, properties={}, redelivered=False)


def serve_in_rush(broker: Any, member: str, **fields: Any) -> str:
    """One message that is taken while twenty more wait; returns its job."""
    fill(broker, 20)
    job_id, body = spring_body(member, strategy="default", **fields)
    assert attend(delivered(body)) is Verdict.ACK
    return job_id


def due(name: str = JobKind.FOLLOW_UP) -> list[Job]:
    """The follow-ups that wait, as if their time had come."""
    earlier = timezone.now() - timedelta(seconds=1)
    Job.objects.filter(name=name, state=State.QUEUED).update(not_before=earlier)
    return list(Job.objects.filter(name=name, state=State.QUEUED))


def answer_of(job_id: Any) -> dict[str, Any]:
    return json.loads(JobAnswer.objects.get(pk=job_id).json)


def test_below_the_threshold_a_job_waits_for_the_model(world, model, broker):
    job_id, body = spring_body(world.alice, strategy="default")
    attend(delivered(body))
    assert answer_of(job_id)["source"] == "model"
    assert not Job.objects.filter(name="follow_up").exists()


def test_in_a_rush_a_job_ends_with_the_local_answer_and_says_so(world, model, broker):
    job_id = serve_in_rush(broker, world.alice)
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.runs.count()) == (State.SUCCEEDED, 1)
    answer = answer_of(job_id)
    assert (answer["source"], answer["degraded"]) == ("local", "busy")
    assert answer["candidates"]
    assert StoredAnswer.objects.get(pk=world.alice).meta["degraded"] == "busy"
    assert model.seen == []
    follows = Job.objects.get(name="follow_up")
    assert (follows.queue, follows.member_key) == (NIGHTLY_QUEUE, world.alice)
    assert follows.arguments == {"job": job_id}


def test_the_same_holds_for_jobs_asked_for_over_http(world, model, client):
    bodies = [{"memberId": str(n + 1_000), "favorite_song_ids": [1]} for n in range(20)]
    for body in [*bodies, {"memberId": world.alice}]:
        asked = client.post("/recommend/jobs", body, content_type="application/json")
        assert asked.status_code == 202
    job = Job.objects.get(pk=asked.json()["job_id"])
    queue.run(job.pk)
    assert answer_of(job.pk)["degraded"] == "busy"
    [follows] = due()
    queue.run(follows.pk)
    assert StoredAnswer.objects.get(pk=world.alice).meta["source"] == "model"


def test_what_a_job_of_a_rush_costs_in_statements(world, model, broker):
    serve_in_rush(broker, world.bob)  # what a process asks once is asked
    with CaptureQueriesContext(connection) as seen:
        serve_in_rush(broker, world.alice)
    said = (query["sql"].lstrip("( ").split(" ")[0] for query in seen)
    counts = Counter(word for word in said if word in ("SELECT", "INSERT", "UPDATE", "DELETE"))
    # The row, its lock; does the member exist; the member; the answer in force, twice; the newest taste kept; the follow-up.
    assert counts["SELECT"] == 2 + 1 + 4 + 2 + 1 + 1
    # The job and its attempt; answer, taste, its history, run; the job's answer, the follow-up.
    assert counts["INSERT"] == 2 + 4 + 2
    assert counts["UPDATE"] == 3  # taken; ended, with its attempt


def test_a_follow_up_that_was_taken_meanwhile_gets_a_successor(world, model, broker):
    first = serve_in_rush(broker, world.alice)
    [taken] = due()
    taken.take(attempt=0, worker="elsewhere|1|2.00", now=timezone.now())
    given = serve_in_rush(broker, world.alice, favorites=list(world.ballads[:3]))
    assert taken.arguments == {"job": first}
    assert [job.arguments for job in due()] == [{"job": given}]


def test_what_needs_no_model_is_served_as_ever(world, model, broker):
    fill(broker, 20)
    for fields in ({"strategy": "fast"}, {"strategy": "fast", "locale": "ja"}):
        job_id, body = spring_body(world.alice, **fields)
        attend(delivered(body))
        assert answer_of(job_id)["degraded"] is None
    assert not Job.objects.filter(name="follow_up").exists()


def test_a_fresh_answer_of_the_model_is_served_in_a_rush_too(world, model, broker):
    _, body = spring_body(world.alice, strategy="default")
    attend(delivered(body))
    rush.forget()
    job_id = serve_in_rush(broker, world.alice)
    assert answer_of(job_id)["degraded"] is None
    assert not Job.objects.filter(name="follow_up").exists()


# --- What follows ---------------------------------------------------------------------------------
def test_the_models_version_follows_at_once_despite_the_pause_after_a_degraded_answer(
    world, model, broker, shared_redis
):
    job_id = serve_in_rush(broker, world.alice)
    client = gate.client()
    first = client.get(f"job:result:{job_id}")
    assert client.get(f"latest:recommendation:{world.alice}") == first
    [follows] = due()
    assert queue.run(follows.pk)["job"] == "succeeded"
    latest = json.loads(client.get(f"latest:recommendation:{world.alice}"))
    assert (latest["source"], latest["degraded"], latest["status"]) == ("model", None, "completed")
    assert len(latest["candidates"]) == 20  # as many as the job asked for
    stored = StoredAnswer.objects.get(pk=world.alice)
    assert (stored.meta["source"], stored.meta["run_id"]) == ("model", latest["run_id"])
    kept = json.loads(client.get(f"recommend:{world.alice}"))
    assert kept["candidates"][:20] == latest["candidates"]
    # The job itself has one outcome and keeps it.
    assert client.get(f"job:result:{job_id}") == first
    assert orjson.loads(first) == answer_of(job_id)
    assert Job.objects.get(pk=job_id).runs.count() == 1


def test_a_follow_up_leaves_the_answer_of_a_newer_job_alone(world, model, broker, shared_redis):
    serve_in_rush(broker, world.alice)
    newer = b'{"run_id": "another", "source": "model"}'
    gate.client().set(f"latest:recommendation:{world.alice}", newer)
    [follows] = due()
    queue.run(follows.pk)
    assert gate.client().get(f"latest:recommendation:{world.alice}") == newer
    assert StoredAnswer.objects.get(pk=world.alice).meta["source"] == "model"


def test_an_empty_redis_gets_the_models_version_as_the_latest(world, model, broker, shared_redis):
    job_id = serve_in_rush(broker, world.alice)
    [follows] = due()
    queue.run(follows.pk)
    latest = gate.client().get(f"latest:recommendation:{world.alice}")
    result = gate.client().get(f"job:result:{job_id}")
    gate.client().flushdb()
    redis_restore.restore_redis(now=timezone.now())
    assert gate.client().get(f"latest:recommendation:{world.alice}") == latest
    assert gate.client().get(f"job:result:{job_id}") == result
    assert not gate.client().exists(f"job:status:{follows.pk}")


def test_a_member_with_many_jobs_is_followed_up_once_and_for_the_newest(world, model, broker):
    job_ids = [serve_in_rush(broker, world.alice) for _ in range(3)]
    other = serve_in_rush(broker, world.bob)
    found = {job.member_key: job.arguments["job"] for job in due()}
    # The second and third job took the answer that was just made.
    assert found == {world.alice: job_ids[0], world.bob: other}
    given = serve_in_rush(broker, world.alice, favorites=list(world.ballads[:3]))
    found = {job.member_key: job.arguments["job"] for job in due()}
    assert found == {world.alice: given, world.bob: other}


def test_follow_ups_that_wait_are_done_together_each_with_an_outcome(
    world, model, broker, settings
):
    settings.MODEL_CALLS_IN_FLIGHT = (
        2  # one after the other: threads have no part in a test's transaction
    )
    for member in (world.alice, world.bob, world.carol):
        serve_in_rush(broker, member)
    first, *others = due()
    assert queue.run(first.pk)["job"] == "succeeded"
    for job in Job.objects.filter(name="follow_up"):
        assert (job.state, job.runs.count()) == (State.SUCCEEDED, 1)
    assert {row.meta["source"] for row in StoredAnswer.objects.all()} == {"model"}
    calls = len(model.seen)
    assert [queue.run(job.pk)["job"] for job in others] == ["ended", "ended"]
    assert len(model.seen) == calls


def test_a_model_that_fails_is_asked_again_later(world, model: FakeModel, broker):
    serve_in_rush(broker, world.alice)
    model.fault = "500"
    [follows] = due()
    assert queue.run(follows.pk) == {"job": "retry"}
    model.fault = ""
    [again] = due()
    assert (again.pk, again.attempt) == (follows.pk, 1)
    assert queue.run(again.pk)["job"] == "succeeded"
    assert StoredAnswer.objects.get(pk=world.alice).meta["source"] == "model"


# --- Deaths ---------------------------------------------------------------------------------------
def test_the_follow_up_is_written_with_the_outcome_or_not_at_all(world, model, broker, monkeypatch):
    def dies(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_close_run", dies)  # the worker dies within the commit
        with pytest.raises(SystemExit):
            serve_in_rush(broker, world.alice)
    job = Job.objects.get(name="serve")
    assert job.state == State.RUNNING
    assert not Job.objects.filter(name="follow_up").exists()


def test_a_follow_up_whose_worker_died_is_done_by_another(world, model, broker):
    serve_in_rush(broker, world.alice)
    [follows] = due()
    now = timezone.now()
    follows.take(attempt=0, worker="elsewhere|1|2.00", now=now)
    later = now + timedelta(minutes=1)
    assert sweep.sweep(now=later) == 2  # freed and sent
    assert queue.run(follows.pk)["job"] == "succeeded"
    assert StoredAnswer.objects.get(pk=world.alice).meta["source"] == "model"


def test_a_worker_that_lost_its_job_notes_no_follow_up(world, model, broker):
    fill(broker, 20)
    _, body = spring_body(world.alice, strategy="default")

    def taken_over(job: Job) -> Any:
        done = execution.serve(job)
        Job.objects.filter(pk=job.pk).update(fence=job.fence + 1)  # somebody took it over
        return done

    assert attend(delivered(body), work=taken_over) is Verdict.REQUEUE
    assert not Job.objects.filter(name="follow_up").exists()


def test_a_followed_job_that_is_gone_is_no_failure(world, model):
    job = queue.enqueue(JobKind.FOLLOW_UP, job=str(uuid4()))
    assert queue.run(job.pk) == {"job": "succeeded", "gone": True}


def test_a_rush_that_begins_while_the_engine_computes_is_noticed(world, model, broker):
    """The first jobs come before the others are there: they count once more when the model's turn comes."""
    job_id, body = spring_body(world.alice, strategy="default")
    filled: list[int] = []

    def serve(job: Job) -> Any:
        show = execution.show_progress

        def watch(percent: int) -> None:
            if percent == 40 and not filled:
                fill(broker, 20)
                filled.append(percent)
            show(job, percent)

        request = read_request(job.arguments)
        answer = services.recommend(
            replace(request, hurried=lambda: rush.is_on(job), progress=watch)
        )
        return orjson.dumps(answer.to_wire()), {"follows": answer.wants_refresh and request.variant}

    attend(delivered(body), work=serve)
    assert answer_of(job_id)["degraded"] == "busy"
    assert model.seen == []
    assert Job.objects.filter(name="follow_up").count() == 1
