"""Carries out one job: claims it, extends its lease, does the work, stores the outcome, then updates Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
from celery.exceptions import SoftTimeLimitExceeded
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)
from django.utils import timezone

from catalog import queries
from infrastructure.database import release_connections
from infrastructure.redis import gate

from .. import services
from ..models import Job, JobAnswer
from ..models.jobs import LEASE_S, Claim, Failure, JobSource, State
from ..models.runs import Trigger
from ..serving.parsing.stored_requests import read_request
from ..serving.request import Request
from . import rush, status_store, workers
from .backend_queue import rabbitmq_messages
from .kinds import Done, JobKind, WorkOf

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Said as soon as a worker has the job; the backend's own jobs begin there too.
PROGRESS_STARTED = 5
#: What MySQL's client says of a connection whose query was interrupted.
_OUT_OF_SYNC = 2014
#: How long a worker waits for a database that is away before it returns the job to the broker.
PATIENCE_S = 45.0


class StoreAway(Exception):
    """The database is away: no outcome can be stored, so the job has none yet."""


class JobFailed(Exception):
    """The job can't succeed, however often it is tried."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class MemberNotSeenYet(Exception):
    """The member is not in the replica that is read; a new one may be there in a moment."""

    retryable = True


class JobCanceled(Exception):
    """The job was cancelled while it ran."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    state: State | None  #: None: to be tried again
    failure: Failure | None = None
    #: The JSON of the answer, for jobs that make one.
    answer: bytes | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    #: Redis holds it already: the backend's own consumer wrote it there.
    told: bool = False


# --- Taking and holding ---------------------------------------------------------------------------
@transaction.atomic
def claim(
    job_uuid: UUID, *, attempt: int | None = None, first_seen: Mapping[str, Any] | None = None
) -> tuple[Claim, Job]:
    """Try to take a job. first_seen: the values of its row, should this be the first we hear of it.

    Raises Job.DoesNotExist when there is no such job and nothing to make it of.
    """
    if first_seen is not None:
        Job.objects.get_or_create(pk=job_uuid, defaults=dict(first_seen))
    job = Job.objects.select_for_update().get(pk=job_uuid)
    attempt = job.attempt if attempt is None else attempt
    now = timezone.now()
    verdict = job.decide(attempt=attempt, now=now, holder_is_dead=workers.is_dead(job.worker))
    if verdict is Claim.TAKEN:
        job.take(attempt=attempt, worker=workers.identity(), now=now)
    return verdict, job


@contextmanager
def held(job: Job) -> Iterator[None]:
    """Extend the job's lease from a thread while the block runs.

    A block that ends without an outcome gives the job back; otherwise it would wait for its lease to expire.
    """
    done = threading.Event()

    def extend() -> None:
        try:
            while not done.wait(LEASE_S / 4):
                try:
                    job.hold(now=timezone.now())
                except DatabaseError:
                    connection.close()  # the next try gets a new one; until then the lease runs
        finally:
            connection.close()

    thread = threading.Thread(target=extend, name=f"hold-{job.pk}", daemon=True)
    thread.start()
    try:
        yield
    except (StoreAway, SoftTimeLimitExceeded, DatabaseError, InterfaceError):
        release_connections()
        with suppress(DatabaseError, InterfaceError):
            job.give_back()
        raise
    finally:
        done.set()


def patiently(step: Callable[[], T]) -> T:
    """Do a step that needs the database, waiting for it while it is away. Raises StoreAway in the end."""
    deadline, pause_s = time.monotonic() + PATIENCE_S, 0.25
    while True:
        try:
            return step()
        except (OperationalError, InterfaceError) as error:
            close_old_connections()
            if time.monotonic() + pause_s > deadline:
                raise StoreAway from error
            time.sleep(pause_s)
            pause_s = min(4.0, pause_s * 2)


# --- Working --------------------------------------------------------------------------------------
def carried_out(job: Job, work: WorkOf, *, delivered: bool = False) -> Outcome:
    """Say that the job runs, do its work and say how it ended, unless the backend's own consumer did it.

    delivered: the backend's message has just come. One that failed there was sent again on purpose then.
    """
    elsewhere = _outcome_elsewhere(job)
    if elsewhere is not None and delivered and elsewhere.state == State.FAILED:
        elsewhere = None
    if elsewhere is not None:
        log.info("Job %s was served by the backend's own consumer", job.pk)
        return elsewhere
    announce(job)
    return outcome_of(job, work)


def _outcome_elsewhere(job: Job) -> Outcome | None:
    """How songs_be ended a job whose message it took from the queue that both of us consume.

    It writes to Redis only, so our row still waits. A job that staff asked for again is not looked up.
    """
    if job.source != JobSource.QUEUE or job.round > 0:
        return None
    job_id = str(job.pk)
    status = status_store.read_status(job_id)
    if status.get("status") == State.FAILED:
        code = status.get("error.code") or "MODEL_ERROR"
        failure = Failure(code=code, message=status.get("error.message") or code)
        return Outcome(state=State.FAILED, failure=failure, told=True)
    if status.get("status") != State.SUCCEEDED:
        return None
    answer = status_store.read_result(job_id)
    if answer is None:
        return None
    return Outcome(state=State.SUCCEEDED, answer=answer, result={"served_by": "backend"}, told=True)


def outcome_of(job: Job, work: WorkOf) -> Outcome:
    """Do the work and say how it ended. Raises StoreAway when the database went away under it."""
    try:
        answer, result = work(job)
    except (OperationalError, InterfaceError, StoreAway) as error:
        raise StoreAway from error
    except JobCanceled:
        return Outcome(state=State.CANCELED)
    except JobFailed as error:
        return Outcome(state=State.FAILED, failure=Failure(code=error.code, message=str(error)))
    except Exception as error:
        # The worker loop's boundary: whatever a job raises becomes its outcome.
        release_connections()  # one that was interrupted in a query can't be used again
        if is_transient(error):
            log.warning("Job %s will be tried again: %r", job.pk, error)
            reason = str(error) or "the work took too long"
            return Outcome(state=None, failure=Failure(code="GENERATION_TIMEOUT", message=reason))
        log.exception("Job %s failed", job.pk)
        # The wire tells the kind of error only; its text may name hosts or SQL.
        reason = f"internal error ({type(error).__name__})"
        return Outcome(state=State.FAILED, failure=Failure(code="MODEL_ERROR", message=reason))
    return Outcome(state=State.SUCCEEDED, answer=answer, result=result)


def is_transient(error: Exception) -> bool:
    """Whether the same work may succeed later: time-outs, connections, what calls itself retryable."""
    if isinstance(error, TimeoutError | ConnectionError) or was_interrupted(error):
        return True
    return bool(getattr(error, "retryable", False))


def was_interrupted(error: BaseException | None) -> bool:
    """Whether the time limit struck; in the middle of a query it shows as an error of the database driver."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SoftTimeLimitExceeded) or _OUT_OF_SYNC in error.args[:1]:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def store_outcome(job: Job, outcome: Outcome) -> bool:
    """Write how the job ended, the database first, then Redis. False when the job is no longer ours."""
    mine = end(job, outcome)
    if mine:
        tell(job, outcome)
    return mine


