"""Reaches the broker over connections of its own; no call waits longer than its timeout.

A broker under a memory or disk alarm stops reading from whoever publishes: every call on such a connection,
closing it included, would wait until the alarm is over. Here each socket operation has a timeout, and a
connection on which a call failed is dropped without a further word.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import amqp
from celery import Celery, current_app
from kombu import Connection, Producer
from kombu.exceptions import KombuError

log = logging.getLogger(__name__)
T = TypeVar("T")
#: What a broker that refuses, hangs or closes the connection raises.
BROKER_FAULTS = (KombuError, amqp.AMQPError, OSError)
#: Connections kept open between calls; more at a time are closed after use.
MAX_IDLE = 4


class BrokerUnavailable(Exception):
    """The broker did not do what was asked of it in time."""


@dataclass(frozen=True, kw_only=True)
class _Link:
    connection: Connection
    producer: Producer

    def limit(self, timeout_s: float) -> None:
        """Bound every read and write on the socket; transports without one never wait."""
        sock = getattr(self.connection.connection, "sock", None)
        if sock is not None:
            sock.settimeout(timeout_s)

    def drop(self) -> None:
        """Close the socket without telling the broker, which may not be reading."""
        try:
            self.connection.collect()
        except BROKER_FAULTS:
            log.debug("A broken connection could not be closed", exc_info=True)


class Broker:
    """Publishes with confirmation, and remembers for a moment that the broker is away."""

    #: While the broker is known to be away, callers of `available` do not try it again.
    PAUSE_S = 3.0

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._idle: list[_Link] = []
        self._pid = os.getpid()
        self._away_until = 0.0

    @property
    def available(self) -> bool:
        return time.monotonic() >= self._away_until

    def call(self, step: Callable[[Producer], T], *, timeout_s: float) -> T:
        """Run `step` with a producer whose publishes are confirmed. Raises BrokerUnavailable.

        A connection that the broker closed while it was idle is replaced by a new one, once.
        """
        try:
            return self._call(step, timeout_s)
        except BROKER_FAULTS as error:
            self._away_until = time.monotonic() + self.PAUSE_S
            raise BrokerUnavailable(type(error).__name__) from error

    def _call(self, step: Callable[[Producer], T], timeout_s: float) -> T:
        link = self._take_idle()
        if link is not None:
            try:
                return self._run(link, step, timeout_s)
            except TimeoutError:
                raise
            except BROKER_FAULTS:
                self._drop_idle()
        return self._run(self._open(timeout_s), step, timeout_s)

    def _run(self, link: _Link, step: Callable[[Producer], T], timeout_s: float) -> T:
        try:
            link.limit(timeout_s)
            result = step(link.producer)
        except BaseException:
            link.drop()
            raise
        self._give_back(link)
        return result

    def messages_ready(self, queue: str, *, timeout_s: float) -> int:
        """Messages in a queue that no worker has fetched; 0 for a queue that does not exist yet."""

        def look(producer: Producer) -> int:
            channel = producer.connection.channel()  # a failed look closes its channel
            try:
                count = int(channel.queue_declare(queue, passive=True).message_count)
            except amqp.ChannelError as error:
                if str(error.reply_code) != "404":
                    raise
                return 0
            channel.close()
            return count

        return self.call(look, timeout_s=timeout_s)

    # --- Connections ------------------------------------------------------------------------------
    def _open(self, timeout_s: float) -> _Link:
        app = self._app or current_app
        options = {"confirm_publish": True}
        connection = app.connection_for_write(transport_options=options, heartbeat=0)
        try:
            connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
            sock = getattr(connection.connection, "sock", None)
            if sock is not None:
                sock.settimeout(timeout_s)
            producer = app.amqp.Producer(connection.channel(), auto_declare=False)
        except BaseException:
            connection.collect()
            raise
        return _Link(connection=connection, producer=producer)

    def _take_idle(self) -> _Link | None:
        with self._lock:
            if self._pid != os.getpid():  # a fork shares its parent's sockets
                self._pid, self._idle = os.getpid(), []
            return self._idle.pop() if self._idle else None

    def _give_back(self, link: _Link) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(link)
                return
        link.drop()

    def _drop_idle(self) -> None:
        with self._lock:
            stale, self._idle = self._idle, []
        for link in stale:
            link.drop()

    def reset(self) -> None:
        """Forget connections and failures."""
        self._drop_idle()
        self._away_until = 0.0


#: One per process: who finds the broker away spares all others the wait.
broker = Broker()
