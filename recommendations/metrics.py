"""Counts and times recommendations, under the names that Prometheus scrapes."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import Counter, Histogram

RECOMMENDATIONS = Counter(
    "songs_ai_recommendations_total",
    "Recommendations answered.",
    ("source", "strategy", "outcome"),
)
DURATION = Histogram(
    "songs_ai_recommendation_duration_seconds",
    "Time to answer a recommendation, cached or not.",
    ("strategy",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 10, 16, 30),
)
#: `songs_ai_cache_hit_rate` is computed from these at scrape time, over all processes.
LOOKUPS = Counter(
    "songs_ai_cache_lookups_total", "Looks into the recommendation cache.", ("result",)
)
_HIT, _MISS = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
PARTS = Histogram(
    "songs_ai_recommendation_part_seconds",
    "Time of one part of a computed recommendation.",
    ("part",),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16),
)


class Finished(Protocol):
    def __call__(self, *, source: str, degraded: str) -> None: ...


@contextmanager
def recommendation(*, strategy: str) -> Iterator[Finished]:
    """Time a recommendation and count how it ended; an exception counts as outcome `failed`."""
    started = time.perf_counter()
    outcome, answer_source = "failed", "none"

    def finished(*, source: str, degraded: str) -> None:
        nonlocal outcome, answer_source
        outcome, answer_source = ("degraded" if degraded else "ok"), source

    try:
        yield finished
    finally:
        DURATION.labels(strategy).observe(time.perf_counter() - started)
        RECOMMENDATIONS.labels(answer_source, strategy, outcome).inc()


def count_lookup(*, hit: bool) -> None:
    (_HIT if hit else _MISS).inc()


class _CachedReads:
    """Counts cached reads in plain numbers and adds them to the counters once a second.

    Prometheus' counters live in a mapped file that all processes share: one more write there per
    read would cost a tenth of the read.
    """

    FLUSH_EVERY_S = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits = self._misses = 0
        self._pid = 0

    def count(self, *, hit: bool) -> None:
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            if hit:
                self._hits += 1
            else:
                self._misses += 1

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid, self._hits, self._misses = os.getpid(), 0, 0
        threading.Thread(target=self._run, name="count-reads", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self.FLUSH_EVERY_S)
            self.flush()

    def flush(self) -> None:
        """Add to the counters what was counted since the last flush."""
        with self._lock:
            hits, self._hits = self._hits, 0
            misses, self._misses = self._misses, 0
        if hits:
            _HIT.inc(hits)
            RECOMMENDATIONS.labels("cache", "default", "ok").inc(hits)
        if misses:
            _MISS.inc(misses)


_cached_reads = _CachedReads()
count_cached_read = _cached_reads.count
flush = _cached_reads.flush
atexit.register(flush)


def observe_parts(parts_ms: dict[str, float]) -> None:
    for part, ms in parts_ms.items():
        PARTS.labels(part).observe(ms / 1000)
