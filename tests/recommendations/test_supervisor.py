"""Which processes of a family hang: stopped ones and silent ones, and none of them after a laptop's sleep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infrastructure.heartbeats import HOST
from recommendations.management.supervisor import HANG_CHECK_EVERY_S, HangWatch

LOOKS = 10


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def beat(tmp_path: Path, settings: Any, child: subprocess.Popen[bytes]) -> Path:
    """The child's heartbeat file."""
    settings.DATA_DIR = tmp_path
    path = tmp_path / "heartbeats" / f"{HOST}~worker~{child.pid}"
    path.parent.mkdir()
    path.write_text(json.dumps({"started_at": time.time(), "version": "1"}), "utf-8")
    return path


def looked(watch: HangWatch, times: int, *, elapsed_s: float = HANG_CHECK_EVERY_S) -> list[int]:
    for _ in range(times - 1):
        watch.look(elapsed_s=elapsed_s)
    return [process.pid for process in watch.look(elapsed_s=elapsed_s)]


def watching() -> HangWatch:
    return HangWatch(after_s=(LOOKS - 1) * HANG_CHECK_EVERY_S)


def test_a_silent_child_hangs(child: subprocess.Popen[bytes], beat: Path) -> None:
    watch = watching()
    assert looked(watch, LOOKS - 1) == []
    assert looked(watch, 1) == [child.pid]


def test_one_that_beats_does_not(beat: Path) -> None:
    watch = watching()
    now = time.time()
    for second in range(LOOKS * 3):
        os.utime(beat, (now + second, now + second))
        assert looked(watch, 1) == []


def test_a_stopped_child_hangs_although_it_never_beat(
    child: subprocess.Popen[bytes], tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    child.send_signal(signal.SIGSTOP)
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    assert looked(watching(), LOOKS) == [child.pid]


def test_after_a_sleep_of_eight_hours_nobody_hangs(beat: Path) -> None:
    watch = watching()
    watch.look(elapsed_s=HANG_CHECK_EVERY_S)
    assert looked(watch, 1, elapsed_s=8 * 3600) == []
