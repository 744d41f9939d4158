"""Work of the studio outside of requests."""

from __future__ import annotations

from celery import shared_task

from prompts.evaluation import runs
from prompts.models import EvalRun


@shared_task(name="prompts.run_evaluation")
def run_evaluation(eval_run_id: int) -> str:
    """Try a version on its evaluation set."""
    waiting = EvalRun.objects.select_related(
        "version__template", "eval_set__template__live_release__version__template"
    )
    return str(runs.run(waiting.get(pk=eval_run_id)).verdict)
