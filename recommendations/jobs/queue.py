"""The queue of our own jobs: a row first, then a message. The sweep sends again what the broker loses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from kombu.exceptions import KombuError

from ..models import Job
from ..models.jobs import MOST_LOSSES, Claim, Failure, State
from . import execution, schedule_progress, workers
from .execution import Outcome, StoreAway
from .kinds import DEFAULT_QUEUE, KINDS, TASK_PREFIX, Kind, WorkOf

log = logging.getLogger(__name__)
#: Pauses before the second, third and fourth attempt of a job of ours, before jitter.
RETRY_DELAYS_S = (5, 30, 120)
#: Longest wait for the broker's confirmation on a connection that is open.
PUBLISH_TIMEOUT_S = 0.7


def job_task(
    name: str, *, limit_s: float, queue: str = DEFAULT_QUEUE
) -> Callable[[WorkOf], WorkOf]:
    """Declare the work of a kind of job as a Celery task.

    limit_s: after this the work is stopped and tried again later (workers with processes only).
    """

    def declare(work: WorkOf) -> WorkOf:
        @shared_task(
            name=TASK_PREFIX + name,
            soft_time_limit=limit_s,
            time_limit=limit_s + 30,
            acks_late=True,
            ignore_result=False,
        )
        def task(job_id: str) -> dict[str, Any]:
            return run(UUID(job_id))

        KINDS[name] = Kind(work=work, queue=queue, task=task)
        return work

    return declare


# --- Sending --------------------------------------------------------------------------------------
def enqueue(
    name: str, key: str = "", *, row: Mapping[str, Any] | None = None, **arguments: Any
) -> Job:
    """Add a job; returns it, or the one that already waits under the same key.

    The row is written now; the message is sent when the transaction commits. A broker that is away
    costs the caller less than a second, and the job is sent when it is back.
    """
    values = {"queue": KINDS[name].queue, "submitted_at": timezone.now()} | dict(row or {})
    values.setdefault("uuid", uuid4())
    job, is_new = Job.ask(name=name, key=key, arguments=arguments, **values)
    if is_new:
        transaction.on_commit(lambda: publish(job))
    return job


class _Broker:
    """Remembers for a moment that the broker is away, so that callers do not all wait for it."""

    PAUSE_S = 3.0

    def __init__(self) -> None:
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        return time.monotonic() < self._away_until

    def note_failure(self) -> None:
        self._away_until = time.monotonic() + self.PAUSE_S


broker = _Broker()
BROKER_ERRORS = (KombuError, OSError)


def publish(job: Job) -> bool:
    """Send the job's message; False when it has to wait for the sweep."""
    if broker.away:
        return False
    try:
        KINDS[job.name].task.apply_async(
            (str(job.pk),),
            task_id=f"{job.pk}:{job.round}.{job.attempt}",
            queue=job.queue,
            timeout=PUBLISH_TIMEOUT_S,
            confirm_timeout=PUBLISH_TIMEOUT_S,
        )
    except BROKER_ERRORS as error:
        broker.note_failure()
        log.warning("The broker is away (%s); job %s waits", type(error).__name__, job.pk)
        return False
    Job.objects.filter(pk=job.pk).update(published_at=timezone.now())
    return True


# --- Running --------------------------------------------------------------------------------------
def run(job_uuid: UUID, *, work: WorkOf | None = None) -> dict[str, Any]:
    """The body of every task of ours: take the job, do its work (by its kind unless given), store the outcome."""
    try:
        verdict, job = execution.patiently(lambda: execution.claim(job_uuid))
        if verdict is Claim.DEADLY:
            bury(job)
        if verdict is not Claim.TAKEN:
            return {"job": str(verdict)}
        with execution.held(job):
            execution.patiently(lambda: schedule_progress.job_started(job, now=timezone.now()))
            outcome = execution.carried_out(job, work or KINDS[job.name].work)
            execution.patiently(lambda: conclude(job, outcome))
    except (StoreAway, SoftTimeLimitExceeded, OperationalError, InterfaceError):
        # Nothing is lost: the sweep sends the job again.
        log.warning("Job %s has no outcome yet", job_uuid)
        return {"job": "unfinished"}
    except Job.DoesNotExist:
        log.info("Job %s was deleted before it ran", job_uuid)
        return {"job": "deleted"}
    return {"job": str(outcome.state or "retry"), **outcome.result}


def conclude(job: Job, outcome: Outcome) -> None:
    """Store the outcome of a job of ours, or schedule its next attempt after a pause with jitter."""
    if outcome.state is None and job.attempt < len(RETRY_DELAYS_S):
        assert outcome.failure is not None
        delay_s = RETRY_DELAYS_S[job.attempt] * random.uniform(0.8, 1.2)
        job.wait_for_retry(outcome.failure, now=timezone.now(), delay_s=delay_s, published=False)
        execution.announce(job)
        return
    if outcome.state is None:
        outcome = Outcome(state=State.FAILED, failure=outcome.failure)
    execution.store_outcome(job, outcome)
    schedule_progress.job_ended(job, now=timezone.now())


LOST = Failure(code="WORKER_LOST", message=f"{MOST_LOSSES} workers died during this job")


def bury(job: Job, failure: Failure = LOST) -> None:
    """End a job during which too many workers died."""
    job.take(attempt=job.attempt, worker=workers.identity(), now=timezone.now())
    execution.store_outcome(job, Outcome(state=State.FAILED, failure=failure))
    schedule_progress.job_ended(job, now=timezone.now())
