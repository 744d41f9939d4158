"""Counts and times what is served, under the names the outside Prometheus scrapes."""

from __future__ import annotations

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


class Seen(Protocol):
    def __call__(self, *, source: str, degraded: str) -> None: ...


@contextmanager
def recommendation(*, strategy: str) -> Iterator[Seen]:
    """Time a recommendation and count how it ended; an exception counts as outcome `failed`."""
    began = time.perf_counter()
    outcome, made_by = "failed", "none"

    def seen(*, source: str, degraded: str) -> None:
        nonlocal outcome, made_by
        outcome, made_by = ("degraded" if degraded else "ok"), source

    try:
        yield seen
    finally:
        DURATION.labels(strategy).observe(time.perf_counter() - began)
        RECOMMENDATIONS.labels(made_by, strategy, outcome).inc()


def count_lookup(*, hit: bool) -> None:
    (_HIT if hit else _MISS).inc()


def observe_parts(parts_ms: dict[str, float]) -> None:
    for part, ms in parts_ms.items():
        PARTS.labels(part).observe(ms / 1000)
