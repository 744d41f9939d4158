"""Heartbeats of every process in one folder of DATA_DIR, and who of them has stopped beating.

A process that is frozen or gone says nothing by itself; its silent file does. Files work without a
store, on the embedded default, and across containers that share the folder.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

log = logging.getLogger(__name__)
HOST = socket.gethostname()
#: Seconds between two beats of a process.
INTERVAL_S = 5.0
#: A process is missing when its last beat is older: six of them were skipped.
MISSING_AFTER_S = 30.0
#: A host that was taken away without a word is reported for this long.
FORGOTTEN_AFTER_S = 86_400.0
#: Separates the parts of a file's name: host, role, process id.
_SEPARATOR = "~"
#: Rounding of file times and process start times.
_TOLERANCE_S = 2.0
_last_touch = 0.0


def note_alive() -> None:
    """Touch HEARTBEAT_FILE for a container's health check; call it from a main loop as often as it turns."""
    global _last_touch
    now = time.monotonic()
    if settings.HEARTBEAT_FILE and now - _last_touch >= INTERVAL_S:
        _last_touch = now
        Path(settings.HEARTBEAT_FILE).touch()


# --- Writing --------------------------------------------------------------------------------------
class Heartbeat:
    """Beats for this process from a thread of its own, until it stops or the process ends."""

    def __init__(self, role: str) -> None:
        self._pid = os.getpid()
        self._path = _folder() / _SEPARATOR.join((HOST, role, str(self._pid)))
        self._stopped = threading.Event()

    def start(self) -> Heartbeat:
        self.beat()
        atexit.register(self.stop)
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()
        return self

    def beat(self) -> None:
        """Write the file. A disk that is full or read-only stops no work."""
        try:
            if self._path.exists():
                os.utime(self._path)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                content = {"started_at": time.time(), "version": settings.VERSION}
                self._path.write_text(json.dumps(content), "utf-8")
        except OSError as error:
            log.debug("No heartbeat written: %s", error)

    def stop(self) -> None:
        """End in order: a process that says goodbye is not missing. Does nothing in a forked child."""
        if self._pid == os.getpid() and not self._stopped.is_set():
            self._stopped.set()
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self.beat()


# --- Reading --------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Process:
    """One process as its heartbeat file shows it."""

    role: str  #: web, worker, nightly, consumer, scheduler; "….pool" for a child that works for one
    host: str
    pid: int
    #: Unix times in seconds.
    started_at: float
    beat_at: float
    version: str

    def silent_s(self, now: float) -> float:
        return max(0.0, now - self.beat_at)

    def is_missing(self, now: float) -> bool:
        return self.silent_s(now) > MISSING_AFTER_S

    def __str__(self) -> str:
        return f"{self.role} (pid {self.pid})"


def processes(now: float | None = None) -> list[Process]:
    """All processes that beat in the last day, without those that were replaced by a newer one."""
    now = time.time() if now is None else now
    found = list(_read_all(now))
    return [process for process in found if not _is_replaced(process, found, now)]


def missing(now: float | None = None) -> list[Process]:
    """Processes that should beat and do not: frozen, killed, or on a host that is gone."""
    now = time.time() if now is None else now
    return [process for process in processes(now) if process.is_missing(now)]


def remove_dead() -> None:
    """Delete the files of processes of this host that no longer exist: what a start before this one left."""
    for path in _folder().glob(f"{HOST}{_SEPARATOR}*"):
        process = _read(path)
        if process is not None and not _still_runs(process):
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "heartbeats"


def _read_all(now: float) -> Iterator[Process]:
    folder = _folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        process = _read(path)
        if process is None:
            continue
        if process.silent_s(now) > FORGOTTEN_AFTER_S:
            path.unlink(missing_ok=True)
        else:
            yield process


def _read(path: Path) -> Process | None:
    """None for a file that vanished, is being written, or is not ours."""
    try:
        host, role, pid = path.name.split(_SEPARATOR)
        content = json.loads(path.read_text("utf-8"))
        return Process(
            role=role,
            host=host,
            pid=int(pid),
            started_at=float(content["started_at"]),
            beat_at=path.stat().st_mtime,
            version=str(content["version"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_replaced(process: Process, found: list[Process], now: float) -> bool:
    """Whether a process that is gone has a successor: same host and role, started after its last beat."""
    if not process.is_missing(now) or _still_runs(process):
        return False
    return any(
        (other.host, other.role) == (process.host, process.role)
        and other.started_at >= process.beat_at - _TOLERANCE_S
        and other.pid != process.pid
        for other in found
    )


def _still_runs(process: Process) -> bool:
    """Whether a process of this host exists, however frozen. Those of other hosts can't be looked up."""
    if process.host != HOST:
        return False
    try:
        return psutil.Process(process.pid).create_time() <= process.started_at + _TOLERANCE_S
    except psutil.Error:
        return False
