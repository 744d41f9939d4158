"""Calls the Redis that all processes share, and skips it while it is down."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django.conf import settings
from django_redis import get_redis_connection
from django_redis.exceptions import ConnectionInterrupted
from hiredis import pack_command

log = logging.getLogger(__name__)
T = TypeVar("T")


class RedisGate:
    """A circuit breaker for Redis: calls return their default at once while it is down.

    The call that finds it down waits for one timeout (REDIS_TIMEOUT_S); a background thread then probes
    until Redis answers again.
    """

    PROBE_EVERY_S = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._down = threading.Event()
        self._probing = False
        self._own = threading.local()

    @property
    def configured(self) -> bool:
        return bool(settings.REDIS_URL)

    @property
    def up(self) -> bool:
        if self._pid != os.getpid():  # after a fork the probing thread is gone
            self._pid, self._down, self._probing = os.getpid(), threading.Event(), False
        return self.configured and not self._down.is_set()

    def client(self) -> redis.Redis:
        client: redis.Redis = get_redis_connection("default")
        return client

    def call(self, operation: Callable[[redis.Redis], Any], default: Any) -> Any:
        """Run an operation on Redis; `default` when Redis is not configured, down, or fails now.

        Untyped: our client answers with bytes where redis-py's hints say bytes or str.
        """
        return self._guarded(lambda: operation(self.client()), default)

    def _guarded(self, operation: Callable[[], Any], default: Any) -> Any:
        if not self.up:
            return default
        try:
            return operation()
        except (redis.RedisError, OSError, ConnectionInterrupted) as error:
            if "WRONGTYPE" not in str(error):  # one key holds another type of value: Redis works
                self._mark_down(error)
            return default

    def attempt(self, operation: Callable[[redis.Redis], object]) -> bool:
        """Run an operation on Redis; False when it could not be done."""
        done: bool = self.call(lambda client: (operation(client), True)[1], False)
        return done

    def in_cache(self, operation: Callable[[], T], default: T) -> T:
        """Use Django's cache. Where Redis is configured it holds the cache: `default` while it is down."""
        if not self.configured:
            return operation()
        found: T = self.call(lambda _client: operation(), default)
        return found

    def values(self, *keys: str) -> list[bytes | None] | None:
        """Read plain values in one round trip; None when Redis is not configured, down, or fails now.

        Each thread has a connection of its own: the client's pool, retries and statistics would take
        three times as long as the round trip itself.
        """
        found: list[bytes | None] | None = self._guarded(
            lambda: self._round_trip(("MGET", *keys)), None
        )
        return found

    def _round_trip(self, command: tuple[str, ...]) -> Any:
        connection, was_open = self._connection()
        try:
            return _exchange(connection, command)
        except redis.TimeoutError:
            raise
        except redis.ConnectionError:
            if not was_open:
                raise
            return _exchange(connection, command)  # Redis had closed an idle connection

    def _connection(self) -> tuple[redis.Connection, bool]:
        """This thread's connection, and whether it was used before."""
        where, own = (settings.REDIS_URL, os.getpid()), self._own
        if getattr(own, "where", None) == where:
            return own.connection, True
        pool = get_redis_connection("default").connection_pool
        own.connection, own.where = pool.connection_class(**pool.connection_kwargs), where
        return own.connection, False

    def reset(self) -> None:
        """Assume that Redis answers again."""
        self._down.clear()

    def _mark_down(self, error: Exception) -> None:
        with self._lock:
            self._down.set()
            if self._probing:
                return
            self._probing = True
        log.warning(
            "Redis is down (%s); answers come from memory and the database", type(error).__name__
        )
        threading.Thread(target=self._probe, name="redis-probe", daemon=True).start()

    def _probe(self) -> None:
        while True:
            time.sleep(self.PROBE_EVERY_S)
            if not self.configured:  # a test that had a Redis of its own is over
                break
            try:
                self.client().ping()
            except (redis.RedisError, OSError):
                continue
            break
        with self._lock:
            self._probing = False
            self._down.clear()
        log.warning("Redis answers again")


def _exchange(connection: redis.Connection, command: tuple[str, ...]) -> Any:
    """Send a command and read its reply as bytes; a connection that failed is closed."""
    try:
        connection.send_packed_command([pack_command(command)], check_health=False)  # type: ignore[arg-type]  # its stub knows one-tuples only
        return connection.read_response(disable_decoding=True)
    except BaseException:
        connection.disconnect()  # else the next command would read this one's reply
        raise


#: Shared by the whole process: only the call that finds Redis down waits for a timeout.
gate = RedisGate()
