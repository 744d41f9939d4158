"""Tells whether this process lives, and whether it can do its work: each store asked with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from kombu import Connection
from kombu.exceptions import KombuError

from catalog import snapshot
from infrastructure import heartbeats
from infrastructure.redis import gate

#: A store that takes longer is told as failed; the probe itself may go on.
BOUND_S = 1.0
#: Between two looks, callers get the last result: health checks of many balancers cost one.
FRESH_S = 1.0


def live(request: HttpRequest) -> JsonResponse:
    """The process answers; nothing else is asked."""
    return JsonResponse({"status": "ok", "version": settings.VERSION})


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one probe found."""

    status: str  #: "ok", "failed" or "unused"
    ms: float
    detail: str = ""

    def to_wire(self) -> dict[str, Any]:
        return {"status": self.status, "ms": self.ms} | (
            {"detail": self.detail} if self.detail else {}
        )


class ProbeFailed(Exception):
    """Says in a few words what is wrong, without a host name."""


class Probe:
    """Asks one store in a thread of its own, so that a hanging one costs its caller BOUND_S and no more."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None
        self._last: Result | None = None
        self._last_at = float("-inf")

    def start(self) -> None:
        """Begin to ask, unless somebody just did or still waits."""
        with self._lock:
            alive = self._running is not None and self._running.is_alive()
            if alive or time.monotonic() - self._last_at < FRESH_S:
                return
            self._running = threading.Thread(
                target=self._run, name=f"probe-{self.name}", daemon=True
            )
            self._running.start()

    def result(self, *, deadline: float) -> Result:
        """What was found, waiting until the deadline (of `time.monotonic`) at most."""
        running = self._running
        if running is not None:
            running.join(max(0.0, deadline - time.monotonic()))
            if running.is_alive():
                return Result(status="failed", ms=BOUND_S * 1000, detail="no answer in time")
        assert self._last is not None
        return self._last

    def _run(self) -> None:
        began = time.perf_counter()
        try:
            status, detail = self._ask(), ""
        except (ProbeFailed, snapshot.CatalogUnavailable) as error:
            status, detail = "failed", str(error)
        except (DatabaseError, redis.RedisError, KombuError, OSError) as error:
            # The class only: the text may hold a host, a user or an address.
            status, detail = "failed", type(error).__name__
        ms = round((time.perf_counter() - began) * 1000, 1)
        self._last, self._last_at = Result(status=status, ms=ms, detail=detail), time.monotonic()


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    finally:
        connection.close()  # the probe's thread ends with the probe
    return "ok"


def _cache() -> str:
    if not gate.configured:
        return "unused"
    gate.client().ping()
    return "ok"


def _broker() -> str:
    if not settings.RABBITMQ_URL:
        if not Path(settings.BROKER_DIR / "queue").is_dir():
            raise ProbeFailed("the folder of the queue is gone")
        return "ok"
    with Connection(settings.CELERY_BROKER_URL, connect_timeout=BOUND_S) as broker:
        broker.connect()
    return "ok"


def _catalog() -> str:
    if snapshot.current().catalog.n == 0:
        raise ProbeFailed("no songs yet")
    return "ok"


def _processes() -> str:
    now = time.time()
    silent = [
        f"{one}: no heartbeat for {one.silent_s(now):.0f} s" for one in heartbeats.missing(now)
    ]
    if silent:
        raise ProbeFailed("; ".join(silent))
    return "ok"


PROBES = (
    Probe("database", _database),
    Probe("cache", _cache),
    Probe("broker", _broker),
    Probe("catalog", _catalog),
    Probe("processes", _processes),
)


def ready(request: HttpRequest) -> JsonResponse:
    """200 while answers can be given, from whatever is left; 503 only without any catalog."""
    checks = _looked()
    failed = [name for name, result in checks.items() if result.status == "failed"]
    down = "catalog" in failed and checks["catalog"].detail != "no songs yet"
    body = {
        "status": "down" if down else "degraded" if failed else "ok",
        "checks": {name: result.to_wire() for name, result in checks.items()},
    }
    return JsonResponse(
        body, status=503 if down else 200, headers={"Retry-After": "5"} if down else None
    )


def _looked() -> dict[str, Result]:
    for probe in PROBES:
        probe.start()
    deadline = time.monotonic() + BOUND_S
    return {probe.name: probe.result(deadline=deadline) for probe in PROBES}
