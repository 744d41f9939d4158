"""The sweep: sends jobs whose message was never sent or got lost, and frees jobs of dead workers."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from celery.signals import worker_ready
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS

from ..models import Job
from ..models.jobs import MOST_LOSSES, JobSource, State
from . import queue, workers
from .kinds import KINDS

log = logging.getLogger(__name__)
#: A queued job that no worker took for so long is sent again. Files can be lost with a killed worker,
#: what a RabbitMQ confirmed can't, so there it only stands for a broker that lost its disk.
LOST_AFTER = timedelta(minutes=30 if settings.RABBITMQ_URL else 2)
#: The backend's jobs live in its own queue; only one that is nowhere for so long is served from its row.
BACKEND_LOST_AFTER = timedelta(minutes=10)
SWEEP_BATCH = 500


def sweep(*, now: datetime) -> int:
    """Send what was never sent or got lost; free what dead workers held. Returns how many jobs it moved."""
    freed = sum(_free(job, now=now) for job in _abandoned(now=now)[:SWEEP_BATCH])
    sent = 0
    for job in _unsent(now=now)[:SWEEP_BATCH]:
        if not queue.publish(job):
            break
        sent += 1
    return freed + sent


def _unsent(*, now: datetime) -> QuerySet[Job]:
    ours = Job.objects.to_publish(now=now, lost_after=LOST_AFTER)
    theirs = Job.objects.to_publish(now=now, lost_after=BACKEND_LOST_AFTER)
    both = ours.exclude(source=JobSource.QUEUE) | theirs.filter(source=JobSource.QUEUE)
    return both.filter(name__in=list(KINDS)).order_by("submitted_at")


def _abandoned(*, now: datetime) -> QuerySet[Job]:
    """Jobs whose worker died. The broker delivers the backend's own again, unless it lost them."""
    ours = Job.objects.abandoned(now=now).exclude(source=JobSource.QUEUE)
    theirs = Job.objects.abandoned(now=now - BACKEND_LOST_AFTER).filter(source=JobSource.QUEUE)
    return ours | theirs


def _free(job: Job, *, now: datetime) -> int:
    if job.losses >= MOST_LOSSES:
        queue.bury(job)
        return 1
    return int(job.release_abandoned(now=now))


def sweep_now() -> None:
    """Sweep when a worker starts; what dead processes of this host held is freed before its lease expires."""
    try:
        now = timezone.now()
        running = Job.objects.filter(state=State.RUNNING, lease_until__gte=now)
        for job in running.exclude(source=JobSource.QUEUE)[:SWEEP_BATCH]:
            if workers.is_dead(job.worker):
                Job.objects.filter(pk=job.pk, fence=job.fence).update(lease_until=now)
        sweep(now=now + timedelta(milliseconds=1))
    except DATABASE_FAULTS as error:
        log.warning("The sweep has to wait for the database: %s", type(error).__name__)


@worker_ready.connect
def _sweep_at_start(**_: Any) -> None:
    sweep_now()
