"""The worker step that consumes the backend's queue; its messages run as tasks of this worker."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import amqp
from celery import bootsteps
from celery.exceptions import Reject
from celery.worker.consumer.events import Events
from celery.worker.consumer.tasks import Tasks
from django.conf import settings
from kombu import Consumer, Queue
from kombu.message import Message
from kombu.utils.json import dumps

from infrastructure import outages

from . import rabbitmq_messages, rabbitmq_topology
from .rabbitmq_consumer import TASK
from .rabbitmq_messages import Delivery, InvalidMessage

log = logging.getLogger(__name__)
#: Deliveries held per worker process: one at work and one waiting behind it.
PREFETCH_PER_PROCESS = 2
#: How often a queue that could not be consumed is tried again.
RETRY_CONSUMING_S = 30.0


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
        refused = rabbitmq_topology.declare(parent.connection)
        for name, reason in refused.items():
            log.error(
                "The broker has %s with other arguments than songs_be declares: %s. "
                "Correct or delete it there.",
                name,
                reason,
            )
        if rabbitmq_topology.QUEUE in refused:
            log.error(
                "%s is not consumed until then; everything else is served.", rabbitmq_topology.QUEUE
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
            rabbitmq_topology.QUEUE,
            no_declare=True,
            consumer_arguments={"x-priority": rabbitmq_topology.CONSUMER_PRIORITY},
        )
        self.consumer = Consumer(
            channel,
            [queue],
            auto_declare=False,
            on_message=lambda message: handler(as_task(message)),
            # A body that is not compressed as its header says: served as it is.
            on_decode_error=lambda message, _error: handler(as_task(message)),
        )
        self.consumer.consume()
        log.info("Consuming %s", rabbitmq_topology.QUEUE)

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


class DropEventConnection(bootsteps.StartStopStep):  # type: ignore[misc]  # untyped upstream
    """Closes the connection that a worker's events go through without a word to the broker.

    Under a memory or disk alarm the broker does not answer there, and a worker could not be stopped.
    """

    requires = (Events,)

    def stop(self, parent: Any) -> None:
        self.shutdown(parent)

    def shutdown(self, parent: Any) -> None:
        connection = getattr(parent.event_dispatcher, "connection", None)
        if connection is not None:
            connection.collect()


def as_task(message: Message) -> Message:
    """Rewrite the backend's message in place into a message of Celery's protocol 2 for `take`."""
    delivery = Delivery(
        # py-amqp gives a message without a body a text.
        body=message.body if isinstance(message.body, bytes) else str(message.body or "").encode(),
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
    message.errors = []
    message.body = _task_body(delivery)
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.properties = {"correlation_id": task_id, "reply_to": None}
    # Else what Celery sends for this task would go to the backend's exchange.
    message.delivery_info |= {"exchange": "", "routing_key": settings.CONSUMER_QUEUE}
    return message


def _task_body(delivery: Delivery) -> bytes:
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    try:
        return bytes(dumps([delivery.as_arguments(), {}, embed]).encode())
    except (TypeError, ValueError, RecursionError):  # a header that JSON has no form for
        plain = replace(
            delivery,
            headers=rabbitmq_messages.plain_headers(delivery.headers),
            properties=rabbitmq_messages.plain_headers(delivery.properties),
        )
        return bytes(dumps([plain.as_arguments(), {}, embed]).encode())


def _task_id(delivery: Delivery) -> str:
    """Job and attempt, so that logs and `inspect active` show the job; a number for what can't be read."""
    try:
        message = rabbitmq_messages.parse(delivery.body)
    except InvalidMessage:
        return f"invalid:{uuid4()}"
    return f"{message.job_id}:{message.attempt}"


def _without_trace(record: logging.LogRecord) -> bool:
    """A rejected delivery is a verdict, not an error: one line says it; of those sent back only the first."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, Reject):
        return True
    record.exc_info = None
    return not error.requeue or outages.outages.is_first(
        log, "Deliveries are sent back to the queue"
    )


# --- Properties that can't be read ----------------------------------------------------------------
#: What py-amqp raises for a timestamp in milliseconds, a field type it does not know, or tables nested too deep.
_UNREADABLE = (
    *(ValueError, OverflowError, OSError, RecursionError, LookupError, TypeError),
    *(struct.error, amqp.AMQPError),
)
_TYPE_ID = re.compile(rb"\x0a__TypeId__S(.{4})", re.DOTALL)


def read_tolerantly(read: Callable[[Any, int, bytes, int], int]) -> Callable[..., int]:
    """Wrap py-amqp's reader of message properties.

    It runs in the worker's main loop: an error there would end the connection, the message would be
    delivered again, and the queue would stand still. The message goes on with its `__TypeId__` alone.
    """

    def tolerant(message: Any, class_id: int, buf: bytes, offset: int) -> int:
        try:
            return read(message, class_id, buf, offset)
        except _UNREADABLE as error:
            log.warning("Properties of a message can't be read: %s", type(error).__name__)
            message.properties = {"application_headers": _type_id(bytes(buf)[offset:])}
            return offset

    return tolerant


def _type_id(raw: bytes) -> dict[str, str]:
    found = _TYPE_ID.search(raw)
    if found is None:
        return {}
    end = found.end() + int.from_bytes(found[1], "big")
    return {"__TypeId__": raw[found.end() : end].decode("utf-8", "replace")}


def install(app: Any) -> None:
    """Add the step to the workers of this application."""
    amqp.Message._load_properties = read_tolerantly(amqp.Message._load_properties)
    app.steps["consumer"].update((TakeBackendJobs, DropEventConnection))
    logging.getLogger("celery.app.trace").addFilter(_without_trace)
