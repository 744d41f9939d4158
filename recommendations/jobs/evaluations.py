"""Gives every open evaluation of a prompt version a job, and closes those whose job failed."""

from __future__ import annotations

from uuid import UUID, uuid5

from prompts.evaluation import pending

from ..models import Job
from ..models.jobs import JobSource, State
from . import queue
from .kinds import JobKind

#: The job of an evaluation is found by the evaluation's id, so that it never gets two.
_NAMESPACE = UUID("6f3d1f0e-2c5b-4c7e-9a39-0d2b7d2f6c11")


def follow() -> None:
    """One round over the open evaluations."""
    for eval_run_id in pending.ids():
        job_uuid = uuid5(_NAMESPACE, str(eval_run_id))
        job = Job.objects.filter(pk=job_uuid).first()
        if job is None:
            row = {"uuid": job_uuid, "source": JobSource.STAFF}
            queue.enqueue(JobKind.RUN_EVALUATION, row=row, eval_run=eval_run_id)
        elif job.state in (State.FAILED, State.CANCELED):
            pending.give_up(eval_run_id, job.error_message or str(job.get_state_display()))
