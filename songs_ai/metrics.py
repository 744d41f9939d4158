"""Serves /metrics: what all processes of this host counted, ratios computed from it, and the machine's figures."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from django.http import HttpRequest, HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Metric,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from infrastructure import heartbeats
from prompts.models.calls import USABLE
from recommendations.api import authentication
from songs_ai import prometheus_multihost

#: Only of this host: another container's process ids say nothing here.
_OWNER_OF_GAUGE = re.compile(
    rf"gauge_live[a-z]*_({re.escape(prometheus_multihost.HOST)}-(\d+))\.db"
)

psutil.cpu_percent()  # the first call has nothing to compare with


def view(request: HttpRequest) -> HttpResponse:
    if not authentication.may_read_metrics(request.META):
        return HttpResponse("Not for this network.\n", status=403, content_type="text/plain")
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


def exposition() -> bytes:
    """Everything in Prometheus' text format."""
    counted = _counted()
    extra = CollectorRegistry()
    extra.register(_Given([*_ratios(counted.collect()), *_processes(), *_machine()]))
    return generate_latest(counted) + generate_latest(extra)


def _counted() -> CollectorRegistry:
    """The counters of all processes where they share a folder, else of this one."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return REGISTRY
    _bury_the_dead(Path(folder))
    merged = CollectorRegistry()
    MultiProcessCollector(merged)
    return merged


def _bury_the_dead(folder: Path) -> None:
    """Drop the live gauges of processes that are gone: granian does not tell us of an end."""
    found = (_OWNER_OF_GAUGE.fullmatch(path.name) for path in folder.iterdir())
    for owner, pid in {match[1]: int(match[2]) for match in found if match}.items():
        if not psutil.pid_exists(pid):
            mark_process_dead(owner)


class _Given(Collector):
    """Metrics that were made beforehand."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


# --- Ratios: right only over all processes, so they are computed when asked for --------------------
def _ratios(metrics: Iterable[Metric]) -> Iterator[Metric]:
    found = {metric.name: metric for metric in metrics}
    yield GaugeMetricFamily(
        "songs_ai_cache_hit_rate",
        "Share of lookups answered from the recommendation cache, since the start. 0 before the first.",
        _share(found.get("songs_ai_cache_lookups"), "result", {"hit"}),
    )
    yield GaugeMetricFamily(
        "songs_ai_ai_analysis_success_rate",
        "Share of model calls with a usable answer, since the start. 0 before the first.",
        _share(found.get("songs_ai_model_calls"), "outcome", {str(one) for one in USABLE}),
    )


def _share(metric: Metric | None, label: str, good: set[str]) -> float:
    counts = [
        (sample.labels.get(label) in good, sample.value)
        for sample in (metric.samples if metric else ())
        if sample.name.endswith("_total")
    ]
    total = sum(value for _, value in counts)
    return sum(value for is_good, value in counts if is_good) / total if total else 0.0


# --- Processes ------------------------------------------------------------------------------------
def _processes() -> Iterator[Metric]:
    """Per role, so that the labels stay few whatever the number of processes."""
    now = time.time()
    alive, missing = Counter[str](), Counter[str]()
    for process in heartbeats.processes(now):
        (missing if process.is_missing(now) else alive)[process.role] += 1
    family = GaugeMetricFamily(
        "songs_ai_processes",
        "Processes by role: alive, or missing (no heartbeat for 30 s).",
        labels=["role", "state"],
    )
    for role in sorted({*alive, *missing}):
        family.add_metric([role, "alive"], alive[role])
        family.add_metric([role, "missing"], missing[role])
    yield family


# --- The machine ----------------------------------------------------------------------------------
def _machine() -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "cpu_usage_percent",
        "CPU of the machine in use since the last scrape of this process.",
        psutil.cpu_percent(),
    )
    yield GaugeMetricFamily(
        "memory_usage_bytes", "Memory of the machine in use.", psutil.virtual_memory().used
    )
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    yield _counters(
        "disk_io_operations_total",
        "Disk operations of the machine.",
        {"read": disk.read_count, "write": disk.write_count} if disk else {},
    )
    yield _counters(
        "network_bytes_total",
        "Bytes over the machine's networks.",
        {"received": network.bytes_recv, "sent": network.bytes_sent},
    )


def _counters(name: str, text: str, by_direction: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["direction"])
    for direction, value in by_direction.items():
        family.add_metric([direction], value)
    return family
