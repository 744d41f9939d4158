"""The beat process: starts due schedule runs; every 5 s resends lost jobs, refills Redis, closes finished runs."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any

from celery.signals import beat_init
from django.db import connection
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from infrastructure import outages
from infrastructure.database import DATABASE_FAULTS
from infrastructure.heartbeats import note_alive

from .. import locks
from ..jobs import evaluations, redis_restore, schedule_progress, sweep
from ..jobs.kinds import TASK_PREFIX
from . import runs

log = logging.getLogger(__name__)
#: Redis must have its keys within 30 s of its return; a job whose worker died waits for the next round.
HOUSEKEEPING_EVERY_S = 5.0


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # untyped upstream
    """Beat on the rows of schedules. Any number may run at once: each moment of a schedule makes one run."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; returns the seconds until the next look, at most five."""
        wait_s: float = super().tick(*args, **kwargs)
        note_alive()
        return wait_s

    def apply_async(
        self, entry: ModelEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        if not entry.task.startswith(TASK_PREFIX):
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        entry = self.reserve(entry) if advance else entry
        try:
            runs.start_on_time(entry.model, now=timezone.now())
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()
        return None


# --- Housekeeping ---------------------------------------------------------------------------------
def keep_house(queues: sweep.EmptyQueues, *, now: datetime) -> None:
    """One round: send what was not sent, restore Redis, close finished runs, start missed ones."""
    sweep.sweep(now=now)
    sweep.resend_lost(queues, now=now)
    evaluations.follow()
    redis_restore.restore_redis(now=now)
    schedule_progress.close_finished(now=now)
    runs.make_up_for_missed(now=now)


def _keep_house_for_ever() -> None:
    pause, queues = threading.Event(), sweep.EmptyQueues()
    while not pause.wait(HOUSEKEEPING_EVERY_S):
        # The lease is left to expire: of several schedulers one does each round.
        try:
            if locks.claim("housekeeping", ttl_s=HOUSEKEEPING_EVERY_S - 0.5) is not None:
                keep_house(queues, now=timezone.now())
        except DATABASE_FAULTS as error:
            outages.log_fault(log, error, "Housekeeping waits for the database")
            connection.close()
        except Exception:
            log.exception("A round of housekeeping failed")  # the next one may well succeed


@beat_init.connect
def _start_housekeeping(**_: Any) -> None:
    threading.Thread(target=_keep_house_for_ever, name="housekeeping", daemon=True).start()
