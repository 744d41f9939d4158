"""Lets few threads of a process work at a time on answers that have to be computed.

More of them would not be ready sooner (there is one interpreter), and each would hold up the cached reads beside it.
Waiting for the model or for somebody else's answer is no work: it happens outside of a turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from infrastructure.database import (
    release_connections,
)

TURNS = 2
#: Courtesy ends when no turn ended for so long: two requests that meet a slow database must not hold up all the others.
PATIENCE_S = 1.0
#: Database connections a process keeps open between requests; its threads are many more.
KEPT_CONNECTIONS = 8

_seen: WeakSet[BaseDatabaseWrapper] = WeakSet()


class Turns:
    """A few turns to work, for the threads of one process."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._moved_at = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Work when it is our turn, or when all turns are stuck. Not to be nested."""
        taken = self._come()
        try:
            yield
        finally:
            if taken:
                self._moved_at = time.monotonic()
                self._free.release()

    def _come(self) -> bool:
        while not self._free.acquire(timeout=PATIENCE_S):
            if time.monotonic() - self._moved_at >= PATIENCE_S:
                return False
        return True


turn = Turns(TURNS)


def keep_few_connections() -> None:
    """Close this thread's database connections when the process holds enough without them."""
    if sum(other.connection is not None for other in tuple(_seen)) > KEPT_CONNECTIONS:
        release_connections()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _seen.add(connection)


connection_created.connect(_note, dispatch_uid="turns")
