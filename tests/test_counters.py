"""Counters of several processes and containers in one folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Counts once, in a process whose id and host name are given: containers repeat the former.
COUNT_ONCE = """
import os, socket, sys
os.getpid = lambda: 7
socket.gethostname = lambda: sys.argv[1]
import songs_ai
from prometheus_client import Counter
Counter("songs", "Sung.").inc()
"""
SUM = """
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(registry.get_sample_value("songs_total"))
"""


def run(code: str, *arguments: str, folder: Path) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_two_containers_with_the_same_process_id_add_up(tmp_path: Path) -> None:
    run(COUNT_ONCE, "web_1", folder=tmp_path)
    run(COUNT_ONCE, "worker_1", folder=tmp_path)
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    assert run(SUM, folder=tmp_path) == "2.0"
