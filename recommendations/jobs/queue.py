"""The queue of our own jobs: a row first, then a message. The sweep sends again what the broker loses."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

from celery import current_app, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from kombu import Producer

from infrastructure import outages

from ..models import Job
from ..models.jobs import MOST_LOSSES, Claim, Failure, State
from . import execution, schedule_progress, workers
from .broker import BrokerUnavailable, broker
from .execution import Outcome, StoreAway
from .kinds import TASK_PREFIX, WORK, JobKind, WorkOf
from .requests import RequeuedOnFault

log = logging.getLogger(__name__)
#: Pauses before the second, third and fourth attempt of a job of ours, before jitter.
RETRY_DELAYS_S = (5, 30, 120)
#: Longest wait for the broker's confirmation on a connection that is open.
PUBLISH_TIMEOUT_S = 0.7


def job_task(name: JobKind, *, limit_s: float) -> Callable[[WorkOf], WorkOf]:
    """Declare the work of a kind of job as a Celery task.

    limit_s: after this the work is stopped and tried again later (workers with processes only).
    """

    def declare(work: WorkOf) -> WorkOf:
        @shared_task(
            name=TASK_PREFIX + name,
            soft_time_limit=limit_s,
            time_limit=limit_s + 30,
            acks_late=True,
            ignore_result=True,  # the job's row is the record
            base=RequeuedOnFault,
        )
        def task(job_id: str) -> dict[str, Any]:
            return run(UUID(job_id))

        WORK[name] = work
        return work

    return declare


# --- Sending --------------------------------------------------------------------------------------
def enqueue(
    name: JobKind | str, key: str = "", *, row: Mapping[str, Any] | None = None, **arguments: Any
) -> Job:
    """Add a job; returns it, or the one that already waits under the same key.

    The row is written now; the message is sent when the transaction commits. A broker that is away
    costs the caller less than a second, and the job is sent when it is back.
    """
    values = {"queue": JobKind(name).queue, "submitted_at": timezone.now()} | dict(row or {})
    values.setdefault("uuid", uuid4())
    job, is_new = Job.ask(name=name, key=key, arguments=arguments, **values)
    if is_new:
        transaction.on_commit(lambda: publish(job))
    return job


def publish(job: Job) -> bool:
    """Send the job's message; False when it has to wait for the sweep."""
    if not broker.available:
        return False
    try:
        broker.call(lambda producer: _send(job, producer), timeout_s=PUBLISH_TIMEOUT_S)
    except BrokerUnavailable as error:
        outages.log_fault(log, error, "The broker is away; jobs wait in their rows")
        return False
    Job.objects.filter(pk=job.pk).update(published_at=timezone.now())
    return True


def _send(job: Job, producer: Producer) -> None:
    current_app.send_task(
        TASK_PREFIX + job.name,
        (str(job.pk),),
        task_id=f"{job.pk}:{job.round}.{job.attempt}",
        queue=job.queue,
        producer=producer,
        retry=False,
        timeout=PUBLISH_TIMEOUT_S,
        confirm_timeout=PUBLISH_TIMEOUT_S,
        ignore_result=True,
    )


# --- Running --------------------------------------------------------------------------------------
def run(job_uuid: UUID, *, work: WorkOf | None = None) -> dict[str, Any]:
    """The body of every task of ours: take the job, do its work (by its kind unless given), store the outcome."""
    try:
        verdict, job = execution.patiently(lambda: execution.claim(job_uuid))
    except StoreAway as error:
        # The row still says that the message is in the queue, so that is where it goes.
        outages.log_fault(log, error, "The database is away; jobs go back to their queue")
        raise Reject("no database", requeue=True) from error
    except Job.DoesNotExist:
        log.info("Job %s was deleted before it ran", job_uuid)
        return {"job": "deleted"}
    try:
        if verdict is Claim.DEADLY:
            bury(job)
        if verdict is not Claim.TAKEN:
            return {"job": str(verdict)}
        with execution.held(job):
            execution.patiently(lambda: schedule_progress.job_started(job, now=timezone.now()))
            outcome = execution.carried_out(job, work or WORK[job.name])
            execution.patiently(lambda: conclude(job, outcome))
    except (StoreAway, SoftTimeLimitExceeded, OperationalError, InterfaceError) as error:
        outages.log_fault(log, error, "Jobs have no outcome yet; the sweep sends them again")
        return {"job": "unfinished"}
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
