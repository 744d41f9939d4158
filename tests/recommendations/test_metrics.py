"""/metrics: the names the outside Prometheus scrapes, right over several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recommendations import metrics, services
from recommendations.serving.request import Request

from .conftest import World

ROOT = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def named(found: Samples, name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, its_labels), value in found.items()
        if sample == name and labels.items() <= dict(its_labels).items()
    )


@pytest.mark.django_db
def test_every_name_of_the_contract_is_exported(client, world: World) -> None:
    services.recommend(Request(member_key=world.alice))
    client.get("/recommend/cached/1")
    metrics.flush()
    answer = client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain")
    found = samples(answer.content.decode())
    names = {name for name, _ in found}
    assert {
        "songs_ai_recommendations_total",
        "songs_ai_recommendation_duration_seconds_bucket",
        "songs_ai_recommendation_duration_seconds_count",
        "songs_ai_ai_analysis_success_rate",
        "songs_ai_cache_hit_rate",
        "cpu_usage_percent",
        "memory_usage_bytes",
        "disk_io_operations_total",
        "network_bytes_total",
        "django_http_requests_total_by_method_total",
    } <= names
    labels = {
        label
        for (name, pairs) in found
        for label, _ in pairs
        if name == "songs_ai_recommendations_total"
    }
    assert labels == {"source", "strategy", "outcome"}
    assert named(found, "memory_usage_bytes") > 0
    assert 0 <= named(found, "songs_ai_cache_hit_rate") <= 1


@pytest.mark.django_db
def test_recommendations_are_counted_by_how_they_were_made(client, world: World) -> None:
    def counted(**labels: str) -> float:
        found = samples(client.get("/metrics").content.decode())
        return named(found, "songs_ai_recommendations_total", strategy="fast", **labels)

    local, cache = counted(source="local"), counted(source="cache")
    for _ in range(3):
        body = {"memberId": world.alice, "strategy": "fast"}
        client.post("/recommend", json.dumps(body), content_type="application/json")
    assert (counted(source="local") - local, counted(source="cache") - cache) == (1, 2)


COUNT = """
import django, sys
django.setup()
from recommendations import metrics
from prompts import metrics as model
hits, misses, usable, failed = map(int, sys.argv[1:])
for _ in range(hits): metrics.count_cached_read(hit=True)
for _ in range(misses): metrics.count_lookup(hit=False)
metrics.flush()
if usable: model.CALLS.labels("curation", "ok").inc(usable)
if failed: model.CALLS.labels("curation", "timeout").inc(failed)
"""
EXPORT = """
import django, sys
django.setup()
from songs_ai import metrics
sys.stdout.buffer.write(metrics.exposition())
"""


def test_ratios_are_right_over_several_processes(tmp_path: Path) -> None:
    """90 hits and 10 misses are 0.9, whichever process is asked: 80/0 in one, 10/10 in another."""
    folder, data = tmp_path / "counters", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "songs_ai.settings",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "DATA_DIR": str(data),
    }

    def run(code: str, *arguments: int) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        return done.stdout.decode()

    run(COUNT, 80, 0, 3, 0)
    run(COUNT, 10, 10, 0, 1)
    found = samples(run(EXPORT))
    assert named(found, "songs_ai_cache_lookups_total") == 100
    assert named(found, "songs_ai_cache_hit_rate") == pytest.approx(0.9)
    assert named(found, "songs_ai_ai_analysis_success_rate") == pytest.approx(0.75)
    assert named(found, "songs_ai_recommendations_total", source="cache", outcome="ok") == 90
