"""Publishes messages of the backend's queue, each confirmed by the broker."""

from __future__ import annotations

import amqp
from celery import current_app
from kombu.exceptions import KombuError

from . import rabbitmq_messages
from .rabbitmq_messages import Delivery

CONFIRM_S = 5.0


class BrokerUnavailable(Exception):
    """The broker did not confirm a message in time."""


def publish(body: bytes, delivery: Delivery, *, exchange: str, routing_key: str) -> None:
    """Send a message as songs_be would, and wait for the broker's confirmation. Raises BrokerUnavailable."""
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
        raise BrokerUnavailable(type(error).__name__) from error
