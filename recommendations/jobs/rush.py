"""Tells whether so many recommendation jobs wait that none may hold a worker for the model, and notes what follows.

A job of a rush ends with the local answer. Its follow-up is a row of its own, written with the outcome: see follow_up.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from kombu import Connection
from kombu.exceptions import KombuError

from ..models import Job
from ..models.jobs import JobSource, State
from .backend_queue import rabbitmq_topology
from .kinds import NIGHTLY_QUEUE, JobKind

log = logging.getLogger(__name__)
#: How often a process that drains a rush counts again; without one every job that would ask the model counts first.
LOOK_EVERY_S = 1.0
#: A rush goes on for so long after it was last seen. Its last jobs, fewer than the threshold, have waited longest and
#: would else wait for the model too. Longer than a slow machine needs for as many jobs as the threshold.
LASTS_S = 10.0
#: The model is asked so long after the local answer: calls to it would take processor time from a rush that still drains.
FOLLOWS_AFTER = timedelta(seconds=LASTS_S)
#: Longest wait for the broker when it is asked for the length of its queue; then it is left alone for a while.
BROKER_TIMEOUT_S = 0.7
BROKER_PAUSE_S = 5.0


class Rush:
    """Whether there is a rush at one queue, as this process sees it."""

    def __init__(
        self, waiting: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting, self._clock = waiting, clock
        self._lock = threading.Lock()
        self._look_at = self._ends_at = float("-inf")

    def is_on(self) -> bool:
        """Whether more jobs wait than JOBS_RUSH_AT, or did LASTS_S ago."""
        if not settings.JOBS_RUSH_AT:
            return False
        with self._lock:
            now = self._clock()
            if now >= min(self._look_at, self._ends_at):
                self._look_at = now + LOOK_EVERY_S
                if self._waiting() > settings.JOBS_RUSH_AT:
                    self._ends_at = now + LASTS_S
            return self.was_seen

    @property
    def was_seen(self) -> bool:
        """Whether there is one as far as is known without counting again."""
        return self._clock() < self._ends_at


# --- How many wait --------------------------------------------------------------------------------
def waiting_rows() -> int:
    """Recommendation jobs of our own that no worker has taken; counts to just beyond the threshold."""
    due = Q(not_before__isnull=True) | Q(not_before__lte=timezone.now())
    waiting = Job.objects.filter(due, name=JobKind.SERVE, state=State.QUEUED)
    return waiting.exclude(source=JobSource.QUEUE)[: settings.JOBS_RUSH_AT + 1].count()


class BackendQueue:
    """The length of the backend's queue, asked for on a connection of this process's own.

    Messages there have no row before a worker takes them. What workers have fetched (two each) is not counted.
    """

    def __init__(self, connect: Callable[[], Connection] = current_app.connection_for_read) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._away_until = float("-inf")

    def waiting(self) -> int:
        """Messages that wait; 0 when the broker does not say in time."""
        if time.monotonic() < self._away_until:
            return 0
        if self._connection is None:
            self._connection = self._connect()
            waits = {
                "read_timeout": BROKER_TIMEOUT_S,
                "write_timeout": BROKER_TIMEOUT_S,
                "max_retries": 0,
            }
            options = self._connection.transport_options or {}
            self._connection.transport_options = dict(options) | waits
        try:
            channel = self._connection.default_channel
            return int(channel.queue_declare(rabbitmq_topology.QUEUE, passive=True).message_count)
        except (
            KombuError,
            OSError,
            *self._connection.connection_errors,
            *self._connection.channel_errors,
        ) as error:
            log.warning("The length of the backend's queue is unknown: %s", type(error).__name__)
            self._away_until = time.monotonic() + BROKER_PAUSE_S
            self._connection.collect(socket_timeout=BROKER_TIMEOUT_S)
            self._connection = None
            return 0


backend_queue = BackendQueue()
_at_backend = Rush(backend_queue.waiting)
_at_ours = Rush(waiting_rows)


def is_on(job: Job) -> bool:
    """Whether many wait behind this job for the same workers; each door has its own."""
    return _rush_of(job).is_on()


def was_seen(job: Job) -> bool:
    """The same as far as this process knows, without counting."""
    return _rush_of(job).was_seen


def _rush_of(job: Job) -> Rush:
    return _at_backend if job.source == JobSource.QUEUE else _at_ours


def forget() -> None:
    """Know of no rush, as a new process does."""
    global _at_backend, _at_ours
    _at_backend, _at_ours = Rush(backend_queue.waiting), Rush(waiting_rows)


# --- What follows ---------------------------------------------------------------------------------
def note_follow_up(job: Job, *, variant: str) -> None:
    """Have the model's version of a job's answer made; call it in the transaction of the job's outcome.

    One waits per member and kind of answer; the newest job is the one followed up. The sweep sends it when it is due.
    """
    key, arguments = f"follow_up:{job.member_key}:{variant}", {"job": str(job.pk)}
    now = timezone.now()
    row = {
        "queue": NIGHTLY_QUEUE,
        "source": JobSource.INTERNAL,
        "member_key": job.member_key,
        "submitted_at": now,
        "not_before": now + FOLLOWS_AFTER,
    }
    values = row | {"name": JobKind.FOLLOW_UP, "key": key, "arguments": arguments}
    found, is_new = Job.ask(**values)
    if is_new or Job.objects.filter(pk=found.pk, waiting_key=key).update(arguments=arguments):
        return
    Job.objects.create(
        **values
    )  # the one that waited was taken meanwhile, and follows up an older job
