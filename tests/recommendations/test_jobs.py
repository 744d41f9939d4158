"""A job is done once, ends in one outcome, and is never lost, whoever dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psutil
import pytest
from celery import current_app
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.conf import settings
from django.db import OperationalError, ProgrammingError, transaction
from django.utils import timezone

from recommendations.jobs import execution, queue, schedule_progress, sweep, workers
from recommendations.jobs.broker import Broker
from recommendations.jobs.execution import JobCanceled, JobFailed
from recommendations.jobs.kinds import WORK, JobKind
from recommendations.models import Job, JobAnswer, JobRun
from recommendations.models.jobs import MOST_LOSSES, Claim, Failure, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def kind(monkeypatch) -> Callable[[Callable[[Job], Any]], JobKind]:
    """Gives a kind of job other work for one test: `kind(work)` is the name to enqueue."""

    def declare(work: Callable[[Job], Any]) -> JobKind:
        monkeypatch.setitem(WORK, JobKind.WARM_ACTIVE, work)
        return JobKind.WARM_ACTIVE

    return declare


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


class UnreachableOnce:
    """A Celery application whose broker refuses connections until `.reachable` is set."""

    def __init__(self) -> None:
        self.reachable = False
        self.tries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(current_app, name)

    def connection_for_write(self, **options: Any) -> Any:
        self.tries += 1
        if not self.reachable:
            raise ConnectionRefusedError
        return current_app.connection_for_write(**options)


def test_a_broker_that_is_away_keeps_the_job_and_spares_the_next_caller(
    kind, monkeypatch, django_capture_on_commit_callbacks
):
    app = UnreachableOnce()
    monkeypatch.setattr(queue, "broker", Broker(app))  # type: ignore[arg-type]
    name = kind(done)
    with django_capture_on_commit_callbacks(execute=True):
        job, other = queue.enqueue(name), queue.enqueue(name)
    assert app.tries == 1  # the second caller did not wait
    assert Job.objects.filter(published_at__isnull=True).count() == 2

    app.reachable = True
    queue.broker.reset()
    assert sweep.sweep(now=timezone.now()) == 0  # whoever added them may be sending them
    assert sweep.sweep(now=timezone.now() + sweep.JUST_ADDED) == 2
    assert Job.objects.filter(published_at__isnull=True).count() == 0
    assert sweep.sweep(now=timezone.now() + sweep.JUST_ADDED) == 0  # sent once
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


def test_a_query_that_the_time_limit_interrupted_is_tried_again(kind):
    def work(job: Job) -> Any:
        try:
            raise SoftTimeLimitExceeded
        except SoftTimeLimitExceeded:
            raise ProgrammingError(2014, "Commands out of sync")  # noqa: B904 - as Django's cursor does

    job = queue.enqueue(kind(work))
    assert queue.run(job.pk) == {"job": "retry"}
    assert Job.objects.get(pk=job.pk).error_code == "GENERATION_TIMEOUT"


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


# --- Messages that got lost -----------------------------------------------------------------------
@pytest.fixture
def sent_a_minute_ago(kind, django_capture_on_commit_callbacks) -> Iterator[Job]:
    """A job whose message waits in the (in-memory) broker since more than a minute."""
    with django_capture_on_commit_callbacks(execute=True):
        job = queue.enqueue(kind(done))
    sent_at = timezone.now() - sweep.RESEND_AFTER - timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(published_at=sent_at)
    yield job
    take_all(job.queue)


def take_all(name: str) -> int:
    """Empty a queue of the in-memory broker; returns how many messages it held."""
    with current_app.connection_for_write() as connection:
        return int(connection.default_channel.queue_purge(name) or 0)


def test_a_job_whose_message_is_nowhere_is_sent_again_after_a_minute(sent_a_minute_ago):
    take_all(sent_a_minute_ago.queue)  # the worker that fetched it lost it
    queues = sweep.EmptyQueues(empty_for_s=0)
    assert sweep.resend_lost(queues, now=timezone.now()) == 1
    assert take_all(sent_a_minute_ago.queue) == 1
    assert sweep.resend_lost(queues, now=timezone.now()) == 0  # just sent


def test_a_job_is_not_sent_twice_while_its_queue_is_long(sent_a_minute_ago):
    queues = sweep.EmptyQueues(empty_for_s=0)
    for _ in range(3):
        assert sweep.resend_lost(queues, now=timezone.now()) == 0
    assert take_all(sent_a_minute_ago.queue) == 1


def test_a_job_is_not_sent_twice_as_soon_as_its_queue_is_empty(sent_a_minute_ago):
    # The worker that fetched the last message may be about to take its job.
    take_all(sent_a_minute_ago.queue)
    queues = sweep.EmptyQueues(empty_for_s=60)
    for _ in range(3):
        assert sweep.resend_lost(queues, now=timezone.now()) == 0


def test_a_message_fetched_while_the_database_is_away_goes_back_to_its_queue(kind, monkeypatch):
    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError(2002, "Can't connect")

    monkeypatch.setattr(execution, "PATIENCE_S", 0.1)
    monkeypatch.setattr(execution, "claim", away)
    job = queue.enqueue(kind(done))
    with pytest.raises(Reject) as rejected:
        queue.run(job.pk)
    assert rejected.value.requeue


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


def test_a_worker_that_loads_the_tasks_sweeps_when_it_is_ready():
    """In a process of its own: the tests have loaded the sweep already."""
    code = (
        "import django; django.setup(); from celery.signals import worker_ready\n"
        "from recommendations import tasks\n"
        "print([receiver.__module__ for _, ref in worker_ready.receivers"
        " if (receiver := ref() if callable(ref) else ref) is not None])"
    )
    unset = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=unset | {"DJANGO_SETTINGS_MODULE": "songs_ai.settings"},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "recommendations.jobs.sweep" in done.stdout
