"""Serves deliveries of the backend's queue (contract §3): each ends as a stored outcome, or goes back to the queue."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from celery import shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from infrastructure import outages
from infrastructure.database import release_connections
from recommendations.models import Job
from recommendations.models.jobs import Claim, Failure, JobSource, State

from .. import execution, queue, status_store
from ..broker import BrokerUnavailable
from ..execution import Outcome, StoreAway
from ..kinds import WorkOf
from ..requests import RequeuedOnFault
from . import dead_letters, rabbitmq_messages, rabbitmq_publisher, rabbitmq_topology
from .rabbitmq_messages import Delivery, InvalidMessage, JobMessage

log = logging.getLogger(__name__)
TASK = "recommendations.consumer.take"
#: What a worker that gets a message may still do after its work was stopped for taking too long.
TIME_TO_CONCLUDE_S = 60


# --- One delivery ---------------------------------------------------------------------------------
class Verdict(StrEnum):
    """What becomes of a delivery."""

    ACK = "ack"
    #: To the dead-letter queue; the broker moves the original there.
    DROP = "drop"
    #: Back to the queue: there is no outcome yet.
    REQUEUE = "requeue"


@shared_task(
    name=TASK,
    base=RequeuedOnFault,
    ignore_result=True,  # the job's row is the record
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_failure=False,
    acks_on_timeout=True,  # requeued it would be killed for ever; the row's lease brings the job back
    soft_time_limit=settings.JOB_TIME_LIMIT_S,
    time_limit=settings.JOB_TIME_LIMIT_S + TIME_TO_CONCLUDE_S,
)
def take(body: str, headers: dict[str, Any], properties: dict[str, Any], redelivered: bool) -> None:
    """Serve one delivery of the backend's queue."""
    verdict = attend(Delivery.of_arguments(body, headers, properties, redelivered))
    if verdict is not Verdict.ACK:
        raise Reject(str(verdict), requeue=verdict is Verdict.REQUEUE)


def attend(delivery: Delivery, *, work: WorkOf = execution.serve) -> Verdict:
    """Serve one delivery as contract §3 says; it ends with a stored outcome, or goes back to the queue."""
    try:
        return _serve(rabbitmq_messages.parse(delivery.body), delivery, work)
    except InvalidMessage as error:
        refused, job_id = Failure(code="INVALID_MESSAGE", message=str(error)), error.job_id
    except (
        StoreAway,
        BrokerUnavailable,
        SoftTimeLimitExceeded,
        OperationalError,
        InterfaceError,
    ) as error:
        outages.log_fault(log, error, "Deliveries go back to the queue")
        return Verdict.REQUEUE
    except Exception as error:
        # The worker loop's boundary: sent back, such a message would come for ever.
        release_connections()
        if execution.was_interrupted(error):
            return Verdict.REQUEUE
        log.exception("A delivery could not be served")
        refused = Failure(code="MODEL_ERROR", message=f"internal error ({type(error).__name__})")
        job_id = str(rabbitmq_messages.parse(delivery.body).job_id)
    try:
        execution.patiently(lambda: _refuse(delivery, refused, job_id=job_id))
    except (StoreAway, SoftTimeLimitExceeded):
        return Verdict.REQUEUE
    except DatabaseError:
        log.exception("A refused message could not be stored as it is; its body is kept alone")
        bare = Delivery(body=delivery.body, headers={}, properties={}, redelivered=True)
        execution.patiently(lambda: dead_letters.keep(bare, refused, job_id=""))
    return Verdict.DROP


def _serve(message: JobMessage, delivery: Delivery, work: WorkOf) -> Verdict:
    claim, job = _claim_in_turn(message, delivery)
    if claim is Claim.STALE:
        return Verdict.ACK
    if claim is Claim.ENDED:
        # Only the acknowledgement was lost, or the message was sent twice.
        execution.patiently(lambda: execution.announce(job))
        lost_on_its_way_to_the_dlq = job.state == State.FAILED and delivery.redelivered
        return Verdict.DROP if lost_on_its_way_to_the_dlq else Verdict.ACK
    if claim is Claim.DEADLY:
        execution.patiently(lambda: _end_deadly(job, delivery))
        return Verdict.DROP
    with execution.held(job):
        outcome = execution.carried_out(job, work, delivered=True)
        return _conclude(job, delivery, outcome)


def _claim_in_turn(message: JobMessage, delivery: Delivery) -> tuple[Claim, Job]:
    """Take the job; while another worker has it, wait for its outcome or its death."""
    first_seen = _row(message, delivery)
    while True:
        claim, job = execution.patiently(
            lambda: execution.claim(message.job_id, attempt=message.attempt, first_seen=first_seen)
        )
        if claim is not Claim.BUSY:
            return claim, job
        time.sleep(0.5)


