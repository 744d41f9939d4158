"""Guards queries against an unreachable database, and holds statements that Django has none for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.models import Model, QuerySet

#: What a database that is refused, hanging or half migrated raises.
DATABASE_FAULTS = (DatabaseError, InterfaceError)
#: Seconds between probes of a database that was unreachable.
PROBE_EVERY_S = 1.0
#: Rows per DELETE of `delete_in_batches`: short transactions leave room for requests.
DELETE_BATCH = 2_000


class DatabaseUnavailable(OperationalError):
    """The database is unreachable; a background thread of this process probes for its return."""


#: MySQL's error codes of a server that can't be reached or closed the connection; a deadlock is none of them.
_UNREACHABLE_CODES = frozenset(
    {1040, 1045, 1053, 1077, 1079, 1152, 1203, 2002, 2003, 2005, 2006, 2013, 2055}
)


def _means_unreachable(error: Exception) -> bool:
    code = error.args[0] if error.args else 0
    return (
        isinstance(error, InterfaceError)
        or code in _UNREACHABLE_CODES
        or "unable to open" in str(code)
    )


def _answers() -> bool:
    """Whether the databases answer, on new connections."""
    try:
        for alias in connections:
            connection = connections[alias].copy()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            finally:
                connection.close()
    except DATABASE_FAULTS:
        return False
    return True


class DatabaseGuard:
    """A circuit breaker for the database: queries fail at once while it is unreachable.

    The query that finds it unreachable waits for one timeout; a background thread then probes until the
    database answers again. Without it, every few seconds a request would hang.
    """

    def __init__(
        self, answers: Callable[[], bool] = _answers, *, probe_every_s: float = PROBE_EVERY_S
    ) -> None:
        self._answers, self._probe_every_s = answers, probe_every_s
        self._lock = threading.Lock()
        self._pid = 0
        #: Set when the outage ends; None while the database is reachable.
        self._outage_over: threading.Event | None = None

    @property
    def is_down(self) -> bool:
        return self._outage_over is not None and self._pid == os.getpid()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run queries. Raises DatabaseUnavailable at once while the database is known to be unreachable."""
        if self.is_down:
            raise DatabaseUnavailable
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if _means_unreachable(error):
                self._mark_down()
            raise

    def _mark_down(self) -> None:
        with self._lock:
            if self.is_down:
                return
            self._pid, over = os.getpid(), threading.Event()
            self._outage_over = over
        probe = threading.Thread(target=self._probe, args=(over,), name="database-probe")
        probe.daemon = True
        probe.start()

    def _probe(self, over: threading.Event) -> None:
        try:
            while not over.wait(self._probe_every_s) and not self._answers():
                pass
        finally:
            self._end(over)

    def _end(self, over: threading.Event | None) -> None:
        with self._lock:
            if over is not None and self._outage_over is over:
                over.set()
                self._outage_over = None

    def reset(self) -> None:
        """Assume that the database answers again."""
        self._end(self._outage_over)


#: Shared by every read of a request in this process.
guard = DatabaseGuard()


def release_connections() -> None:
    """Close this thread's connections before it waits or computes for long.

    There are fewer of them than threads, and the server ends one that is idle for DATABASE_SILENCE_S anyway.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def upsert(row: Model, *, key: str | tuple[str, ...]) -> None:
    """Insert a row, or overwrite the one with the same unique `key` (one field or several), in one statement.

    `update_or_create` takes five: a read, a lock, and a savepoint around the insert.
    """
    unique = (key,) if isinstance(key, str) else key
    names = [
        field.name for field in row._meta.concrete_fields if field.name not in (*unique, "id", "pk")
    ]
    rows = type(row)._base_manager
    targets = connections[rows.db].features.supports_update_conflicts_with_target
    rows.bulk_create(
        [row],
        update_conflicts=True,
        update_fields=names,
        unique_fields=list(unique) if targets else None,  # MySQL takes any unique key
    )


def delete_in_batches(rows: QuerySet[Any], *, size: int = DELETE_BATCH) -> int:
    """Delete the rows of a query in small transactions; returns how many there were."""
    deleted = 0
    while keys := list(rows.order_by().values_list("pk", flat=True)[:size]):
        rows.model._default_manager.filter(pk__in=keys).delete()
        deleted += len(keys)
    return deleted