def end(job: Job, outcome: Outcome) -> bool:
    """Write how the job ended into the database. False when the job is no longer ours."""
    now = timezone.now()
    owed = gate.configured and not gate.up
    if outcome.state == State.SUCCEEDED:
        return _succeed(job, outcome, now=now, owed=owed)
    if outcome.state == State.CANCELED:
        return job.end_canceled(now=now)
    assert outcome.failure is not None
    return job.fail(outcome.failure, now=now, redis_pending=owed)


@transaction.atomic
def _succeed(job: Job, outcome: Outcome, *, now: datetime, owed: bool) -> bool:
    """One commit for the outcome and for what is to follow it: neither is there without the other."""
    mine = job.succeed(now=now, result=outcome.result, answer=outcome.answer, redis_pending=owed)
    if mine and (variant := outcome.result.get("follows")):
        rush.note_follow_up(job, variant=variant)
    return mine


def tell(job: Job, outcome: Outcome) -> None:
    """Tell Redis how the job ended; call it when that is committed."""
    if not outcome.told:
        announce(job, answer=outcome.answer)


# --- Telling Redis (contract §2) ------------------------------------------------------------------
def announces(job: Job) -> bool:
    """Whether callers outside follow this job under its id."""
    return job.name == JobKind.SERVE


def announce(job: Job, *, answer: bytes | None = None) -> None:
    """Bring `job:result`, `latest:recommendation` and last `job:status` up to the row."""
    if not announces(job) or not gate.configured:
        return
    job_id = str(job.pk)
    sent = True
    if job.state == State.SUCCEEDED:
        if answer is None:
            kept = JobAnswer.objects.filter(pk=job.pk).first()
            answer = None if kept is None else kept.json
        sent = answer is None or status_store.write_result(job_id, job.member_key, answer)
    sent = sent and status_store.write_status(job_id, status_fields(job))
    if not sent:
        Job.objects.filter(pk=job.pk).update(redis_pending=True)


