"""Touches a file that shows a container's health check that the main loop of this process still runs."""

from __future__ import annotations

import time
from pathlib import Path

from django.conf import settings

#: Minimum time between two touches; health checks allow a minute.
MIN_INTERVAL_S = 5.0
_last_touch = 0.0


def note_alive() -> None:
    """Touch HEARTBEAT_FILE; the main loop calls this in every round."""
    global _last_touch
    now = time.monotonic()
    if settings.HEARTBEAT_FILE and now - _last_touch >= MIN_INTERVAL_S:
        _last_touch = now
        Path(settings.HEARTBEAT_FILE).touch()
