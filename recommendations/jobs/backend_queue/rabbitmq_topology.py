"""Exchanges and queues of the backend (contract §3), declared with the same arguments as songs_be does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import amqp
from kombu import Exchange, Queue

EXCHANGE = "rec.exchange"
DEAD_LETTER_EXCHANGE = "rec.dlx"
QUEUE = "rec.recommendation.q"
DEAD_LETTER_QUEUE = "rec.recommendation.dlq"
ROUTING_KEY = "recommendation.generate"
DEAD_LETTER_KEY = "recommendation.generate.dlq"
#: Routing key of the next delivery, by the attempt that failed; after the last one the job fails.
RETRY_KEYS = (
    "recommendation.generate.retry.5s",
    "recommendation.generate.retry.30s",
    "recommendation.generate.retry.120s",
)
RETRY_DELAYS_S = (5, 30, 120)
#: Higher than that of songs_be's own consumer (0): the broker delivers to this one first.
CONSUMER_PRIORITY = 10


@dataclass(frozen=True, kw_only=True)
class QueueSpec:
    """A queue as songs_be declares it; the broker refuses any other arguments."""

    name: str
    exchange: str
    routing_key: str
    arguments: Mapping[str, Any]


def _retry_queue(seconds: int, routing_key: str) -> QueueSpec:
    return QueueSpec(
        name=f"rec.recommendation.retry.{seconds}s.q",
        exchange=DEAD_LETTER_EXCHANGE,
        routing_key=routing_key,
        arguments={
            "x-message-ttl": seconds * 1000,
            "x-dead-letter-exchange": EXCHANGE,
            "x-dead-letter-routing-key": ROUTING_KEY,
        },
    )


QUEUES = (
    QueueSpec(
        name=QUEUE,
        exchange=EXCHANGE,
        routing_key=ROUTING_KEY,
        arguments={
            "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
            "x-dead-letter-routing-key": DEAD_LETTER_KEY,
        },
    ),
    *(_retry_queue(s, key) for s, key in zip(RETRY_DELAYS_S, RETRY_KEYS, strict=True)),
    QueueSpec(
        name=DEAD_LETTER_QUEUE,
        exchange=DEAD_LETTER_EXCHANGE,
        routing_key=DEAD_LETTER_KEY,
        arguments={},
    ),
)


def queues() -> list[Queue]:
    return [
        Queue(
            spec.name,
            Exchange(spec.exchange, type="direct", durable=True),
            routing_key=spec.routing_key,
            durable=True,
            queue_arguments=dict(spec.arguments),
        )
        for spec in QUEUES
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
    for name in (EXCHANGE, DEAD_LETTER_EXCHANGE):
        exchange = Exchange(name, type="direct", durable=True)
        yield name, lambda channel, exchange=exchange: exchange(channel).declare()
    for queue in queues():
        yield queue.name, lambda channel, queue=queue: queue(channel).queue_declare()
    for queue in queues():
        yield f"binding of {queue.name}", lambda channel, queue=queue: queue(channel).queue_bind()
