"""Logs an outage of the database or the broker as two lines: one when it begins, one with a count when it is over."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field

#: An outage is over when nothing was heard of it for so long; reconnecting clients try at least every 30 s.
QUIET_S = 45.0
#: By name, so that a process that needs none of these libraries does not load them for its log.
_FAULTS = frozenset(
    {
        "django.db.utils.OperationalError",
        "django.db.utils.InterfaceError",
        "amqp.exceptions.AMQPError",
        "kombu.exceptions.KombuError",
        "builtins.ConnectionError",
    }
)


def is_fault(error: object) -> bool:
    """Whether an exception means that the database or the broker can't be used now."""
    return isinstance(error, BaseException) and any(
        f"{base.__module__}.{base.__qualname__}" in _FAULTS for base in type(error).__mro__
    )


@dataclass(kw_only=True)
class _Outage:
    log: logging.Logger
    text: str
    level: int
    began: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)
    repeats: int = 0


class Outages:
    """The outages of this process, by logger and text."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._open: dict[tuple[str, str], _Outage] = {}

    def is_first(
        self, log: logging.Logger, text: str, *, level: int = logging.WARNING, shown: str = ""
    ) -> bool:
        """Count one more sign of an outage; True for the first one, which is to be logged.

        text names the outage; shown is what the line in the end repeats of it.
        """
        key = (log.name, text)
        with self._lock:
            if self._pid != os.getpid():  # the threads that watch were left behind by the fork
                self._pid, self._open = os.getpid(), {}
            known = self._open.get(key)
            if known is not None:
                known.repeats += 1
                known.last = time.monotonic()
                return False
            self._open[key] = outage = _Outage(log=log, text=shown or text, level=level)
        threading.Thread(target=self._watch, args=(key, outage), name="outage", daemon=True).start()
        return True

    def _watch(self, key: tuple[str, str], outage: _Outage) -> None:
        while (left_s := outage.last + self._quiet_s - time.monotonic()) > 0:
            time.sleep(left_s)
        with self._lock:
            self._open.pop(key, None)
        if outage.repeats:
            seconds, times = outage.last - outage.began, outage.repeats
            outage.log.log(
                outage.level, "%s: again %d times within %.0f s", outage.text, times, seconds
            )


outages = Outages()


def log_fault(log: logging.Logger, error: BaseException, text: str) -> None:
    """Log `text` with the kind of error; while the outage lasts, only count."""
    if outages.is_first(log, text):
        log.warning("%s (%s)", text, type(error).__name__)


class OutageFilter(logging.Filter):
    """Lets the first record of an outage pass without its traceback, and counts those that repeat it."""

    def __init__(self, known: Outages | None = None) -> None:
        super().__init__()
        self._known = known or outages

    def filter(self, record: logging.LogRecord) -> bool:
        error = _fault_of(record)
        if error is None or record.levelno < logging.WARNING:
            return True
        text = str(record.msg).split("\n", 1)[0][:200]
        shown = record.getMessage().split("\n", 1)[0]
        log = logging.getLogger(record.name)
        if not self._known.is_first(log, text, level=record.levelno, shown=shown):
            return False
        if record.exc_info:
            shown = f"{shown} ({type(error).__name__}: {error})"
        record.msg, record.args, record.exc_info, record.exc_text = shown, (), None, None
        return True


def _fault_of(record: logging.LogRecord) -> object | None:
    found = record.exc_info[1] if record.exc_info else None
    if found is not None:
        return found if is_fault(found) else None
    values = record.args if isinstance(record.args, tuple) else ()
    return next((value for value in values if is_fault(value)), None)
