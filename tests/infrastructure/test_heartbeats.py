"""Who beats, who is missing, and who was replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure import heartbeats
from infrastructure.heartbeats import HOST, MISSING_AFTER_S, Heartbeat
from songs_ai.celery import worker_role

LATER = MISSING_AFTER_S + 5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "heartbeats"


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this host."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def written(folder: Path, role: str, pid: int, *, beat_at: float, host: str = HOST) -> None:
    """A file as another process writes it, started long before its last beat."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{host}~{role}~{pid}"
    path.write_text(json.dumps({"started_at": beat_at, "version": "1"}), "utf-8")
    os.utime(path, (beat_at, beat_at))


def named(found: list[heartbeats.Process]) -> set[tuple[str, int]]:
    return {(process.role, process.pid) for process in found}


def test_a_process_beats_until_it_stops() -> None:
    heartbeat = Heartbeat("web").start()
    assert named(heartbeats.processes()) == {("web", os.getpid())}
    assert not heartbeats.missing()
    heartbeat.stop()
    assert not heartbeats.processes()


def test_one_that_no_longer_beats_is_missing(
    neighbour: subprocess.Popen[bytes], folder: Path
) -> None:
    now = time.time()
    written(folder, "worker", neighbour.pid, beat_at=now)
    assert not heartbeats.missing(now + MISSING_AFTER_S - 1)
    [missing] = heartbeats.missing(now + LATER)
    assert str(missing) == f"worker (pid {neighbour.pid})"


def test_one_that_was_killed_is_missing_until_a_successor_beats(folder: Path) -> None:
    now = time.time()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    written(folder, "worker.pool", gone.pid, beat_at=now - LATER)
    written(folder, "web", os.getpid(), beat_at=now)  # another role replaces nobody
    assert named(heartbeats.missing(now)) == {("worker.pool", gone.pid)}
    written(folder, "worker.pool", os.getpid(), beat_at=now)
    assert not heartbeats.missing(now)


def test_a_frozen_one_is_missing_whoever_started_since(
    neighbour: subprocess.Popen[bytes], folder: Path
) -> None:
    now = time.time()
    written(folder, "web", neighbour.pid, beat_at=now)
    written(folder, "web", os.getpid(), beat_at=now + LATER)
    assert named(heartbeats.missing(now + LATER)) == {("web", neighbour.pid)}


def test_a_host_that_is_gone_is_reported_for_a_day(folder: Path) -> None:
    now = time.time()
    written(folder, "worker", 4711, beat_at=now - LATER, host="elsewhere")
    assert named(heartbeats.missing(now)) == {("worker", 4711)}
    assert not heartbeats.processes(now + heartbeats.FORGOTTEN_AFTER_S)
    assert not list(folder.iterdir())


def test_a_new_start_clears_what_the_one_before_left(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    written(folder, "nightly", gone.pid, beat_at=time.time())
    written(folder, "worker", 4711, beat_at=time.time(), host="elsewhere")
    heartbeats.remove_dead()
    assert named(heartbeats.processes()) == {("worker", 4711)}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"started_at": "x", "version": 1}'])
def test_a_file_that_cannot_be_read_is_nobody(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / f"{HOST}~web~1").write_text(content, "utf-8")
    (folder / "odd name").write_text("{}", "utf-8")
    assert not heartbeats.processes()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "heartbeats").write_text("a file where the folder should be", "utf-8")
    Heartbeat("web").beat()


def test_a_turning_loop_touches_the_file_of_a_health_check(tmp_path: Path, settings: Any) -> None:
    settings.HEARTBEAT_FILE = str(tmp_path / "alive")
    heartbeats._last_touch = float("-inf")
    heartbeats.note_alive()
    assert (tmp_path / "alive").exists()


@pytest.mark.parametrize(
    ("name", "role"),
    [("worker@h", "worker"), ("nightly@h", "nightly"), ("backend-4711@h", "consumer")],
)
def test_a_role_is_the_same_after_a_restart(name: str, role: str) -> None:
    """`manage.py consume` names its worker by its process id."""
    assert worker_role(name) == role
