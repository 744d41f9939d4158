"""Work outside requests: a row first, then the broker. What the broker loses is sent again from the row."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from celery import shared_task
from celery.app.task import Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_ready
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from kombu.exceptions import KombuError

from catalog import queries
from infrastructure.database import (
    DATABASE_FAULTS,
)
from prompts.llm import budget
from prompts.versions import releases, rollouts

from . import prompt_inputs
from .jobs import execution, like_changes, member_refresh, upkeep
from .jobs.execution import Done, Outcome, StoreAway, WorkOf
from .learning import context_multipliers, training
from .models import Job
from .models.jobs import MOST_LOSSES, Claim, Failure, JobSource, State
from .schedules import runs

log = logging.getLogger(__name__)
DEFAULT_QUEUE = settings.CELERY_TASK_DEFAULT_QUEUE
NIGHTLY_QUEUE = "songs_ai.nightly"
#: Pauses before the second, third and fourth attempt of a job of ours, before jitter.
RETRY_DELAYS_S = (5, 30, 120)
#: A queued job that no worker took for so long is sent again. Files can be lost with a killed worker,
#: what a RabbitMQ confirmed can't, so there it only stands for a broker that lost its disk.
LOST_AFTER = timedelta(minutes=30 if settings.RABBITMQ_URL else 2)
#: The backend's jobs live in its own queue; only one that is nowhere for so long is served from its row.
BACKEND_LOST_AFTER = timedelta(minutes=10)
SWEEP_BATCH = 500
#: Longest wait for the broker's confirmation on a connection that is open.
PUBLISH_TIMEOUT_S = 0.7


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A task of ours and how it is run."""

    name: str
    work: WorkOf
    queue: str
    task: Task


KINDS: dict[str, Kind] = {}


def job_task(*, queue: str = DEFAULT_QUEUE, limit_s: float) -> Callable[[WorkOf], WorkOf]:
    """Declare the work of a kind of job; `enqueue(name, …)` then asks for it.

    limit_s: after this the work is stopped and tried again later (workers with processes only).
    """

    def declare(work: WorkOf) -> WorkOf:
        name = work.__name__

        @shared_task(
            name=f"recommendations.tasks.{name}",
            soft_time_limit=limit_s,
            time_limit=limit_s + 30,
            acks_late=True,
            ignore_result=False,
        )
        def run(job_id: str) -> dict[str, Any]:
            return run_job(UUID(job_id))

        KINDS[name] = Kind(name=name, work=work, queue=queue, task=run)
        return work

    return declare


# --- Asking ---------------------------------------------------------------------------------------
def enqueue(
    name: str, key: str = "", *, row: Mapping[str, Any] | None = None, **arguments: Any
) -> Job:
    """Ask for work. Returns its job, which may be one that waits under the same key already.

    The row is written now; the message is sent when the transaction commits. A broker that is away
    costs the caller less than a second, and the job is sent when it is back.
    """
    kind = KINDS[name]
    values = {"queue": kind.queue, "submitted_at": timezone.now()} | dict(row or {})
    values.setdefault("uuid", uuid4())
    job, is_new = Job.ask(name=name, key=key, arguments=arguments, **values)
    if is_new:
        transaction.on_commit(lambda: publish(job))
    return job


class _Broker:
    """Remembers for a moment that the broker is away, so that callers do not all wait for it."""

    PAUSE_S = 3.0

    def __init__(self) -> None:
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        return time.monotonic() < self._away_until

    def note_failure(self) -> None:
        self._away_until = time.monotonic() + self.PAUSE_S


broker = _Broker()
BROKER_ERRORS = (KombuError, OSError)


def publish(job: Job) -> bool:
    """Send the job's message; False when it has to wait for the sweep."""
    if broker.away:
        return False
    kind = KINDS[job.name]
    try:
        kind.task.apply_async(
            (str(job.pk),),
            task_id=f"{job.pk}:{job.round}.{job.attempt}",
            queue=job.queue,
            timeout=PUBLISH_TIMEOUT_S,
            confirm_timeout=PUBLISH_TIMEOUT_S,
        )
    except BROKER_ERRORS as error:
        broker.note_failure()
        log.warning("The broker is away (%s); job %s waits", type(error).__name__, job.pk)
        return False
    Job.objects.filter(pk=job.pk).update(published_at=timezone.now())
    return True


