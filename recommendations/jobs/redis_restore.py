"""Writes to Redis what it lacks: everything after it lost its data, else what was missed while it was away."""

from __future__ import annotations

from datetime import datetime, timedelta

from infrastructure.redis import gate

from ..models import Job, JobAnswer
from ..models.jobs import State
from ..serving.stored_answers import answer_store
from . import execution, status_store
from .kinds import JobKind

#: `job:*` keys live a day; older jobs are not written to Redis again.
JOB_KEYS_LIFE = timedelta(seconds=status_store.JOB_TTL_S)


def restore_redis(*, now: datetime) -> int:
    """Restore jobs and answers; returns how many were written."""
    if not gate.up:
        return 0
    return _restore_jobs(now=now) + answer_store.rebuild_redis(now=now)


def _restore_jobs(*, now: datetime) -> int:
    followed = Job.objects.filter(
        name__in=(JobKind.SERVE, JobKind.FOLLOW_UP), submitted_at__gt=now - JOB_KEYS_LIFE
    )
    forgot = status_store.redis_lost_jobs()
    if not forgot:
        followed = followed.filter(redis_pending=True)
    sent = 0
    # Newest first: the first answer of a member that arrives is their latest.
    for job in followed.defer("message").order_by("-submitted_at").iterator(chunk_size=200):
        if not _restore_job(job):
            return sent
        sent += 1
    if forgot:
        status_store.mark_restored(now=now)
    return sent


def _restore_job(job: Job) -> bool:
    kept = JobAnswer.objects.filter(pk=job.pk).first() if job.state == State.SUCCEEDED else None
    answer = kept.json if kept is not None else None
    if job.name == JobKind.FOLLOW_UP:
        done = answer is None or status_store.restore_latest(job.member_key, answer)
    else:
        done = status_store.restore(
            str(job.pk),
            job.member_key,
            execution.status_fields(job, submitted=True),
            answer=answer,
            ended=job.ended,
        )
    if done and job.redis_pending:
        Job.objects.filter(pk=job.pk).update(redis_pending=False)
    return done
