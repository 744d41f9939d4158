"""Tells a container's health check that this process's main loop still turns."""

from __future__ import annotations

import time
from pathlib import Path

from django.conf import settings

#: Health checks allow a minute; touching more often than this tells them nothing.
PAUSE_S = 5.0
_last = 0.0


def note_alive() -> None:
    """Touch HEARTBEAT_FILE; call it from the main loop as often as it turns."""
    global _last
    now = time.monotonic()
    if settings.HEARTBEAT_FILE and now - _last >= PAUSE_S:
        _last = now
        Path(settings.HEARTBEAT_FILE).touch()
