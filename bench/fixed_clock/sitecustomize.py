"""Sets the wall clock of every Python process that has this folder on PYTHONPATH to FIXED_CLOCK (epoch seconds).

Deadlines and pauses (`time.monotonic`, `time.perf_counter`) keep the real time. A background thread that sleeps for
more than a few seconds wakes up only when `CLOCK.wake_sleepers` says so, so that what it does falls between the same
two calls in every run.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from datetime import UTC, datetime, tzinfo

#: Sleeps at least so long are those of background threads that write from time to time.
LONG_SLEEP_S = 5.0
WAKE_TIMEOUT_S = 30.0


class Clock:
    """A wall clock that moves only when it is told to."""

    def __init__(self, epoch_s: float) -> None:
        self.epoch_s = epoch_s
        self._real_sleep = time.sleep
        self._condition = threading.Condition()
        self._round = 0
        self._sleeping: set[int] = set()

    def install(self) -> None:
        time.time = lambda: self.epoch_s
        time.time_ns = lambda: int(self.epoch_s * 1_000_000_000)
        time.sleep = self._sleep
        _replace_method("now", lambda _, tz=None: self._now(tz))
        _replace_method("utcnow", lambda _: self._now(UTC).replace(tzinfo=None))

    def advance(self, seconds: float) -> None:
        self.epoch_s += seconds

    def wake_sleepers(self) -> None:
        """Let each long sleep end once, and wait until those threads sleep again."""
        with self._condition:
            waiting, self._sleeping = self._sleeping, set()
            self._round += 1
            self._condition.notify_all()
            self._condition.wait_for(lambda: waiting <= self._sleeping, WAKE_TIMEOUT_S)

    def _now(self, tz: tzinfo | None) -> datetime:
        return datetime.fromtimestamp(self.epoch_s, tz)

    def _sleep(self, seconds: float) -> None:
        if seconds < LONG_SLEEP_S or threading.current_thread() is threading.main_thread():
            self._real_sleep(seconds)
            return
        with self._condition:
            entered = self._round
            self._sleeping.add(threading.get_ident())
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._round > entered)


def _replace_method(name: str, function: object) -> None:
    """Replace a class method of `datetime` itself: modules that imported the class see it too."""
    members = gc.get_referents(datetime.__dict__)[0]
    members[name] = classmethod(function)  # type: ignore[arg-type]
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


CLOCK = Clock(float(os.environ.get("FIXED_CLOCK", "0")))
if "FIXED_CLOCK" in os.environ:
    CLOCK.install()
