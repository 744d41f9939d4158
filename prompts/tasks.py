"""Work of the studio outside of requests."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from prompts import evaluation, publishing, rollouts
from prompts.models import EvalRun


@shared_task(name="prompts.run_evaluation")
def run_evaluation(eval_run_id: int) -> str:
    """Try a version on its evaluation set."""
    waiting = EvalRun.objects.select_related(
        "version__template", "eval_set__template__live_release__version__template"
    )
    return str(evaluation.run(waiting.get(pk=eval_run_id)).verdict)


@shared_task(name="prompts.watch_releases")
def watch_releases() -> list[str]:
    """Every minute: publish what is due, pause rollouts whose candidate crossed a bound."""
    return [*publishing.publish_due(timezone.now()), *rollouts.check_guardrails()]