# --- Running --------------------------------------------------------------------------------------
def run_job(job_uuid: UUID) -> dict[str, Any]:
    """What every task of ours does: take the job, do its work, store how it ended."""
    try:
        verdict, job = execution.patiently(lambda: execution.claim(job_uuid))
        if verdict is Claim.DEADLY:
            bury(job)
        if verdict is not Claim.TAKEN:
            return {"job": str(verdict)}
        with execution.held(job):
            execution.patiently(lambda: runs.job_started(job, now=timezone.now()))
            outcome = execution.carried_out(job, KINDS[job.name].work)
            execution.patiently(lambda: conclude(job, outcome))
    except (StoreAway, SoftTimeLimitExceeded, OperationalError, InterfaceError):
        # Nothing is lost: the sweep gives the job to somebody else.
        log.warning("Job %s has no outcome yet", job_uuid)
        return {"job": "unfinished"}
    except Job.DoesNotExist:
        log.info("Job %s was deleted before it ran", job_uuid)
        return {"job": "deleted"}
    return {"job": str(outcome.state or "retry"), **outcome.result}


def conclude(job: Job, outcome: Outcome) -> None:
    """Store the outcome of a job of ours, or have it tried again after a pause with jitter."""
    if outcome.state is None and job.attempt < len(RETRY_DELAYS_S):
        assert outcome.failure is not None
        delay_s = RETRY_DELAYS_S[job.attempt] * random.uniform(0.8, 1.2)
        job.wait_for_retry(outcome.failure, now=timezone.now(), delay_s=delay_s, published=False)
        execution.announce(job)
        return
    if outcome.state is None:
        outcome = Outcome(state=State.FAILED, failure=outcome.failure)
    execution.store_outcome(job, outcome)
    runs.job_ended(job, now=timezone.now())


LOST = Failure(code="WORKER_LOST", message=f"{MOST_LOSSES} workers died during this job")


def bury(job: Job, failure: Failure = LOST) -> None:
    """End a job that too many workers died of."""
    job.take(attempt=job.attempt, worker=execution.identity(), now=timezone.now())
    execution.store_outcome(job, Outcome(state=State.FAILED, failure=failure))
    runs.job_ended(job, now=timezone.now())


# --- Sweeping -------------------------------------------------------------------------------------
def sweep(*, now: datetime) -> int:
    """Send what was never sent or got lost; free what dead workers held. Returns how many jobs it moved."""
    freed = sum(_free(job, now=now) for job in _abandoned(now=now)[:SWEEP_BATCH])
    sent = 0
    for job in _unsent(now=now)[:SWEEP_BATCH]:
        if not publish(job):
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
        bury(job)
        return 1
    return int(job.release_abandoned(now=now))


def _free_dead_neighbours(*, now: datetime) -> None:
    """Free at once what processes of this host held that are gone; no lease has to run out for that."""
    running = Job.objects.filter(state=State.RUNNING, lease_until__gte=now)
    for job in running.exclude(source=JobSource.QUEUE)[:SWEEP_BATCH]:
        if execution.is_dead(job.worker):
            Job.objects.filter(pk=job.pk, fence=job.fence).update(lease_until=now)


def sweep_now() -> None:
    """Sweep from a signal or a thread, where nobody can act on a database that is away."""
    try:
        now = timezone.now()
        _free_dead_neighbours(now=now)
        sweep(now=now + timedelta(milliseconds=1))
    except DATABASE_FAULTS as error:
        log.warning("The sweep has to wait for the database: %s", type(error).__name__)


@worker_ready.connect
def _sweep_at_start(**_: Any) -> None:
    sweep_now()


# --- The work -------------------------------------------------------------------------------------
@job_task(limit_s=90)
def serve(job: Job) -> Done:
    """Recommend for one member and keep the answer under the job's id."""
    return execution.serve(job)


@job_task(limit_s=60)
def refresh_member(job: Job) -> Done:
    """Bring one member's answer up to date, with the model where it is to be asked."""
    return None, member_refresh.refreshed([job.arguments["member_key"]]).figures()


