"""Reaches the Redis that all processes share, or says at once that it is not there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis
from django.conf import settings
from django_redis import get_redis_connection

log = logging.getLogger(__name__)
T = TypeVar("T")

#: After a failure nobody asks for this long; one time-out per process and period is all it costs.
QUIET_S = 5.0


class SharedGate:
    """Lets work through to Redis while it answers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def call(self, work: Callable[[redis.Redis], T]) -> T | None:
        """The result of `work`; None when Redis is absent, was down a moment ago, or fails now."""
        if not settings.REDIS_URL or self._clock() < self._quiet_until:
            return None
        try:
            return work(get_redis_connection("default"))
        except redis.RedisError as error:
            with self._lock:
                self._quiet_until = self._clock() + QUIET_S
            log.warning("Redis is not used for %.0f s: %s", QUIET_S, type(error).__name__)
            return None

    def reset(self) -> None:
        """Ask again at once."""
        self._quiet_until = 0.0


shared = SharedGate()
