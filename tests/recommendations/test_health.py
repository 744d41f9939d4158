"""Live, ready, degraded, down: what is told of each store, and never late."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import redis
from django.db import OperationalError

from catalog import snapshot
from infrastructure import heartbeats
from songs_ai import health

from .conftest import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each store answers, by name; the probes are new for every test."""
    answers: dict[str, Any] = {
        name: lambda: "ok" for name in ("database", "cache", "broker", "catalog", "processes")
    }
    made = tuple(health.Probe(name, lambda name=name: answers[name]()) for name in answers)
    monkeypatch.setattr(health, "PROBES", made)
    return answers


def failing(error: Exception) -> Any:
    def ask() -> str:
        raise error

    return ask


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_a_live_process_asks_nobody(client, path: str, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        answer = client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_all_is_well(client, probes) -> None:
    probes["cache"] = lambda: "unused"
    told = client.get("/health/ready").json()
    assert told["status"] == "ok"
    assert {name: check["status"] for name, check in told["checks"].items()} == {
        "database": "ok",
        "cache": "unused",
        "broker": "ok",
        "catalog": "ok",
        "processes": "ok",
    }
    assert all(check["ms"] >= 0 for check in told["checks"].values())


@pytest.mark.parametrize(
    ("store", "error"),
    [
        ("database", OperationalError(2002, "Can't connect to MySQL server on 'db.internal'")),
        ("cache", redis.ConnectionError("redis://:secret@cache.internal:6379")),
        ("broker", OSError("amqp://guest:guest@mq.internal")),
    ],
)
def test_a_store_that_is_away_degrades_and_does_not_end_the_service(
    client, probes, store: str, error: Exception
) -> None:
    probes[store] = failing(error)
    answer = client.get("/health/ready")
    told = answer.json()
    assert (answer.status_code, told["status"]) == (200, "degraded")
    assert told["checks"][store]["status"] == "failed"
    assert b"internal" not in answer.content
    assert b"secret" not in answer.content


def test_without_any_catalog_it_is_down(client, probes) -> None:
    probes["catalog"] = failing(snapshot.CatalogUnavailable())
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer["Retry-After"]


def test_a_hanging_store_costs_a_second_and_is_asked_once(client, probes, monkeypatch) -> None:
    monkeypatch.setattr(health, "BOUND_S", 0.2)
    asked, release = [], threading.Event()

    def hang() -> str:
        asked.append(1)
        release.wait(30)
        return "ok"

    probes["database"] = hang
    began = time.monotonic()
    first, second = client.get("/health/ready").json(), client.get("/health/ready").json()
    lasted_s = time.monotonic() - began
    release.set()
    assert first["status"] == second["status"] == "degraded"
    assert first["checks"]["database"]["status"] == "failed"
    assert len(asked) == 1
    assert lasted_s < 10  # two bounds of 0.2 s, on a machine that may be busy


def test_balancers_that_ask_often_cost_one_look(client, probes) -> None:
    asked = []
    probes["database"] = lambda: asked.append(1) or "ok"
    for _ in range(5):
        client.get("/health/ready")
    assert len(asked) == 1


def test_the_probes_of_an_embedded_installation(world: World, settings) -> None:
    """The database's own runs against the real server, in tests/contract: it ends its connection."""
    (settings.BROKER_DIR / "queue").mkdir(parents=True, exist_ok=True)
    found = {probe.name: probe._ask() for probe in health.PROBES if probe.name != "database"}
    assert found == {"cache": "unused", "broker": "ok", "catalog": "ok", "processes": "ok"}


def test_a_silent_process_degrades_and_is_named(client, probes, tmp_path, settings) -> None:
    settings.DATA_DIR = tmp_path
    beat = tmp_path / "heartbeats" / f"{heartbeats.HOST}~worker~{os.getpid()}"
    beat.parent.mkdir()
    beat.write_text('{"started_at": 4102444800, "version": "1"}', "utf-8")
    probes["processes"] = health._processes
    assert client.get("/health/ready").json()["status"] == "ok"
    os.utime(beat, (time.time() - 45, time.time() - 45))
    health.PROBES[-1]._last_at = float("-inf")  # as if a second had passed
    told = client.get("/health/ready").json()
    assert told["status"] == "degraded"
    assert (
        told["checks"]["processes"]["detail"]
        == f"worker (pid {os.getpid()}): no heartbeat for 45 s"
    )
