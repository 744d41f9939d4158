"""Takes over the backend's queue (contract §3): its messages become tasks of our workers, each with the delivery
that brought it, which is acknowledged only after the outcome is stored."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import amqp
from celery import bootsteps, current_app, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.worker.consumer.tasks import Tasks
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from kombu import Consumer, Exchange, Queue
from kombu.exceptions import KombuError
from kombu.message import Message
from kombu.utils.json import dumps

from .. import tasks
from ..models import DeadLetter, Job
from ..models.jobs import Claim, Failure, JobSource, State
from . import execution, rabbitmq_messages, status_store
from .execution import Outcome, StoreAway, WorkOf
from .rabbitmq_messages import InvalidMessage, JobMessage

log = logging.getLogger(__name__)
TASK = "recommendations.consumer.take"
#: What a worker that gets a message may still do after its work was stopped for taking too long.
TIME_TO_CONCLUDE_S = 60
#: Deliveries held per worker process: one at work and one behind it; the rest stays for others.
PREFETCH_PER_PROCESS = 2
#: How often a queue that could not be consumed is tried again.
RETRY_CONSUMING_S = 30.0
CONFIRM_S = 5.0


# --- Declaring ------------------------------------------------------------------------------------
def queues() -> list[Queue]:
    return [
        Queue(
            spec.name,
            Exchange(spec.exchange, type="direct", durable=True),
            routing_key=spec.routing_key,
            durable=True,
            queue_arguments=dict(spec.arguments),
        )
        for spec in rabbitmq_messages.QUEUES
    ]


def declare(connection: Any) -> dict[str, str]:
    """Declare everything as songs_be does. Returns what the broker refused, by name, in its words.

    A refused declaration closes its channel only; the rest is declared all the same.
    """
    refused: dict[str, str] = {}
    for name, step in _declarations():
        channel = connection.channel()
        try:
            step(channel)
        except (amqp.PreconditionFailed, amqp.NotFound, amqp.AccessRefused) as error:
            refused[name] = error.reply_text
        else:
            channel.close()
    return refused


def _declarations() -> Iterator[tuple[str, Any]]:
    for name in (rabbitmq_messages.EXCHANGE, rabbitmq_messages.DEAD_LETTER_EXCHANGE):
        exchange = Exchange(name, type="direct", durable=True)
        yield name, lambda channel, exchange=exchange: exchange(channel).declare()
    for queue in queues():
        yield queue.name, lambda channel, queue=queue: queue(channel).queue_declare()
    for queue in queues():
        yield f"binding of {queue.name}", lambda channel, queue=queue: queue(channel).queue_bind()


# --- One delivery ---------------------------------------------------------------------------------
class Verdict(StrEnum):
    """What becomes of a delivery."""

    ACK = "ack"
    #: To the dead-letter queue; the broker moves the original there.
    DROP = "drop"
    #: Back to the queue: there is no outcome yet.
    REQUEUE = "requeue"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message as the broker handed it over."""

    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    redelivered: bool

    def as_arguments(self) -> list[Any]:
        """The arguments of the task; kombu's JSON keeps dates and decimals of the headers."""
        body = base64.b64encode(self.body).decode()
        return [body, dict(self.headers), dict(self.properties), self.redelivered]

    @classmethod
    def of_arguments(
        cls, body: str, headers: dict[str, Any], properties: dict[str, Any], redelivered: bool
    ) -> Delivery:
        return cls(
            body=base64.b64decode(body),
            headers=headers,
            properties=properties,
            redelivered=redelivered,
        )


class BrokerAway(Exception):
    """The broker is away: a retry could not be published."""


@shared_task(
    name=TASK,
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
    """Do what contract §3 owes for one delivery; whatever happens, it has an outcome or goes back."""
    try:
        return _serve(rabbitmq_messages.parse(delivery.body), delivery, work)
    except InvalidMessage as error:
        refused, job_id = Failure(code="INVALID_MESSAGE", message=str(error)), error.job_id
    except (
        StoreAway,
        BrokerAway,
        SoftTimeLimitExceeded,
        OperationalError,
        InterfaceError,
    ) as error:
        log.warning("A delivery goes back to the queue: %s", type(error).__name__)
        return Verdict.REQUEUE
    except Exception as error:
        # The worker loop's boundary: sent back, such a message would come for ever.
        log.exception("A delivery could not be served")
        refused = Failure(code="MODEL_ERROR", message=f"internal error ({type(error).__name__})")
        job_id = str(rabbitmq_messages.parse(delivery.body).job_id)
    try:
        execution.patiently(lambda: _refuse(delivery, refused, job_id=job_id))
    except (StoreAway, SoftTimeLimitExceeded):
        return Verdict.REQUEUE
    return Verdict.DROP


def _serve(message: JobMessage, delivery: Delivery, work: WorkOf) -> Verdict:
    claim, job = _claim_in_turn(message, delivery)
    if claim is Claim.STALE:
        return Verdict.ACK
    if claim is Claim.ENDED:
        return _acknowledge_again(job, delivery)
    if claim is Claim.DEADLY:
        execution.patiently(lambda: _end_deadly(job, delivery))
        return Verdict.DROP
    with execution.held(job):
        outcome = execution.carried_out(job, work, delivered=True)
        return _conclude(job, delivery, outcome)


def _claim_in_turn(message: JobMessage, delivery: Delivery) -> tuple[Claim, Job]:
    """Take the job; while somebody alive works on it, wait for his outcome or his death."""
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
        "headers": _plain(delivery.headers),
        "note": message.note[:300],
        "submitted_at": now,
        "published_at": now,
    }


