"""The worker step that consumes the backend's queue; its messages run as tasks of this worker."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.exceptions import Reject
from celery.worker.consumer.tasks import Tasks
from django.conf import settings
from kombu import Consumer, Queue
from kombu.message import Message
from kombu.utils.json import dumps

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
