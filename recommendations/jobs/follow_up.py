"""Brings the model's version after the local answer that a job of a rush ended with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.models import Q
from django.utils import timezone

from .. import services
from ..models import Job
from ..models.jobs import State
from ..models.runs import Trigger
from ..serving.gather import NO_MODEL
from . import execution, queue, status_store
from .execution import BodyReader, StoreAway
from .kinds import Done, JobKind, WorkOf
from .member_refresh import BATCH, CALLS_PER_MEMBER

#: Share of the places at the model that one worker process takes: two of them leave a quarter to members who wait.
SHARE_OF_PLACES = 3 / 8


class ModelNotHeard(Exception):
    """The model gave no version of the answer; it may in a moment."""

    retryable = True


def follow_up(job: Job, *, read_body: BodyReader) -> Done:
    """Make the model's version of this follow-up and, side by side, of those that wait behind it.

    Each is a job of its own with a lease and an outcome; their messages find them ended.
    """

    def one(other: Job) -> Done:
        return _model_version(other, read_body)

    others, threads = _waiting_behind(job), _at_a_time() - 1
    if threads < 1:
        for other in others:
            queue.run(other, work=one)
        return one(job)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(_run_in_thread, other, one) for other in others]
        done = one(job)
        for future in running:
            future.result()
    return done


def _at_a_time() -> int:
    calls = min(settings.MODEL_CALLS_IN_FLIGHT, int(settings.LLM_CONCURRENCY * SHARE_OF_PLACES))
    return max(1, calls // CALLS_PER_MEMBER)


def _waiting_behind(job: Job) -> list[UUID]:
    due = Q(not_before__isnull=True) | Q(not_before__lte=timezone.now())
    waiting = Job.objects.filter(due, name=JobKind.FOLLOW_UP, state=State.QUEUED)
    return list(waiting.order_by("submitted_at").values_list("pk", flat=True)[:BATCH])


def _run_in_thread(job_uuid: UUID, work: WorkOf) -> None:
    try:
        queue.run(job_uuid, work=work)
    finally:
        connections.close_all()  # the thread is the batch's, its connections would outlive it


def _model_version(job: Job, read_body: BodyReader) -> Done:
    """Answer the followed job's request anew; what is stored by then from the model is taken as it is.

    Its outcome stays the local answer. The member's latest answer becomes this one unless a newer job's stands there.
    """
    followed = Job.objects.filter(pk=job.arguments["job"]).first()
    if followed is None:
        return None, {"gone": True}
    request, reported = execution.request_of(followed, read_body)
    answer = services.recommend(replace(request, trigger=Trigger.SCHEDULE, job_uuid=followed.pk))
    if answer.degraded == "database":
        raise StoreAway
    by_model = answer.degraded in (
        "",
        NO_MODEL,
    )  # without Redis there is no latest answer to replace
    if not by_model and job.attempt < len(queue.RETRY_DELAYS_S):
        raise ModelNotHeard(answer.degraded)
    body = execution.wire(answer, reported)
    result = {"run_id": answer.run_id, "source": answer.source, "degraded": answer.degraded}
    local_run = (followed.result or {}).get("run_id", "")
    latest = by_model and status_store.follow_latest(job.member_key, body, instead_of=local_run)
    # Kept where it became the latest: Redis may lose it.
    return (body if latest else None), result
