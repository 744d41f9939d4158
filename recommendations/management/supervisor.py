"""Keeps the processes of one installation running: starts them, restarts those that die or hang, stops all of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
from django.conf import settings

from infrastructure import heartbeats

#: A child that lived this long is restarted at once; one that dies sooner waits longer each time.
HEALTHY_AFTER_S = 30.0
LONGEST_WAIT_S = 30.0
#: What a graceful stop may take; then the rest is killed. Jobs cut off are done again after the next start.
GRACE_S = 4.0
#: Seconds between two looks for processes that hang.
HANG_CHECK_EVERY_S = 1.0
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """In the child, before exec: be told when the supervisor dies, even by SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(kw_only=True)
class Child:
    """One process that has to be there."""

    name: str
    command: Sequence[str]
    #: Lets interactive work go first on a busy machine.
    nice: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)
    not_before: float = field(default=0.0, init=False)

    def start(self, environment: Mapping[str, str]) -> None:
        # Its own process group: Ctrl-C reaches the supervisor only, which then stops the others in order.
        self.process = subprocess.Popen(
            self.command,
            env=dict(environment),
            cwd=settings.BASE_DIR,
            preexec_fn=self._prepare,
            process_group=0,
        )
        self.started_at = time.monotonic()

    def _prepare(self) -> None:
        die_with_parent()
        if self.nice:
            os.nice(self.nice)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def note_death(self) -> float:
        """Decide when to start it again; returns the seconds until then."""
        lived_s = time.monotonic() - self.started_at
        self.failures = 0 if lived_s > HEALTHY_AFTER_S else self.failures + 1
        wait_s = min(LONGEST_WAIT_S, 2.0**self.failures / 2)
        self.not_before = time.monotonic() + wait_s
        return wait_s

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


class HangWatch:
    """Finds descendants that are stopped, or whose heartbeat stands still, for `after_s` seconds.

    Counts only the time during which this process itself ran: after a laptop's sleep everybody is
    silent at first, and nobody hangs.
    """

    #: Longest time that one look may add, whatever the clock says.
    MAX_STEP_S = 3 * HANG_CHECK_EVERY_S

    def __init__(self, *, after_s: float = heartbeats.MISSING_AFTER_S) -> None:
        self._after_s = after_s
        #: By process id: its last beat, and for how many seconds it did not change.
        self._silent: dict[int, tuple[float, float]] = {}

    def look(self, *, elapsed_s: float) -> list[heartbeats.Process | psutil.Process]:
        """Return those that hang; `elapsed_s` is the time since the last look."""
        step_s = min(elapsed_s, self.MAX_STEP_S)
        family = {child.pid: child for child in psutil.Process().children(recursive=True)}
        beats = {
            process.pid: process
            for process in heartbeats.processes()
            if process.host == heartbeats.HOST and process.pid in family
        }
        seen = {}
        for pid, child in family.items():
            beat_at = beats[pid].beat_at if pid in beats else 0.0
            if pid in beats or _is_stopped(child):
                before = self._silent.get(pid, (beat_at, 0.0))
                seen[pid] = (beat_at, before[1] + step_s if before[0] == beat_at else 0.0)
        self._silent = seen
        return [
            beats.get(pid) or family[pid]
            for pid, (_beat_at, silent_s) in seen.items()
            if silent_s > self._after_s
        ]


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


class Supervisor:
    """Runs children until told to stop."""

    def __init__(
        self, children: Sequence[Child], environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.children = children
        self.environment = environment
        self.say = say
        self.stopping = False
        self._hangs = HangWatch()
        self._checked_at = time.monotonic()

    def catch_signals(self) -> None:
        def stop(*_: object) -> None:
            self.stopping = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)

    def start(self) -> None:
        for child in self.children:
            child.start(self.environment)

    def tick(self) -> None:
        """Restart what died; called a few times a second."""
        for child in self.children:
            if child.running or self.stopping:
                continue
            if child.process is not None:
                code = child.process.returncode
                child.signal_group(signal.SIGKILL)  # what it had started would keep the port
                child.process = None
                wait_s = child.note_death()
                self.say(
                    f"{child.name} ended (exit code {code}); starting it again in {wait_s:g} s"
                )
            elif time.monotonic() >= child.not_before:
                child.start(self.environment)

    def kill_hung(self) -> None:
        """Kill what hangs: `tick` starts a child again; granian and Celery replace their own children."""
        now = time.monotonic()
        elapsed_s = now - self._checked_at
        if self.stopping or elapsed_s < HANG_CHECK_EVERY_S:
            return
        self._checked_at = now
        for process in self._hangs.look(elapsed_s=elapsed_s):
            self.say(
                f"{process} hangs: no heartbeat for {heartbeats.MISSING_AFTER_S:g} s; killing it"
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def run(self) -> None:
        while not self.stopping:
            self.tick()
            self.kill_hung()
            time.sleep(0.2)

    def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to what is still there after the grace time."""
        self.stopping = True
        for child in self.children:
            if child.running:
                child.process.terminate()  # type: ignore[union-attr]
        deadline = time.monotonic() + GRACE_S
        while any(child.running for child in self.children) and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in self.children:
            child.signal_group(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()
