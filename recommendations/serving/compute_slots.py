"""Limits how many threads of a process compute answers at a time.

More of them would not be ready sooner (there is one interpreter), and each would hold up the cached reads beside it.
A thread that waits for the model, or for another thread's answer, holds no slot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from infrastructure.database import release_connections

SLOTS = 2
#: When no slot was given back for so long, waiting threads go ahead without one: two requests stuck
#: on a slow database must not hold up all others.
STUCK_AFTER_S = 1.0
#: Database connections a process keeps open between requests; its threads are many more.
MAX_IDLE_CONNECTIONS = 8


class ComputeSlots:
    """A few slots shared by the threads of one process."""

    def __init__(
        self,
        count: int,
        *,
        stuck_after_s: float = STUCK_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._stuck_after_s, self._clock = stuck_after_s, clock
        self._released_at = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold a slot, or none while all are stuck. Not to be nested."""
        acquired = self._acquire()
        try:
            yield
        finally:
            if acquired:
                self._released_at = self._clock()
                self._free.release()

    def _acquire(self) -> bool:
        while not self._free.acquire(timeout=self._stuck_after_s):
            if self._clock() - self._released_at >= self._stuck_after_s:
                return False
        return True


compute_slot = ComputeSlots(SLOTS)


class ConnectionLimit:
    """Closes a thread's database connections when the process has enough without them."""

    def __init__(self, limit: int, *, release: Callable[[], None] = release_connections) -> None:
        self._limit, self._release = limit, release
        self._connections: WeakSet[BaseDatabaseWrapper] = WeakSet()

    def note(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        self._connections.add(connection)

    def enforce(self) -> None:
        opened = sum(other.connection is not None for other in tuple(self._connections))
        if opened > self._limit:
            self._release()


_connection_limit = ConnectionLimit(MAX_IDLE_CONNECTIONS)
connection_created.connect(_connection_limit.note, dispatch_uid="compute_slots")
close_surplus_connections = _connection_limit.enforce
