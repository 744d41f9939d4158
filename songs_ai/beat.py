"""Celery's scheduler over database rows, with a sign of life."""

from __future__ import annotations

from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from recommendations.heartbeat import note_alive


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # untyped upstream
    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; returns the seconds until the next look, at most five."""
        wait_s: float = super().tick(*args, **kwargs)
        note_alive()
        return wait_s