def _plain(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as plain JSON, for people."""
    written = json.dumps(dict(headers), default=str)
    plain: dict[str, Any] = json.loads(written, parse_constant=str)  # no database keeps NaN as JSON
    return plain


def _acknowledge_again(job: Job, delivery: Delivery) -> Verdict:
    """The job has ended and only the acknowledgement was lost, or the message was sent twice."""
    execution.patiently(lambda: execution.announce(job))
    lost_on_its_way_to_the_dlq = job.state == State.FAILED and delivery.redelivered
    return Verdict.DROP if lost_on_its_way_to_the_dlq else Verdict.ACK


def _conclude(job: Job, delivery: Delivery, outcome: Outcome) -> Verdict:
    if outcome.state is None and job.attempt < len(rabbitmq_messages.RETRY_KEYS):
        _send_on(job, delivery, outcome)
        return Verdict.ACK
    if outcome.state is None:
        outcome = Outcome(state=State.FAILED, failure=outcome.failure)
    mine = execution.patiently(lambda: _store(job, delivery, outcome))
    if not mine:
        return (
            Verdict.REQUEUE
        )  # somebody took the job over: his outcome decides about this delivery
    return Verdict.DROP if outcome.state == State.FAILED else Verdict.ACK


def _store(job: Job, delivery: Delivery, outcome: Outcome) -> bool:
    with transaction.atomic():
        if outcome.failure is not None:
            keep_letter(delivery, outcome.failure, job_id=str(job.pk), member_key=job.member_key)
        mine = execution.end(job, outcome)
    if mine:
        execution.tell(job, outcome)
    return mine


# --- The retry ladder -----------------------------------------------------------------------------
def _send_on(job: Job, delivery: Delivery, outcome: Outcome) -> None:
    """Publish the next attempt, then note it: in this order nothing is lost, and what is doubled is dropped."""
    assert outcome.failure is not None
    failed, failure = job.attempt, outcome.failure
    try:
        publish(
            rabbitmq_messages.with_attempt(delivery.body, failed + 1),
            delivery,
            exchange=rabbitmq_messages.DEAD_LETTER_EXCHANGE,
            routing_key=rabbitmq_messages.RETRY_KEYS[failed],
        )
    except BrokerAway:
        execution.patiently(job.give_back)
        raise
    execution.patiently(
        lambda: job.wait_for_retry(
            failure,
            now=timezone.now(),
            delay_s=rabbitmq_messages.RETRY_DELAYS_S[failed],
            published=True,
        )
    )
    execution.announce(job)


def publish(body: bytes, delivery: Delivery, *, exchange: str, routing_key: str) -> None:
    """Send a message as songs_be would, and wait for the broker's confirmation. Raises BrokerAway."""
    try:
        with current_app.producer_pool.acquire(block=True, timeout=CONFIRM_S) as producer:
            producer.publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                headers=rabbitmq_messages.headers_to_send(delivery.headers),
                mandatory=True,  # a message that no queue takes must not vanish
                retry=True,
                retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2},
                timeout=CONFIRM_S,
                confirm_timeout=CONFIRM_S,
                **rabbitmq_messages.properties_to_send(delivery.properties),
            )
    except (KombuError, amqp.AMQPError, OSError) as error:
        raise BrokerAway(type(error).__name__) from error


# --- Dead letters ---------------------------------------------------------------------------------
def keep_letter(
    delivery: Delivery, failure: Failure, *, job_id: str, member_key: str = ""
) -> DeadLetter:
    """Keep body and reason here before the message goes to the DLQ, which songs_be empties at once."""
    digest = hashlib.blake2b(job_id.encode() + b"|" + delivery.body, digest_size=20).hexdigest()
    letter, _ = DeadLetter.objects.update_or_create(
        digest=digest,
        defaults={
            "job_uuid": job_id[:64],
            "member_key": member_key,
            "code": failure.code,
            "detail": failure.message[:500],
            "body": delivery.body,
            "headers": _plain(rabbitmq_messages.headers_to_send(delivery.headers)),
            "state": DeadLetter.State.OPEN,
            "arrived_at": timezone.now(),
            "told_at": None,
        },
    )
    return letter


