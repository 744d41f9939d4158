"""Identifies worker processes, and finds out whether one of this host has died."""

from __future__ import annotations

import os
import socket
from functools import cache

import psutil


def identity() -> str:
    """Host, process id and start time: unique even when the number is used again."""
    return f"{_host()}|{os.getpid()}|{psutil.Process().create_time():.2f}"


@cache
def _host() -> str:
    return socket.gethostname()[:80]


def is_dead(worker: str) -> bool:
    """Whether a worker is known to be gone; False for other hosts, whose leases have to expire."""
    host, _, rest = worker.partition("|")
    number, _, created = rest.partition("|")
    if host != _host() or not number.isdecimal():
        return False
    try:
        process = psutil.Process(int(number))
        return f"{process.create_time():.2f}" != created or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
