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
        if not self.up:
            return default
        try:
            return work(self.client())
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


#: One for the whole process: whoever finds Redis away spares all others the wait.
gate = RedisGate()
