"""Keeps the stores in order: what Redis forgot, what has outlived its retention, what nobody could serve."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from infrastructure.email import (
    notify_operators,
)
from infrastructure.redis import gate
from profiles import services as profiles
from prompts import services as prompts
from prompts.llm import budget

from ..models import DeadLetter, Job, JobAnswer, Run, ScheduleRun
from ..models.jobs import ENDED, JobSource, State
from ..schedules.runs import (
    TASK_PREFIX,
)
from ..serving.stored_answers import answer_store
from . import execution, status_store

log = logging.getLogger(__name__)
#: `job:*` keys live a day; older jobs are not told to Redis again.
JOB_KEYS_LIFE = timedelta(seconds=status_store.JOB_TTL_S)
DELETE_BATCH = 500


# --- Redis ----------------------------------------------------------------------------------------
def restore_redis(*, now: datetime) -> int:
    """Send to Redis what it lacks: everything after it forgot, else what was written while it was away."""
    if not gate.up:
        return 0
    return _restore_jobs(now=now) + answer_store.rebuild_redis(now=now)


def _restore_jobs(*, now: datetime) -> int:
    followed = Job.objects.filter(name="serve", submitted_at__gt=now - JOB_KEYS_LIFE)
    forgot = status_store.redis_lost_jobs()
    if not forgot:
        followed = followed.filter(redis_pending=True)
    sent = 0
    # Newest first: the first answer of a member that arrives is his latest.
    for job in followed.defer("message").order_by("-submitted_at").iterator(chunk_size=200):
        if not _restore_job(job):
            return sent
        sent += 1
    if forgot:
        status_store.mark_restored(now=now)
    return sent


def _restore_job(job: Job) -> bool:
    kept = JobAnswer.objects.filter(pk=job.pk).first() if job.state == State.SUCCEEDED else None
    done = status_store.restore(
        str(job.pk),
        job.member_key,
        execution.status_fields(job, submitted=True),
        answer=kept.json if kept is not None else None,
        ended=job.ended,
    )
    if done and job.redis_pending:
        Job.objects.filter(pk=job.pk).update(redis_pending=False)
    return done


# --- Retention ------------------------------------------------------------------------------------
def purge(*, now: datetime) -> dict[str, int]:
    """Delete in small batches what is older than its setting says; returns how many rows of what."""
    jobs_until = now - timedelta(days=settings.RETENTION_JOBS_DAYS)
    runs_until = now - timedelta(days=settings.RETENTION_RUNS_DAYS)
    handled = DeadLetter.objects.exclude(state=DeadLetter.State.OPEN)
    return {
        "jobs": _delete(Job.objects.filter(state__in=ENDED, finished_at__lt=jobs_until))
        + _delete(_dull_jobs(now)),
        "runs": _delete(Run.objects.older_than(runs_until)),
        "schedule_runs": _delete(_old_schedule_runs(now)),
        "dead_letters": _delete(handled.filter(arrived_at__lt=jobs_until)),
        **prompts.purge(now=now),
        **budget.purge(now=now),
        **profiles.purge(
            now=now,
            feedback_days=settings.RETENTION_FEEDBACK_DAYS,
            impression_days=settings.RETENTION_FEEDBACK_DAYS,
        ),
    }


def _often() -> QuerySet[PeriodicTask]:
    """Schedules that run every few minutes; a day of their runs tells enough."""
    return PeriodicTask.objects.filter(interval__isnull=False)


def _dull_jobs(now: datetime) -> QuerySet[Job]:
    names = [task.removeprefix(TASK_PREFIX) for task in _often().values_list("task", flat=True)]
    succeeded = Job.objects.filter(state=State.SUCCEEDED, finished_at__lt=now - timedelta(days=1))
    return succeeded.filter(name__in=names, source=JobSource.SCHEDULE)


def _old_schedule_runs(now: datetime) -> QuerySet[ScheduleRun]:
    """Runs older than a month; of schedules that run every few minutes all but a day's."""
    ended = ScheduleRun.objects.exclude(state__in=("queued", "running"))
    often = list(_often().values_list("name", flat=True))
    dull = Q(schedule__in=often, slot__lt=now - timedelta(days=1))
    return ended.filter(Q(slot__lt=now - timedelta(days=30)) | dull)


def _delete(rows: QuerySet[Any]) -> int:
    return sum(_batches(rows))


def _batches(rows: QuerySet[Any]) -> Iterator[int]:
    while keys := list(rows.order_by().values_list("pk", flat=True)[:DELETE_BATCH]):
        rows.model._default_manager.filter(pk__in=keys).delete()
        yield len(keys)


# --- Dead letters ---------------------------------------------------------------------------------
def watch_dead_letters(*, now: datetime) -> dict[str, int]:
    """Tell the operators about messages that came since the last look; returns open and new ones."""
    open_ = DeadLetter.objects.filter(state=DeadLetter.State.OPEN)
    new = list(open_.filter(told_at__isnull=True).order_by("arrived_at")[:100])
    if new:
        lines = [
            f"{letter.arrived_at:%m-%d %H:%M} {letter.code} {letter.job_uuid}" for letter in new
        ]
        notify_operators(f"처리하지 못한 메시지 {len(new)}건", "\n".join(lines))
        DeadLetter.objects.filter(pk__in=[letter.pk for letter in new]).update(told_at=now)
    return {"open": open_.count(), "new": len(new)}