def _refuse(delivery: Delivery, failure: Failure, *, job_id: str) -> None:
    """A message that can't be served: `failed` where an id could be read, and kept for staff."""
    now = timezone.now()
    with transaction.atomic():
        keep_letter(delivery, failure, job_id=job_id)
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
        "headers": _plain(delivery.headers),
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
    keep_letter(delivery, failure, job_id=str(job.pk), member_key=job.member_key)
    tasks.bury(job, failure)  # killed before this, the redelivered message comes here again


# --- The step in the worker -----------------------------------------------------------------------
class TakeBackendJobs(bootsteps.StartStopStep):  # type: ignore[misc]  # untyped upstream
    """Consumes the backend's queue beside the worker's own ones.

    A message is rewritten in place into one of Celery's, so that it runs in the pool while the original
    delivery stays unacknowledged. The step must not consume before the worker's loop turns (the pool
    is not there yet), and must not close its channel when stopping: that would hand out again what
    still runs.
    """

    requires = (Tasks,)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.consumer: Consumer | None = None

    def include_if(self, parent: Any) -> bool:
        serves = settings.CONSUMER_QUEUE in parent.app.amqp.queues.consume_from
        return bool(settings.SONGS_AI_CONSUME_QUEUE and serves)

    def start(self, parent: Any) -> None:
        parent.call_soon(self._begin, parent)

    def _begin(self, parent: Any) -> None:
        if self.consumer is not None or parent.connection is None:
            return
        refused = declare(parent.connection)
        for name, reason in refused.items():
            log.error(
                "The broker has %s with other arguments than songs_be declares: %s. "
                "Correct or delete it there.",
                name,
                reason,
            )
        if rabbitmq_messages.QUEUE in refused:
            log.error(
                "%s is not consumed until then; everything else is served.", rabbitmq_messages.QUEUE
            )
            parent.timer.call_after(RETRY_CONSUMING_S, self._begin, (parent,))
            return
        self._consume(parent)

    def _consume(self, parent: Any) -> None:
        handler = parent.create_task_handler()
        channel = parent.connection.channel()
        channel.auto_decode = False  # the body is kept as the bytes it came in
        channel.basic_qos(0, parent.pool.num_processes * PREFETCH_PER_PROCESS, False)
        queue = Queue(
            rabbitmq_messages.QUEUE,
            no_declare=True,
            consumer_arguments={"x-priority": rabbitmq_messages.CONSUMER_PRIORITY},
        )
        self.consumer = Consumer(
            channel,
            [queue],
            auto_declare=False,
            on_message=lambda message: handler(as_task(message)),
        )
        self.consumer.consume()
        log.info("Consuming %s", rabbitmq_messages.QUEUE)

    def stop(self, parent: Any) -> None:
        self._cancel(parent)

    def shutdown(self, parent: Any) -> None:
        self._cancel(parent)

    def _cancel(self, parent: Any) -> None:
        consumer, self.consumer = self.consumer, None
        if consumer is None:
            return
        try:
            consumer.cancel()
        except (*parent.connection_errors, *parent.app.connection_for_read().channel_errors):
            log.info("The broker is gone; it hands out again what was not acknowledged")


def as_task(message: Message) -> Message:
    """Rewrite the backend's message in place into a message of Celery's protocol 2 for `take`."""
    delivery = Delivery(
        body=message.body,
        headers=message.headers,
        properties={
            name: value
            for name, value in message.properties.items()
            if name != "application_headers"
        },
        redelivered=bool(message.delivery_info.get("redelivered")),
    )
    task_id = _task_id(delivery)
    message.headers = {
        "lang": "py",
        "task": TASK,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "argsrepr": task_id,
        "kwargsrepr": "{}",
        "retries": 0,
        "timelimit": [None, None],
    }
    message.body = dumps(
        [
            delivery.as_arguments(),
            {},
            {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
        ]
    ).encode()
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.properties = {"correlation_id": task_id, "reply_to": None}
    # Else what Celery sends for this task would go to the backend's exchange.
    message.delivery_info |= {"exchange": "", "routing_key": settings.CONSUMER_QUEUE}
    return message


def _task_id(delivery: Delivery) -> str:
    """Job and attempt, so that logs and `inspect active` show the job; a number for what can't be read."""
    try:
        message = rabbitmq_messages.parse(delivery.body)
    except InvalidMessage:
        return f"invalid:{uuid4()}"
    return f"{message.job_id}:{message.attempt}"


def _without_trace(record: logging.LogRecord) -> bool:
    """A rejected delivery is a verdict, not an error: one line says it."""
    if record.exc_info and isinstance(record.exc_info[1], Reject):
        record.exc_info = None
    return True


def install(app: Any) -> None:
    """Add the step to the workers of this application."""
    app.steps["consumer"].add(TakeBackendJobs)
    logging.getLogger("celery.app.trace").addFilter(_without_trace)
