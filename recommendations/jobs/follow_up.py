"""Brings the model's version after the local answer that a job of a rush ended with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connections
from django.db.models import Q
from django.utils import timezone

from .. import services
from ..models import Job
from ..models.jobs import State
from ..models.runs import Degraded, Trigger
from ..serving.parsing.stored_requests import read_request
from . import queue, status_store
from .execution import StoreAway
from .kinds import Done, JobKind
from .member_refresh import BATCH, CALLS_PER_MEMBER

#: Share of the places at the model that one worker process takes: two of them leave a quarter to members who wait.
SHARE_OF_PLACES = 3 / 8


class ModelNotHeard(Exception):
    """The model gave no version of the answer; it may in a moment."""

    retryable = True


def follow_up(job: Job) -> Done:
    """Make the model's version of this follow-up and, side by side, of those that wait behind it.

    Each is a job of its own with a lease and an outcome; their messages find them ended.
    """
    due = Q(not_before__isnull=True) | Q(not_before__lte=timezone.now())
    waiting = Job.objects.filter(due, name=JobKind.FOLLOW_UP, state=State.QUEUED)
    others = list(waiting.order_by("submitted_at").values_list("pk", flat=True)[:BATCH])
    calls = min(settings.MODEL_CALLS_IN_FLIGHT, int(settings.LLM_CONCURRENCY * SHARE_OF_PLACES))
    threads = calls // CALLS_PER_MEMBER - 1  # this thread works as well
    if threads < 1:
        for other in others:
            queue.run(other, work=_model_version)
        return _model_version(job)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(_run_in_thread, other) for other in others]
        done = _model_version(job)
        for future in running:
            future.result()
    return done


def _run_in_thread(job_uuid: UUID) -> None:
    try:
        queue.run(job_uuid, work=_model_version)
    finally:
        connections.close_all()  # the thread is the batch's, its connections would outlive it


def _model_version(job: Job) -> Done:
    """Answer the followed job's request anew; what is stored by then from the model is taken as it is.

    Its outcome stays the local answer. The member's latest answer becomes this one unless a newer job's stands there.
    """
    followed = Job.objects.filter(pk=job.arguments["job"]).first()
    if followed is None:
        return None, {"gone": True}
    request = replace(
        read_request(followed.arguments), trigger=Trigger.SCHEDULE, job_uuid=followed.pk
    )
    answer = services.recommend(request)
    if answer.degraded == Degraded.DATABASE:
        raise StoreAway
    # Without Redis there is no latest answer to replace.
    by_model = answer.degraded in ("", Degraded.NO_MODEL)
    if not by_model and job.attempt < len(queue.RETRY_DELAYS_S):
        raise ModelNotHeard(answer.degraded)
    body = orjson.dumps(answer.to_wire())
    result = {"run_id": answer.run_id, "source": answer.source, "degraded": answer.degraded}
    local_run = (followed.result or {}).get("run_id", "")
    latest = by_model and status_store.follow_latest(job.member_key, body, instead_of=local_run)
    # Kept where it became the latest: Redis may lose it.
    return (body if latest else None), result
