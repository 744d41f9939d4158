"""Starts the runs of schedules: one per due moment, none while the one before is still open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import orjson
from django.db import transaction
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from infrastructure.email import notify_operators

from ..jobs import queue, schedule_progress
from ..jobs.kinds import TASK_PREFIX
from ..models import ScheduleRun
from ..models.jobs import JobSource
from ..models.schedule_runs import ScheduleRunTrigger
from . import timing

#: A run that did not start within this of its time was missed.
MISSED_AFTER = timedelta(minutes=5)
#: A missed run noticed within this is started late; after that the next moment does.
MADE_UP_WITHIN = timedelta(hours=6)


def open_run(
    task: PeriodicTask,
    *,
    slot: datetime,
    now: datetime,
    trigger: ScheduleRunTrigger,
    requested_by: str = "",
) -> ScheduleRun | None:
    """Open the run for a slot; None when it is open already. An older run that has not ended makes it `skipped`."""
    run, is_new = ScheduleRun.objects.get_or_create(
        schedule=task.name,
        slot=slot,
        defaults={"trigger": trigger, "requested_by": requested_by},
    )
    if not is_new:
        return None
    earlier = ScheduleRun.objects.filter(
        schedule=task.name,
        state__in=schedule_progress.OPEN,
        pk__lt=run.pk,
        slot__gt=now - schedule_progress.RUN_EXPIRES_AFTER,  # older: its lock has expired
    ).first()
    if earlier is not None:
        text = _("#%(run)d(%(slot)s) 실행이 끝나지 않아 건너뜁니다.")
        run.say(text % {"run": earlier.pk, "slot": f"{earlier.slot:%m-%d %H:%M}"}, now=now)
        run.end(ScheduleRun.State.SKIPPED, now=now)
    return run


def start_on_time(task: PeriodicTask, *, now: datetime) -> ScheduleRun | None:
    """Start the run that is due; None when another scheduler has."""
    slot = timing.last_due(task, now)
    if slot is None:
        return None
    return start(task, slot=slot, now=now, trigger=ScheduleRun.Trigger.CLOCK)


@transaction.atomic
def start(
    task: PeriodicTask,
    *,
    slot: datetime,
    now: datetime,
    trigger: ScheduleRunTrigger,
    requested_by: str = "",
) -> ScheduleRun | None:
    """Open a run and ask for its work; both or neither."""
    run = open_run(task, slot=slot, now=now, trigger=trigger, requested_by=requested_by)
    if run is None or run.state != ScheduleRun.State.QUEUED:
        return run
    by_staff = trigger == ScheduleRun.Trigger.STAFF
    row = {
        "schedule_run": run,
        "source": JobSource.STAFF if by_staff else JobSource.SCHEDULE,
    }
    if task.queue:
        row["queue"] = task.queue
    name = task.task.removeprefix(TASK_PREFIX)
    queue.enqueue(name, row=row, **orjson.loads(task.kwargs or "{}"))
    return run


def make_up_for_missed(*, now: datetime) -> None:
    """Start late what no scheduler started in time; what is too late for that is noted as missed."""
    for task, slot in missed(now=now):
        if now - slot < MADE_UP_WITHIN:
            run = start(task, slot=slot, now=now, trigger=ScheduleRun.Trigger.CLOCK)
            if run is not None:
                minutes = int((now - slot).total_seconds() // 60)
                text = _("제시간에 시작되지 않아 %(minutes)d분 늦게 시작합니다.")
                run.say(text % {"minutes": minutes}, now=now)
            continue
        run, _created = ScheduleRun.objects.get_or_create(
            schedule=task.name,
            slot=slot,
            defaults={
                "trigger": ScheduleRun.Trigger.CLOCK,
                "state": ScheduleRun.State.MISSED,
                "finished_at": now,
            },
        )
        subject = _("예약 '%(schedule)s' 실행을 놓쳤습니다") % {"schedule": task.name}
        notify_operators(subject, str(run))


def missed(*, now: datetime) -> Iterator[tuple[PeriodicTask, datetime]]:
    """Enabled schedules of ours whose last moment passed without a run."""
    tasks = PeriodicTask.objects.filter(enabled=True, task__startswith=TASK_PREFIX)
    for task in tasks.select_related("crontab", "interval", "clocked"):
        slot = timing.last_due(task, now - MISSED_AFTER)
        if slot is None or slot < task.date_changed or task.interval is not None:
            continue  # a schedule that runs every few minutes makes up for itself
        if not ScheduleRun.objects.filter(schedule=task.name, slot__gte=slot).exists():
            yield task, slot