@job_task(limit_s=60)
def analyse(job: Job) -> Done:
    """Have the model read a member's taste anew, whatever is stored."""
    member_refresh.refresh(job.arguments["member_key"], anew=True)
    return None, {}


@job_task(limit_s=900)
def refresh_members(job: Job) -> Done:
    """Bring a batch of members up to date, many model calls side by side."""
    return None, member_refresh.refreshed(job.arguments["member_keys"]).figures()


@job_task(limit_s=900)
def nightly_regeneration(job: Job) -> Done:
    """Hand out all active members in batches; the batches do the work."""
    return None, fan_out(job)


@job_task(limit_s=300)
def warm_active(job: Job) -> Done:
    """Have an answer ready for the members most likely to open the app."""
    found = queries.recently_active_member_ids(int(job.arguments.get("limit", 500)))
    return None, {"members": hand_out(job, [str(n) for n in found], queue=DEFAULT_QUEUE)}


@job_task(limit_s=600)
def sync_likes(job: Job) -> Done:
    """Find whose likes and playlists changed behind our back, and refresh just those."""
    found = like_changes.look()
    many = len(found.members) > member_refresh.BATCH
    with transaction.atomic():  # what is noted as seen is asked for, or neither
        hand_out(job, found.members, queue=NIGHTLY_QUEUE if many else DEFAULT_QUEUE)
        found.note()
    return None, {"changed": len(found.members)}


@job_task(limit_s=900)
def purge_old(job: Job) -> Done:
    """Delete what has outlived its retention."""
    return None, upkeep.purge(now=timezone.now())


@job_task(queue=NIGHTLY_QUEUE, limit_s=3600)
def train_model(job: Job) -> Done:
    """Train beside the live model and activate what is not worse."""
    artifact = training.train(by="schedule")
    return None, {"version": artifact.version, "state": artifact.state}


@job_task(limit_s=900)
def learn_situations(job: Job) -> Done:
    """Move the multipliers of situations towards what members did."""
    learned = context_multipliers.learn(now=timezone.now())
    return None, {"events": learned.heard["events"] if learned else {}}


@job_task(limit_s=120)
def roll_over_budget(job: Job) -> Done:
    """Book what dead processes had set aside, so that a new day begins with its whole budget."""
    return None, {"booked": budget.sweep(now=timezone.now())}


@job_task(limit_s=120)
def keep_prompts(job: Job) -> Done:
    """Publish what was scheduled, pause rollouts that break their guardrails."""
    published = releases.publish_due(timezone.now())
    paused = rollouts.check_guardrails()
    return None, {"published": len(published), "paused": len(paused)}


@job_task(limit_s=600)
def count_later_likes(job: Job) -> Done:
    """Note on runs of two weeks ago which of their songs were liked since."""
    return None, {"runs": prompt_inputs.count_later_likes(now=timezone.now(), batch=20_000)}


@job_task(limit_s=60)
def watch_dead_letters(job: Job) -> Done:
    """Tell the operators about messages that nobody could serve."""
    return None, upkeep.watch_dead_letters(now=timezone.now())


def fan_out(job: Job) -> dict[str, Any]:
    """Hand out all active members page by page; a planner that died goes on behind its last page."""
    planned, after = 0, member_refresh.planned_upto(job.schedule_run)
    while members := queries.active_member_ids(after=after, limit=member_refresh.BATCH):
        after = members[-1]
        with transaction.atomic():
            # The run's row first: its jobs lock it for sharing, and a worker that begins one waits for it.
            member_refresh.note_planned(job.schedule_run, upto=after)
            hand_out(job, [str(n) for n in members], queue=NIGHTLY_QUEUE)
        planned += len(members)
    return {"planned": planned}


def hand_out(job: Job, member_keys: list[str], *, queue: str) -> int:
    """Ask for the refresh of many members in batches, as parts of the same run of the schedule."""
    for start in range(0, len(member_keys), member_refresh.BATCH):
        batch = member_keys[start : start + member_refresh.BATCH]
        row = {"queue": queue, "source": job.source, "schedule_run": job.schedule_run}
        enqueue("refresh_members", row=row, member_keys=batch)
    return len(member_keys)
