"""A job is done once, ends in one outcome, and is never lost, whoever dies."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import pytest
from celery.app.task import Task
from django.db import OperationalError, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from recommendations.jobs import execution, queue, schedule_progress, sweep, workers
from recommendations.jobs.execution import JobCanceled, JobFailed
from recommendations.jobs.kinds import KINDS
from recommendations.models import Job, JobAnswer, JobRun
from recommendations.models.jobs import MOST_LOSSES, Claim, Failure, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def kind() -> Iterator[Callable[..., str]]:
    """Declares a kind of job for one test: `kind(work)` gives the name to enqueue."""
    before = dict(KINDS)

    def declare(work: Callable[[Job], Any], **options: Any) -> str:
        name = f"test_{uuid4().hex}"
        queue.job_task(name, limit_s=60, **options)(work)
        return name

    yield declare
    KINDS.clear()
    KINDS.update(before)


def done(job: Job) -> tuple[None, dict[str, Any]]:
    return None, {"worked": 1}


def claimed(job: Job, worker: str = "elsewhere|1|2.00", **changes: Any) -> Job:
    """The job as a worker of another host holds it."""
    now = timezone.now()
    job.take(attempt=job.attempt, worker=worker, now=now)
    Job.objects.filter(pk=job.pk).update(**changes)
    job.refresh_from_db()
    return job


# --- Asking ---------------------------------------------------------------------------------------
def test_asking_twice_while_it_waits_makes_one_job(kind):
    name = kind(done)
    first = queue.enqueue(name, "member:1")
    assert queue.enqueue(name, "member:1").pk == first.pk
    assert queue.enqueue(name, "member:2").pk != first.pk


def test_asking_while_it_runs_makes_a_second_job(kind):
    # What was liked after the first one read the likes must not be missed.
    name = kind(done)
    first = claimed(queue.enqueue(name, "member:1"))
    assert queue.enqueue(name, "member:1").pk != first.pk


def test_a_job_is_sent_when_the_transaction_commits(kind, django_capture_on_commit_callbacks):
    name = kind(done)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        job = queue.enqueue(name)
        assert Job.objects.get(pk=job.pk).published_at is None
    assert Job.objects.get(pk=job.pk).published_at is not None


@pytest.fixture
def broken_broker(monkeypatch) -> Iterator[Any]:
    """The broker's client as it behaves when nobody answers; `.mended()` brings it back."""

    class Switch:
        calls = 0
        away = True

    switch = Switch()
    send = Task.apply_async

    def apply_async(self: Any, *args: Any, **options: Any) -> Any:
        switch.calls += 1
        if switch.away:
            raise BrokerAway("refused")
        return send(self, *args, **options)

    monkeypatch.setattr(Task, "apply_async", apply_async)
    monkeypatch.setattr(queue, "broker", queue._Broker())
    return switch


def test_a_broker_that_is_away_keeps_the_job_and_spares_the_next_caller(
    kind, broken_broker, django_capture_on_commit_callbacks
):
    name = kind(done)
    with django_capture_on_commit_callbacks(execute=True):
        job, other = queue.enqueue(name), queue.enqueue(name)
    assert broken_broker.calls == 1  # the second caller did not wait
    assert Job.objects.filter(published_at__isnull=True).count() == 2

    broken_broker.away = False
    queue.broker = queue._Broker()
    assert sweep.sweep(now=timezone.now()) == 2
    assert Job.objects.filter(published_at__isnull=True).count() == 0
    assert sweep.sweep(now=timezone.now()) == 0  # sent once
    assert {job.pk, other.pk} == set(Job.objects.values_list("pk", flat=True))


# --- Doing ----------------------------------------------------------------------------------------
def test_a_job_runs_once_however_often_it_is_delivered(kind):
    runs: list[Any] = []

    def work(job: Job) -> Any:
        runs.append(job.pk)
        return None, {"worked": 1}

    job = queue.enqueue(kind(work))
    assert queue.run(job.pk) == {"job": "succeeded", "worked": 1}
    assert queue.run(job.pk) == {"job": "ended"}
    assert runs == [job.pk]
    job.refresh_from_db()
    assert (job.state, job.progress, job.result) == (State.SUCCEEDED, 100, {"worked": 1})
    assert job.finished_at is not None
    assert [run.outcome for run in job.runs.all()] == [State.SUCCEEDED]