def status_fields(job: Job, *, submitted: bool = False) -> dict[str, str | int]:
    """The hash `job:status`. submitted: with `submittedAt`, which songs_be has written for its own jobs."""
    fields: dict[str, str | int] = {"status": job.state, "progress": job.progress}
    moments = {"startedAt": job.started_at, "finishedAt": job.finished_at}
    if submitted or job.source == JobSource.API:
        # When the backend says it queued the job, else when we heard of it.
        asked_at = job.arguments.get("requested_at")
        moments["submittedAt"] = datetime.fromisoformat(asked_at) if asked_at else job.submitted_at
    fields |= {name: instant(moment) for name, moment in moments.items() if moment is not None}
    if job.state == State.FAILED:
        fields |= {
            "error.code": job.error_code,
            "error.message": job.error_message or job.error_code,
        }
    if job.note:
        fields["note"] = job.note
    return fields


def instant(moment: datetime) -> str:
    """An ISO-8601 instant as Java reads it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_progress(job: Job, percent: int) -> None:
    """Move the job's progress; the end of it is set with the outcome only."""
    job.progress = max(job.progress, min(99, int(percent)))
    if gate.up:
        status_store.write_status(str(job.pk), {"progress": job.progress})
    else:
        Job.objects.filter(pk=job.pk, state=State.RUNNING).update(progress=job.progress)


# --- The work of a recommendation job -------------------------------------------------------------
def serve(job: Job) -> Done:
    """Recommend for the job's member.

    Raises JobFailed when the backend's member does not exist, MemberNotSeenYet when that is not sure.
    """
    request = read_request(job.arguments)
    if job.source == JobSource.QUEUE and not queries.member_exists(int(request.member_key)):
        if job.attempt == 0 and queries.may_be_behind():
            raise MemberNotSeenYet
        raise JobFailed("MEMBER_NOT_FOUND", f"member {request.member_key} does not exist")
    request = replace(
        request,
        trigger=Trigger.QUEUE,
        job_uuid=job.pk,
        progress=lambda percent: _watch(job, percent),
        hurried=lambda: rush.is_on(job),
    )
    answer = services.recommend(request)
    if answer.degraded == "database":
        raise StoreAway  # made without knowing the member's likes
    if len(answer.favorite_song_ids) >= queries.MOST_FAVORITES:
        _note_left_out(job, request)
    result = {"run_id": answer.run_id, "source": answer.source, "degraded": answer.degraded}
    if answer.wants_refresh:
        result["follows"] = request.variant
    return orjson.dumps(answer.to_wire()), result


def _note_left_out(job: Job, request: Request) -> None:
    """Say on the job how many favourites the member has, when not all of them were used."""
    if request.favorite_ids is not None or not request.member_key.isdecimal():
        return
    total = queries.marks_of(int(request.member_key)).total
    if total > queries.MOST_FAVORITES:
        job.note = rabbitmq_messages.too_many_favorites(total)
        Job.objects.filter(pk=job.pk).update(note=job.note)


def _watch(job: Job, percent: int) -> None:
    """Between two steps of the work: move the progress, and stop if somebody cancelled the job.

    In a rush a job has none: it takes a tenth of a second, and the four looks a fifth of that.
    """
    if rush.was_seen(job):
        return
    show_progress(job, percent)
    if Job.objects.filter(pk=job.pk, cancel_requested=True).exists():
        raise JobCanceled
