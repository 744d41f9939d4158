"""Deletes rows that have outlived their retention, in small batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from infrastructure.database import delete_in_batches
from profiles import services as profiles
from prompts import services as prompts
from prompts.llm import budget

from ..models import DeadLetter, Job, Run, ScheduleRun, StoredAnswer
from ..models.jobs import ENDED, JobSource, State
from .kinds import TASK_PREFIX

DELETE_BATCH = 500


def purge(*, now: datetime) -> dict[str, int]:
    """Delete in small batches what is older than its setting says; returns how many rows of what."""
    jobs_until = now - timedelta(days=settings.RETENTION_JOBS_DAYS)
    runs_until = now - timedelta(days=settings.RETENTION_RUNS_DAYS)
    names = [task.removeprefix(TASK_PREFIX) for task in _frequent().values_list("task", flat=True)]
    succeeded = Job.objects.filter(state=State.SUCCEEDED, finished_at__lt=now - timedelta(days=1))
    frequent_jobs = succeeded.filter(name__in=names, source=JobSource.SCHEDULE)
    handled = DeadLetter.objects.exclude(state=DeadLetter.State.OPEN)
    return {
        "jobs": _delete(Job.objects.filter(state__in=ENDED, finished_at__lt=jobs_until))
        + _delete(frequent_jobs),
        "answers": _delete(StoredAnswer.objects.filter(expires_at__lt=now)),
        "runs": _delete(Run.objects.older_than(runs_until)),
        "schedule_runs": _delete(_old_schedule_runs(now)),
        "dead_letters": _delete(handled.filter(arrived_at__lt=jobs_until)),
        **prompts.purge(now=now),
        **budget.purge(now=now),
        **profiles.purge(
            now=now,
            feedback_days=settings.RETENTION_FEEDBACK_DAYS,
            impression_days=settings.RETENTION_FEEDBACK_DAYS,
            caller_days=settings.RETENTION_CALLERS_DAYS,
        ),
    }


def _frequent() -> QuerySet[PeriodicTask]:
    """Schedules that run every few minutes; one day of their runs is kept."""
    return PeriodicTask.objects.filter(interval__isnull=False)


def _old_schedule_runs(now: datetime) -> QuerySet[ScheduleRun]:
    """Runs older than a month; of schedules that run every few minutes all but a day's."""
    ended = ScheduleRun.objects.exclude(state__in=("queued", "running"))
    frequent = list(_frequent().values_list("name", flat=True))
    old_frequent = Q(schedule__in=frequent, slot__lt=now - timedelta(days=1))
    return ended.filter(Q(slot__lt=now - timedelta(days=30)) | old_frequent)


def _delete(rows: QuerySet[Any]) -> int:
    return delete_in_batches(rows, size=DELETE_BATCH)
