"""The task by which evaluations were sent before they became jobs; messages under way may still name it."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="prompts.run_evaluation")
def run_evaluation(eval_run_id: int) -> str:
    """Do nothing: the evaluation is open in its row, and gets a job from there."""
    return "left to its job"
