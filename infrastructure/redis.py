"""Reaches the Redis that all processes share, and stops asking while it is not there."""

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
    """Lets calls through to Redis while it answers; when it does not, stops asking.

    A call that fails costs its caller one time-out (REDIS_TIMEOUT_S); from then on calls return at
    once, and a thread of our own looks for Redis' return.
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
        return self.configured and not self._is_down()

    def _is_down(self) -> bool:
        if self._pid != os.getpid():  # after a fork the probing thread is gone
            self._pid, self._down, self._probing = os.getpid(), threading.Event(), False
        return self._down.is_set()

    def client(self) -> redis.Redis:
        client: redis.Redis = get_redis_connection("default")
        return client

    def call(self, work: Callable[[redis.Redis], Any], default: Any) -> Any:
        """Run `work` on Redis; `default` when Redis is absent, down, or fails now.

        Untyped: our client answers with bytes where redis-py's hints say bytes or str.
        """
        return self._guarded(lambda: work(self.client()), default)

    def _guarded(self, work: Callable[[], Any], default: Any) -> Any:
        if not self.up:
            return default
        try:
            return work()
        except (redis.RedisError, OSError, ConnectionInterrupted) as error:
            if "WRONGTYPE" not in str(error):  # one key holds another kind of value: Redis is well
                self._mark_down(error)
            return default

    def attempt(self, work: Callable[[redis.Redis], object]) -> bool:
        """Run `work` on Redis; False when it could not be done."""
        done: bool = self.call(lambda client: (work(client), True)[1], False)
        return done

    def in_cache(self, work: Callable[[], T], default: T) -> T:
        """Use Django's cache, which lies in Redis where one is configured: then only while that answers."""
        if not self.configured:
            return work()
        found: T = self.call(lambda _client: work(), default)
        return found

    def values(self, *keys: str) -> list[bytes | None] | None:
        """The plain values of `keys` in one round trip; None when Redis is absent, down, or fails now.

        By a connection of the thread's own: the client's pool, retries and statistics would cost
        three times the trip itself.
        """
        found: list[bytes | None] | None = self._guarded(lambda: self._trip(("MGET", *keys)), None)
        return found

    def _trip(self, command: tuple[str, ...]) -> Any:
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
        """Believe that Redis answers again."""
        self._down.clear()

    def _mark_down(self, error: Exception) -> None:
        with self._lock:
            self._down.set()
            if self._probing:
                return
            self._probing = True
        log.warning(
            "Redis is away (%s); answers come from memory and the database", type(error).__name__
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
        log.warning("Redis is asked again")


def _exchange(connection: redis.Connection, command: tuple[str, ...]) -> Any:
    """Send a command and read its reply as bytes; a connection that failed is closed."""
    try:
        connection.send_packed_command([pack_command(command)], check_health=False)  # type: ignore[arg-type]  # its stub knows one-tuples only
        return connection.read_response(disable_decoding=True)
    except BaseException:
        connection.disconnect()  # else the next command would read this one's reply
        raise


#: One for the whole process: whoever finds Redis away spares all others the wait.
gate = RedisGate()
