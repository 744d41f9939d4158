"""What every bench needs to know of the machine it runs on: how quick it is right now, and what memory a process holds."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil

MIB = 2**20
#: A server that uses less than this share of a processor has nothing to compute.
RESTING = 0.1


#: What the fixed work below takes on a quiet machine of the kind the replaced service was measured on.
REFERENCE_PROBE_MS = 4.0


def probe_ms(rounds: int = 7, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """A fixed piece of work, to see how quick and how noisy this machine is right now."""
    value = {"songs": [{"id": n, "title": f"title {n}", "score": n / 7} for n in range(2_000)]}
    times = []
    for _ in range(rounds):
        began = clock()
        json.loads(json.dumps(value))
        times.append((clock() - began) * 1000)
    return times


def stop_on_sigterm() -> None:
    """Leave by way of every `finally`, so that the servers of a bench are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


def memory_mib(pid: int | None = None) -> dict[str, float]:
    """RSS: all pages it sees; PSS: shared ones divided among who shares them; USS: its own alone."""
    held = psutil.Process(pid or os.getpid()).memory_full_info()
    return {name: round(getattr(held, name) / MIB, 1) for name in ("rss", "pss", "uss")}


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and of all that it started and that still run."""
    leader = psutil.Process(pid)
    times = [process.cpu_times() for process in (leader, *leader.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


def rests(pid: int, over_s: float = 0.3) -> bool:
    """Whether a server has nothing to compute: it is warm, or its callers wait for somebody else."""
    before = cpu_s(pid)
    time.sleep(over_s)
    return cpu_s(pid) - before < RESTING * over_s


def peak_mib() -> float:
    """The most this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `work` returns from a fresh process, so that its memory is its own. Both must be importable."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *arguments).result()
