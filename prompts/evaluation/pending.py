"""Evaluations that were started and have no verdict yet; a worker performs them, again if it died."""

from __future__ import annotations

from django.utils import timezone

from prompts.evaluation import runs
from prompts.models import EvalRun, EvalVerdict


def ids() -> list[int]:
    """Open evaluations that somebody asked for; the live version's own runs belong to one of these."""
    asked = EvalRun.objects.filter(verdict=EvalVerdict.RUNNING, created_by__isnull=False)
    return list(asked.order_by("pk").values_list("pk", flat=True))


def perform(eval_run_id: int) -> str:
    """Try the version on its set; returns the verdict. An evaluation that has one keeps it."""
    eval_run = EvalRun.objects.select_related(
        "version__template", "eval_set__template__live_release__version__template"
    ).get(pk=eval_run_id)
    if eval_run.verdict == EvalVerdict.RUNNING:
        runs.run(eval_run)
    return str(eval_run.verdict)


def give_up(eval_run_id: int, reason: str) -> None:
    """Close an open evaluation that can't be performed."""
    EvalRun.objects.filter(pk=eval_run_id, verdict=EvalVerdict.RUNNING).update(
        verdict=EvalVerdict.ERROR,
        findings=[{"name": "worker", "met": False, "text": reason[:200]}],
        finished_at=timezone.now(),
    )