def test_a_job_that_somebody_alive_works_on_is_left_to_him(kind):
    job = claimed(queue.enqueue(kind(done)))
    assert queue.run(job.pk) == {"job": "busy"}
    job.refresh_from_db()
    assert job.state == State.RUNNING


def test_a_job_of_a_dead_worker_of_this_host_is_taken_at_once(kind):
    dead = f"{socket.gethostname()}|999999|1.00"
    job = claimed(queue.enqueue(kind(done)), worker=dead)
    assert queue.run(job.pk)["job"] == "succeeded"
    assert Job.objects.get(pk=job.pk).losses == 1


def test_a_process_with_a_dead_ones_number_is_not_the_dead_one():
    me = psutil.Process()
    assert not workers.is_dead(workers.identity())
    assert workers.is_dead(f"{socket.gethostname()}|{me.pid}|1.00")
    assert not workers.is_dead("another-host|1|1.00")
    assert not workers.is_dead("")


def test_a_worker_that_lost_its_job_cannot_end_it(kind):
    job = claimed(queue.enqueue(kind(done)))
    late = Job.objects.get(pk=job.pk)
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    verdict, taken_over = execution.claim(job.pk)
    assert verdict is Claim.TAKEN
    assert not late.succeed(now=timezone.now(), answer=b'{"from":"late"}')
    assert taken_over.succeed(now=timezone.now(), answer=b'{"from":"second"}')
    assert JobAnswer.objects.get(pk=job.pk).json == b'{"from":"second"}'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed("MEMBER_NOT_FOUND", "member 7 does not exist"), "MEMBER_NOT_FOUND"),
        (ZeroDivisionError("secret host name"), "MODEL_ERROR"),
    ],
)
def test_a_permanent_failure_ends_the_job_with_a_code_and_a_message(kind, error, code):
    def work(job: Job) -> Any:
        raise error

    job = queue.enqueue(kind(work))
    queue.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, code)
    assert job.error_message
    assert "secret" not in job.error_message


def test_a_transient_failure_is_tried_again_with_growing_pauses_and_then_fails(kind):
    def work(job: Job) -> Any:
        raise TimeoutError("model")

    job = queue.enqueue(kind(work))
    for attempt, pause_s in enumerate(queue.RETRY_DELAYS_S):
        assert queue.run(job.pk) == {"job": "retry"}
        job.refresh_from_db()
        assert (job.state, job.attempt) == (State.QUEUED, attempt + 1)
        waits_s = (job.not_before - timezone.now()).total_seconds()
        assert pause_s * 0.75 < waits_s < pause_s * 1.25
        assert sweep.sweep(now=timezone.now()) == 0  # not yet
    queue.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, "GENERATION_TIMEOUT")
    assert [run.outcome for run in job.runs.order_by("attempt")] == ["retried"] * 3 + ["failed"]


def test_the_sweep_sends_a_retry_when_its_pause_is_over(kind):
    def work(job: Job) -> Any:
        raise ConnectionError

    job = queue.enqueue(kind(work))
    queue.run(job.pk)
    assert sweep.sweep(now=timezone.now() + timedelta(seconds=7)) == 1


def test_a_job_whose_worker_died_elsewhere_is_free_when_the_lease_ran_out(kind):
    job = claimed(queue.enqueue(kind(done)), lease_until=timezone.now() - timedelta(seconds=1))
    sweep.sweep(now=timezone.now())
    job.refresh_from_db()
    assert (job.state, job.losses) == (State.QUEUED, 1)
    assert job.published_at is not None
    assert queue.run(job.pk)["job"] == "succeeded"


def test_a_job_that_kills_its_workers_is_buried(kind):
    job = claimed(
        queue.enqueue(kind(done)),
        losses=MOST_LOSSES,
        lease_until=timezone.now() - timedelta(seconds=1),
    )
    sweep.sweep(now=timezone.now())
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, "WORKER_LOST")


