"""Jobs over HTTP, for callers without AMQP: create, read, cancel."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from ..errors import JobHasEnded, JobNotFound, KeyUsedOtherwise
from ..jobs import execution, queue, status_store
from ..jobs.kinds import JobKind
from ..locks import single_flight
from ..models import Job, JobAnswer
from ..models.jobs import JobSource, State
from ..serving.parsing.request_json import request_to_json
from ..serving.request import Request
from . import openapi_examples
from .base import ApiView
from .error_serializers import ProblemOutput
from .job_serializers import JobOutput
from .recommend_serializers import RecommendInput

LONGEST_KEY = 120
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


# --- What callers read ----------------------------------------------------------------------------
def _payload(job: Job) -> dict[str, Any]:
    failed = job.state == State.FAILED
    return {
        "job_id": str(job.pk),
        "status": job.state,
        "progress": _progress(job),
        "member_id": job.member_key,
        "attempt": job.attempt,
        "submitted_at": execution.instant(job.submitted_at),
        "started_at": job.started_at and execution.instant(job.started_at),
        "finished_at": job.finished_at and execution.instant(job.finished_at),
        "cancel_requested": job.cancel_requested,
        "note": job.note,
        "error": {"code": job.error_code, "message": job.error_message} if failed else None,
        "result": _result(job),
    }


def _progress(job: Job) -> int:
    """While the job runs, Redis is ahead of the row."""
    if job.state != State.RUNNING:
        return job.progress
    shown = status_store.read_status(str(job.pk)).get("progress", "")
    return int(shown) if shown.isdecimal() else job.progress


def _result(job: Job) -> Any:
    if job.state != State.SUCCEEDED:
        return None
    stored = JobAnswer.objects.filter(pk=job.pk).first()
    return None if stored is None else orjson.loads(stored.json)


# --- Creating -------------------------------------------------------------------------------------
_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key and body within a day give the same job.",
)
_PROBLEMS = {
    404: OpenApiResponse(ProblemOutput, description="There is no such job."),
    409: OpenApiResponse(ProblemOutput, description="It has ended."),
}


class JobsView(ApiView):
    @extend_schema(
        operation_id="recommend_jobs_create",
        summary="Compute a recommendation in the background",
        description=(
            "The body of POST /recommend. 202 with the job and its address in Location. "
            "At most 3 jobs a minute and 50 a day per member (settings); beyond that 429 with Retry-After."
        ),
        request=RecommendInput,
        parameters=[_KEY],
        responses={
            202: OpenApiResponse(JobOutput, examples=[openapi_examples.JOB]),
            409: OpenApiResponse(ProblemOutput, description="The key was used with another body."),
            429: OpenApiResponse(ProblemOutput, description="Too many jobs; see Retry-After."),
        },
        examples=openapi_examples.RECOMMEND,
        tags=["jobs"],
    )
    def post(self, http: HttpRequest) -> Response:
        request = self.valid(RecommendInput, http.data).request()
        with single_flight(f"jobs:{request.member_key}", wait_s=2, ttl_s=5):
            job = _created_before(http, request.member_key) or _create(http, request)
        return Response(
            _payload(job), status=202, headers={"Location": f"/recommend/jobs/{job.pk}"}
        )


def _idempotency_key(http: HttpRequest, member_key: str) -> str | None:
    given = http.META.get("HTTP_IDEMPOTENCY_KEY", "").strip()
    if not given:
        return None
    if len(given) > LONGEST_KEY or not given.isprintable():
        message = f"Must be printable text of at most {LONGEST_KEY} characters."
        raise serializers.ValidationError({"Idempotency-Key": message})
    return f"{member_key}:{given}"


def _digest(http: HttpRequest) -> str:
    body = orjson.dumps(http.data, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _created_before(http: HttpRequest, member_key: str) -> Job | None:
    key = _idempotency_key(http, member_key)
    job = Job.objects.filter(idempotency_key=key).first() if key else None
    if job is None:
        return None
    if job.submitted_at < timezone.now() - _DAY:
        Job.objects.filter(pk=job.pk).update(idempotency_key=None)
        return None
    if job.arguments["digest"] != _digest(http):
        raise KeyUsedOtherwise
    return job


def _create(http: HttpRequest, request: Request) -> Job:
    now, member_key = timezone.now(), request.member_key
    wait_s = seconds_to_wait(member_key, now=now)
    if wait_s > 0:
        raise Throttled(wait=wait_s, detail="Too many jobs were created for this member.")
    row = {
        "source": JobSource.API,
        "member_key": member_key,
        "submitted_at": now,
        "idempotency_key": _idempotency_key(http, member_key),
        "trace_id": http.META.get("HTTP_X_REQUEST_ID", "")[:64],
    }
    job = queue.enqueue(
        JobKind.SERVE, row=row, request=request_to_json(request), digest=_digest(http)
    )
    execution.announce(job)
    return job


def seconds_to_wait(member_key: str, *, now: datetime) -> float:
    """Until another job may be created for this member; 0 when one may be now."""
    created = Job.objects.filter(
        name="serve", source=JobSource.API, member_key=member_key, submitted_at__gt=now - _DAY
    )
    moments = list(
        created.order_by("-submitted_at").values_list("submitted_at", flat=True)[
            : settings.JOBS_PER_DAY
        ]
    )
    wait_s = 0.0
    for most, window in ((settings.JOBS_PER_MINUTE, _MINUTE), (settings.JOBS_PER_DAY, _DAY)):
        if len(moments) >= most:
            # One more may be created when the `most`-newest has left the window.
            wait_s = max(wait_s, (moments[most - 1] + window - now).total_seconds())
    return wait_s


# --- Reading and cancelling -----------------------------------------------------------------------
class JobView(ApiView):
    @extend_schema(
        operation_id="recommend_jobs_retrieve",
        summary="The state of a job, with its result",
        responses={
            200: OpenApiResponse(JobOutput, examples=[openapi_examples.JOB]),
            404: _PROBLEMS[404],
        },
        tags=["jobs"],
    )
    def get(self, http: HttpRequest, job_id: UUID) -> Response:
        return Response(_payload(_job(job_id)))

    @extend_schema(
        operation_id="recommend_jobs_cancel",
        summary="Cancel a job: a waiting one at once, a running one at its next step",
        responses={200: OpenApiResponse(JobOutput, examples=[openapi_examples.JOB]), **_PROBLEMS},
        tags=["jobs"],
    )
    def delete(self, http: HttpRequest, job_id: UUID) -> Response:
        job = _job(job_id)
        if not job.cancel(now=timezone.now()):
            raise JobHasEnded
        job.refresh_from_db()
        execution.announce(job)
        return Response(_payload(job))


def _job(job_id: UUID) -> Job:
    job = Job.objects.filter(pk=job_id, name="serve").first()
    if job is None:
        raise JobNotFound
    return job