def _row(message: JobMessage, delivery: Delivery) -> dict[str, Any]:
    now = timezone.now()
    asked_at = message.requested_at
    return {
        "name": "serve",
        "arguments": message.arguments()
        | ({"requested_at": asked_at.isoformat()} if asked_at is not None else {}),
        "queue": settings.CONSUMER_QUEUE,
        "source": JobSource.QUEUE,
        "member_key": str(message.member_id),
        "trace_id": message.trace_id,
        "attempt": message.attempt,
        "message": delivery.body,
        "headers": rabbitmq_messages.plain_headers(delivery.headers),
        "note": message.note[:300],
        "submitted_at": now,
        "published_at": now,
    }


def _conclude(job: Job, delivery: Delivery, outcome: Outcome) -> Verdict:
    if outcome.state is None and job.attempt < len(rabbitmq_topology.RETRY_KEYS):
        _send_on(job, delivery, outcome)
        return Verdict.ACK
    if outcome.state is None:
        outcome = Outcome(state=State.FAILED, failure=outcome.failure)
    mine = execution.patiently(lambda: _store(job, delivery, outcome))
    if not mine:
        return Verdict.REQUEUE  # another worker took the job over: its outcome decides
    return Verdict.DROP if outcome.state == State.FAILED else Verdict.ACK


def _store(job: Job, delivery: Delivery, outcome: Outcome) -> bool:
    with transaction.atomic():
        if outcome.failure is not None:
            dead_letters.keep(
                delivery, outcome.failure, job_id=str(job.pk), member_key=job.member_key
            )
        mine = execution.end(job, outcome)
    if mine:
        execution.tell(job, outcome)
    return mine


# --- The retry ladder -----------------------------------------------------------------------------
def _send_on(job: Job, delivery: Delivery, outcome: Outcome) -> None:
    """Publish the next attempt, then note it: in this order nothing is lost, and a duplicate is recognised."""
    assert outcome.failure is not None
    failed, failure = job.attempt, outcome.failure
    try:
        rabbitmq_publisher.publish(
            rabbitmq_messages.with_attempt(delivery.body, failed + 1),
            delivery,
            exchange=rabbitmq_topology.DEAD_LETTER_EXCHANGE,
            routing_key=rabbitmq_topology.RETRY_KEYS[failed],
        )
    except BrokerUnavailable:
        execution.patiently(job.give_back)
        raise
    execution.patiently(
        lambda: job.wait_for_retry(
            failure,
            now=timezone.now(),
            delay_s=rabbitmq_topology.RETRY_DELAYS_S[failed],
            published=True,
        )
    )
    execution.announce(job)


# --- Dead letters ---------------------------------------------------------------------------------
def _refuse(delivery: Delivery, failure: Failure, *, job_id: str) -> None:
    """A message that can't be served: `failed` where an id could be read, and kept for staff."""
    now = timezone.now()
    with transaction.atomic():
        dead_letters.keep(delivery, failure, job_id=job_id)
        job = _row_of_refused(delivery, failure, job_id=job_id, now=now)
    if job is not None:
        execution.announce(job)
    elif job_id:
        status_store.write_status(job_id, _failed_fields(failure, now))


def _row_of_refused(
    delivery: Delivery, failure: Failure, *, job_id: str, now: datetime
) -> Job | None:
    try:
        job_uuid = UUID(job_id)
    except ValueError:
        return None
    values = {
        "name": "serve",
        "queue": settings.CONSUMER_QUEUE,
        "source": JobSource.QUEUE,
        "message": delivery.body,
        "headers": rabbitmq_messages.plain_headers(delivery.headers),
        "state": State.FAILED,
        "error_code": failure.code,
        "error_message": failure.message[:500],
        "submitted_at": now,
        "published_at": now,
        "finished_at": now,
    }
    job, _ = Job.objects.get_or_create(pk=job_uuid, defaults=values)
    return job


def _failed_fields(failure: Failure, now: datetime) -> dict[str, str | int]:
    return {
        "status": State.FAILED,
        "progress": 0,
        "finishedAt": execution.instant(now),
        "error.code": failure.code,
        "error.message": failure.message,
    }


def _end_deadly(job: Job, delivery: Delivery) -> None:
    failure = Failure(code="MODEL_ERROR", message="too many workers died during this job")
    dead_letters.keep(delivery, failure, job_id=str(job.pk), member_key=job.member_key)
    queue.bury(job, failure)  # killed before this, the redelivered message comes here again
