"""The sweep: sends jobs whose message was never sent or got lost, and frees jobs of dead workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from celery.signals import worker_ready
from django.db.models import Q, QuerySet
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS

from ..models import Job
from ..models.jobs import MOST_LOSSES, JobSource, State
from . import queue, workers
from .broker import BrokerUnavailable, broker
from .kinds import JobKind

log = logging.getLogger(__name__)
#: A queued job is sent again this long after it was sent, if its queue is empty and no worker claims it …
RESEND_AFTER = timedelta(minutes=1)
#: … for so long: a worker that holds the message and waits for the database tries again every four seconds.
EMPTY_FOR_S = 12.0
#: Whatever its queue holds, a job that no worker took for so long is sent again.
LOST_AFTER = timedelta(minutes=30)
#: A job is left to the process that added it for so long.
JUST_ADDED = timedelta(seconds=3)
#: Longest wait for the broker's answer to how many messages a queue holds.
LOOK_TIMEOUT_S = 2.0
#: The backend's jobs live in its own queue; only one that is nowhere for so long is served from its row.
BACKEND_LOST_AFTER = timedelta(minutes=10)
SWEEP_BATCH = 500


def sweep(*, now: datetime) -> int:
    """Send what was never sent or got lost; free what dead workers held. Returns how many jobs it moved."""
    # Jobs whose worker died. The broker delivers the backend's own again, unless it lost them.
    ours = Job.objects.abandoned(now=now).exclude(source=JobSource.QUEUE)
    theirs = Job.objects.abandoned(now=now - BACKEND_LOST_AFTER).filter(source=JobSource.QUEUE)
    freed = sum(_free(job, now=now) for job in (ours | theirs)[:SWEEP_BATCH])
    return freed + _publish_all(_unsent(now=now))


class EmptyQueues:
    """Which queues have been empty for a while, as this process saw them."""

    def __init__(self, *, empty_for_s: float = EMPTY_FOR_S) -> None:
        self._empty_for_s = empty_for_s
        self._since: dict[str, float] = {}

    def among(self, names: Collection[str]) -> list[str]:
        """Those of the queues that have been empty at every look for long enough."""
        self._since = {name: at for name, at in self._since.items() if name in names}
        return [name for name in names if self._is_empty(name)]

    def _is_empty(self, name: str) -> bool:
        try:
            waiting = broker.messages_ready(name, timeout_s=LOOK_TIMEOUT_S)
        except BrokerUnavailable:
            waiting = -1
        if waiting != 0:
            self._since.pop(name, None)
            return False
        now_s = time.monotonic()
        return now_s - self._since.setdefault(name, now_s) >= self._empty_for_s


def resend_lost(queues: EmptyQueues, *, now: datetime) -> int:
    """Send jobs again whose message is in no queue and with no worker; returns how many were sent."""
    suspects = (
        Job.objects.to_publish(now=now, lost_after=RESEND_AFTER)
        .filter(published_at__isnull=False, name__in=list(JobKind))
        .exclude(source=JobSource.QUEUE)
    )
    names = set(suspects.order_by().values_list("queue", flat=True).distinct())
    empty = queues.among(names)
    return _publish_all(suspects.filter(queue__in=empty)) if empty else 0


def _publish_all(jobs: QuerySet[Job]) -> int:
    sent = 0
    for job in jobs.order_by("submitted_at")[:SWEEP_BATCH]:
        if not queue.publish(job):
            break
        sent += 1
    return sent


def _unsent(*, now: datetime) -> QuerySet[Job]:
    ours = Job.objects.to_publish(now=now, lost_after=LOST_AFTER)
    theirs = Job.objects.to_publish(now=now, lost_after=BACKEND_LOST_AFTER)
    both = ours.exclude(source=JobSource.QUEUE) | theirs.filter(source=JobSource.QUEUE)
    # Whoever adds many jobs at once is still sending them when the rows can be seen.
    fresh = Q(published_at__isnull=True, started_at__isnull=True)
    being_sent = fresh & Q(submitted_at__gt=now - JUST_ADDED)
    return both.filter(name__in=list(JobKind)).exclude(being_sent)


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
