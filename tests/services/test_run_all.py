"""`make run` as a newcomer meets it: one command, stopped by Ctrl-C, and one clear sentence where it can't start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.installation import ROOT, Process, free_port, wait_until

pytestmark = pytest.mark.slow


def environment(folder: Path, port: int, **settings: str) -> dict[str, str]:
    """What a fresh machine has: no servers, no key, an empty data folder."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"DATA_DIR": str(folder), "PORT": str(port), **settings}


def refused(*, seconds: float = 60, **settings: str) -> str:
    """What is said when it can't start."""
    done = subprocess.run(
        [sys.executable, "manage.py", "run_all"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_a_busy_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(**environment(tmp_path, port))
    assert f"Port {port} can't be used" in said
    assert f"PORT={port + 1} make run" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"PORT": "eight"}, "use a number from 1 to 65535"),
        ({"DATABASE_URL": "postgres://x/y"}, "mysql://"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "SECRET_KEY is missing"),
        ({"SONGS_AI_CONSUME_QUEUE": "1"}, "set RABBITMQ_URL"),
        (
            {"DATABASE_URL": "mysql://u:p@127.0.0.1:1/x", "SECRET_KEY": "x" * 50},
            "Start it or correct DATABASE_URL",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_names_the_remedy(
    tmp_path: Path, settings: dict[str, str], remedy: str
) -> None:
    assert remedy in refused(**environment(tmp_path, free_port()) | settings)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Process]:
    settings = environment(tmp_path / "data", free_port())
    process = Process(
        [sys.executable, "manage.py", "run_all"],
        log=tmp_path / "run.log",
        environment=settings,
    )
    yield process
    process.kill(signal.SIGKILL)


def said(process: Process) -> str:
    return process.log.read_text() if process.log.exists() else ""


def family(process: Process) -> list[psutil.Process]:
    assert process.popen is not None
    return psutil.Process(process.popen.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_one_command_ends_in_a_real_recommendation_and_ctrl_c_stops_everything(
    started: Process,
) -> None:
    started.start()
    wait_until(lambda: "Ask it yourself" in said(started), "the recommendation", seconds=180)
    shown = said(started)
    assert "/docs" in shown
    assert "/admin/" in shown
    assert "빠른 선곡" in shown
    assert "TJ " in shown
    assert "password:" in shown

    # A child that dies comes back.
    web = next(p for p in family(started) if "granian" in " ".join(p.cmdline()))
    web.kill()
    wait_until(lambda: "starting it again" in said(started), "the restart")
    wait_until(lambda: len(family(started)) >= 4, "the new web server", seconds=30)
    wait_until(lambda: answers(started), "its answer", seconds=60)

    children = family(started)
    assert len(children) >= 3
    began = time.monotonic()
    assert started.popen is not None
    started.popen.send_signal(signal.SIGINT)
    assert started.popen.wait(20) == 0
    assert time.monotonic() - began < 12  # four seconds and a busy machine
    assert gone(children)

    # The second start keeps the data and prints no password again.
    log = said(started)
    started.start()
    wait_until(lambda: said(started).count("Ask it yourself") == 2, "the second start", seconds=120)
    again = said(started)[len(log) :]
    assert "password:" not in again


def answers(process: Process) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(process.environment["PORT"]))) == 0


def test_killing_the_supervisor_leaves_nothing_behind(started: Process) -> None:
    started.start()
    wait_until(lambda: "Songs AI is running" in said(started), "the start", seconds=180)
    children = family(started)
    assert started.popen is not None
    os.kill(started.popen.pid, signal.SIGKILL)
    wait_until(lambda: gone(children), "the children's end", seconds=40)


def test_a_second_start_in_one_folder_is_refused(started: Process, tmp_path: Path) -> None:
    """Also on another port, also while the first is still starting; its counters stay."""
    started.start()
    wait_until(lambda: (tmp_path / "data" / "make-run.lock").exists(), "the lock", seconds=60)
    assert started.popen is not None
    other = environment(tmp_path / "data", free_port())
    wait_until(lambda: "port" in (tmp_path / "data" / "make-run.lock").read_text(), "its owner")
    said_ = refused(**other)
    assert f"pid {started.popen.pid}, port {started.environment['PORT']}" in said_
    assert len(said_.splitlines()) == 1


def test_what_hangs_is_started_again(started: Process) -> None:
    started.start()
    wait_until(lambda: "Songs AI is running" in said(started), "the start", seconds=180)
    frozen = [p for p in family(started) if "celery" in " ".join(p.cmdline())]
    assert len(frozen) >= 2
    for process in frozen:
        process.suspend()
    wait_until(lambda: said(started).count("hangs") >= 2, "notice", seconds=120)
    wait_until(lambda: said(started).count("starting it again") >= 2, "the restart", seconds=60)
    wait_until(lambda: gone(frozen), "the frozen ones' end")
