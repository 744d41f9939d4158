"""The scheduler process: opens runs of schedules, and every few seconds sees that nothing lies around."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any

import orjson
from celery.signals import beat_init
from django.db import connection, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from infrastructure import email
from infrastructure.database import (
    DATABASE_FAULTS,
)
from infrastructure.heartbeats import note_alive

from .. import locks, tasks
from ..jobs import upkeep
from ..models import ScheduleRun
from ..models.jobs import JobSource
from . import runs

log = logging.getLogger(__name__)
#: Redis' keys have to be back within 30 s of its return, and a job whose worker died should not wait long.
HOUSEKEEPING_EVERY_S = 5.0


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # untyped upstream
    """Beat over the schedules' rows. Any number may run at once: each moment of a schedule makes one run."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; returns the seconds until the next look, at most five."""
        wait_s: float = super().tick(*args, **kwargs)
        note_alive()
        return wait_s

    def apply_async(
        self, entry: ModelEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        if not entry.task.startswith(runs.TASK_PREFIX):
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        entry = self.reserve(entry) if advance else entry
        try:
            start_on_time(entry.model, now=timezone.now())
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()
        return None


def start_on_time(task: PeriodicTask, *, now: datetime) -> ScheduleRun | None:
    """Start the run that is due; None when another scheduler has."""
    slot = runs.last_due(task, now)
    if slot is None:
        return None
    return start(task, slot=slot, now=now, trigger=ScheduleRun.Trigger.CLOCK)


@transaction.atomic
def start(
    task: PeriodicTask,
    *,
    slot: datetime,
    now: datetime,
    trigger: ScheduleRun.Trigger,
    requested_by: str = "",
) -> ScheduleRun | None:
    """Open a run and ask for its work; both or neither."""
    run = runs.open_run(task, slot=slot, now=now, trigger=trigger, requested_by=requested_by)
    if run is None or run.state != ScheduleRun.State.QUEUED:
        return run
    by_staff = trigger == ScheduleRun.Trigger.STAFF
    row = {
        "schedule_run": run,
        "source": JobSource.STAFF if by_staff else JobSource.SCHEDULE,
    }
    if task.queue:
        row["queue"] = task.queue
    name = task.task.removeprefix(runs.TASK_PREFIX)
    tasks.enqueue(name, row=row, **orjson.loads(task.kwargs or "{}"))
    return run


def make_up_for_missed(*, now: datetime) -> None:
    """Start late what no scheduler started in time; what is too late for that is noted as missed."""
    for task, slot in runs.missed(now=now):
        if now - slot < runs.MADE_UP_WITHIN:
            run = start(task, slot=slot, now=now, trigger=ScheduleRun.Trigger.CLOCK)
            if run is not None:
                minutes = int((now - slot).total_seconds() // 60)
                run.say(f"제시간에 시작되지 않아 {minutes}분 늦게 시작합니다.", now=now)
            continue
        run, _ = ScheduleRun.objects.get_or_create(
            schedule=task.name,
            slot=slot,
            defaults={
                "trigger": ScheduleRun.Trigger.CLOCK,
                "state": ScheduleRun.State.MISSED,
                "finished_at": now,
            },
        )
        email.notify_operators(f"예약 '{task.name}' 실행을 놓쳤습니다", str(run))


# --- Housekeeping ---------------------------------------------------------------------------------
def keep_house(*, now: datetime) -> None:
    """One round: send what was not sent, tell Redis what it lacks, close what has ended."""
    tasks.sweep(now=now)
    upkeep.restore_redis(now=now)
    runs.close_finished(now=now)
    make_up_for_missed(now=now)


def _keep_house_for_ever() -> None:
    pause = threading.Event()
    while not pause.wait(HOUSEKEEPING_EVERY_S):
        # The lease is left to run out: of several schedulers one does each round.
        try:
            if locks.claim("housekeeping", ttl_s=HOUSEKEEPING_EVERY_S - 0.5) is not None:
                keep_house(now=timezone.now())
        except DATABASE_FAULTS as error:
            log.warning("Housekeeping has to wait for the database: %s", type(error).__name__)
            connection.close()
        except Exception:
            log.exception("A round of housekeeping failed")  # the next one may well succeed


@beat_init.connect
def _start_housekeeping(**_: Any) -> None:
    threading.Thread(target=_keep_house_for_ever, name="housekeeping", daemon=True).start()
