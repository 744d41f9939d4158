"""Publishes messages to the backend's exchanges, each confirmed by the broker."""

from __future__ import annotations

from kombu import Producer

from ..broker import broker
from . import rabbitmq_messages
from .rabbitmq_messages import Delivery

CONFIRM_S = 5.0


def publish(body: bytes, delivery: Delivery, *, exchange: str, routing_key: str) -> None:
    """Send a message as songs_be would, and wait for the broker's confirmation. Raises BrokerUnavailable."""

    def send(producer: Producer) -> None:
        producer.publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            headers=rabbitmq_messages.headers_to_send(delivery.headers),
            mandatory=True,  # a message that no queue takes must not vanish
            retry=False,
            timeout=CONFIRM_S,
            confirm_timeout=CONFIRM_S,
            **rabbitmq_messages.properties_to_send(delivery.properties),
        )

    broker.call(send, timeout_s=CONFIRM_S)