def test_a_lost_message_is_sent_again(kind):
    job = queue.enqueue(kind(done))
    sent_at = timezone.now() - sweep.LOST_AFTER - timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(published_at=sent_at)
    assert sweep.sweep(now=timezone.now()) == 1


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_step(kind):
    def work(job: Job) -> Any:
        Job.objects.get(pk=job.pk).cancel(now=timezone.now())
        execution._watch(job, 40)
        raise AssertionError("a cancelled job went on")

    name = kind(work)
    waiting = queue.enqueue(name)
    assert waiting.cancel(now=timezone.now())
    assert queue.run(waiting.pk) == {"job": "ended"}
    running = queue.enqueue(name)
    assert queue.run(running.pk) == {"job": "canceled"}
    assert {job.state for job in Job.objects.all()} == {State.CANCELED}
    assert not running.cancel(now=timezone.now())
    assert issubclass(JobCanceled, Exception)


def test_a_job_that_ended_can_be_asked_for_again(kind):
    attempts = iter([TimeoutError("x")] * 4 + [None] * 9)

    def work(job: Job) -> Any:
        if (error := next(attempts)) is not None:
            raise error
        return None, {}

    job = queue.enqueue(kind(work))
    for _ in range(4):
        queue.run(job.pk)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert job.reopen(now=timezone.now())
    assert not job.reopen(now=timezone.now())  # it waits already
    assert queue.run(job.pk)["job"] == "succeeded"
    assert JobRun.objects.filter(job=job, round=1).count() == 1


# --- Attempts of the backend's messages -----------------------------------------------------------
def fresh(**changes: Any) -> Job:
    values = {"name": "serve", "queue": "q", "submitted_at": timezone.now()} | changes
    return Job.objects.create(**values)


@pytest.mark.parametrize(
    ("state", "expected", "delivered", "verdict"),
    [
        (State.QUEUED, 0, 0, Claim.TAKEN),
        (State.QUEUED, 1, 1, Claim.TAKEN),
        (State.QUEUED, 1, 0, Claim.STALE),  # its retry is out; this is the old delivery again
        (State.QUEUED, 0, 1, Claim.TAKEN),  # songs_be tried the first one
        (State.RUNNING, 0, 0, Claim.BUSY),
        (State.RUNNING, 1, 0, Claim.STALE),
        (State.SUCCEEDED, 0, 1, Claim.ENDED),
        (State.FAILED, 3, 0, Claim.ENDED),
        (State.CANCELED, 0, 0, Claim.ENDED),
    ],
)
def test_what_may_be_done_with_a_delivery(state, expected, delivered, verdict):
    now = timezone.now()
    job = fresh(state=state, attempt=expected, lease_until=now + timedelta(seconds=10))
    assert job.decide(attempt=delivered, now=now, holder_is_dead=False) is verdict


def test_a_published_retry_is_not_the_jobs_success():
    job = fresh()
    now = timezone.now()
    _, held = execution.claim(job.pk, attempt=0)
    failure = Failure(code="GENERATION_TIMEOUT", message="slow")
    assert held.wait_for_retry(failure, now=now, delay_s=5, published=True)
    assert execution.claim(job.pk, attempt=0)[0] is Claim.STALE
    verdict, again = execution.claim(job.pk, attempt=1)
    assert verdict is Claim.TAKEN
    assert again.succeed(now=now)
    assert execution.claim(job.pk, attempt=1)[0] is Claim.ENDED


def test_a_deadlock_at_the_start_of_a_job_is_tried_again(kind, monkeypatch):
    told: list[Job] = []

    def deadlocked_once(job: Job, *, now: datetime) -> None:
        told.append(job)
        if len(told) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock")

    monkeypatch.setattr(schedule_progress, "job_started", deadlocked_once)
    job = queue.enqueue(kind(done))
    assert queue.run(job.pk)["job"] == State.SUCCEEDED
    assert len(told) == 2


def test_a_job_that_the_database_interrupts_is_given_back_at_once(kind, monkeypatch):
    def interrupted(*_: Any) -> None:
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    monkeypatch.setattr(execution, "carried_out", interrupted)
    job = queue.enqueue(kind(done))
    assert queue.run(job.pk) == {"job": "unfinished"}
    job.refresh_from_db()
    assert (job.state, job.published_at, job.lease_until) == (State.QUEUED, None, None)
