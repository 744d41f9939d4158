"""The kinds of jobs as Celery tasks; what they do stands in `jobs/` and `learning/`."""

from __future__ import annotations

from django.utils import timezone

from prompts.evaluation import pending
from prompts.llm import budget
from prompts.versions import releases, rollouts

from . import prompt_inputs
from .jobs import (
    execution,
    follow_up,
    like_changes,
    member_refresh,
    retention,
    sweep,  # noqa: F401 - sweeps when a worker is ready
)
from .jobs.backend_queue import dead_letters
from .jobs.kinds import Done, JobKind
from .jobs.queue import job_task
from .learning import context_multipliers, training
from .models import Job


@job_task(JobKind.SERVE, limit_s=90)
def serve(job: Job) -> Done:
    """Recommend for one member and keep the answer under the job's id."""
    return execution.serve(job)


@job_task(JobKind.REFRESH_MEMBER, limit_s=60)
def refresh_member(job: Job) -> Done:
    """Bring one member's answer up to date, with the model if it is to be asked."""
    return None, member_refresh.refreshed([job.arguments["member_key"]]).figures()


@job_task(JobKind.ANALYSE, limit_s=60)
def analyse(job: Job) -> Done:
    """Have the model read a member's taste anew, whatever is stored."""
    member_refresh.refresh(job.arguments["member_key"], anew=True)
    return None, {}


@job_task(JobKind.REFRESH_MEMBERS, limit_s=900)
def refresh_members(job: Job) -> Done:
    """Bring a batch of members up to date, many model calls side by side."""
    return None, member_refresh.refreshed(job.arguments["member_keys"]).figures()


@job_task(JobKind.FOLLOW_UP, limit_s=300)
def follow_up_job(job: Job) -> Done:
    """Bring the model's version of answers that a rush made locally."""
    return follow_up.follow_up(job)


@job_task(JobKind.NIGHTLY_REGENERATION, limit_s=900)
def nightly_regeneration(job: Job) -> Done:
    """Hand out all active members in batches; the batches do the work."""
    return None, member_refresh.fan_out(job)


@job_task(JobKind.WARM_ACTIVE, limit_s=300)
def warm_active(job: Job) -> Done:
    """Have an answer ready for the members most likely to open the app."""
    return None, member_refresh.warm_up(job)


@job_task(JobKind.SYNC_LIKES, limit_s=600)
def sync_likes(job: Job) -> Done:
    """Find the members whose likes or playlists changed, and refresh those."""
    return None, like_changes.sync(job)


@job_task(JobKind.PURGE_OLD, limit_s=900)
def purge_old(job: Job) -> Done:
    """Delete what has outlived its retention."""
    return None, retention.purge(now=timezone.now())


@job_task(JobKind.TRAIN_MODEL, limit_s=3600)
def train_model(job: Job) -> Done:
    """Train beside the live model and activate what is not worse."""
    artifact = training.train(by="schedule")
    return None, {"version": artifact.version, "state": artifact.state}


@job_task(JobKind.LEARN_SITUATIONS, limit_s=900)
def learn_situations(job: Job) -> Done:
    """Move the multipliers of situations towards what members did."""
    learned = context_multipliers.learn(now=timezone.now())
    return None, {"events": learned.heard["events"] if learned else {}}


@job_task(JobKind.ROLL_OVER_BUDGET, limit_s=120)
def roll_over_budget(job: Job) -> Done:
    """Book what dead processes had reserved, so that a new day begins with its whole budget."""
    return None, {"booked": budget.sweep(now=timezone.now())}


@job_task(JobKind.KEEP_PROMPTS, limit_s=120)
def keep_prompts(job: Job) -> Done:
    """Publish what was scheduled, pause rollouts that break their guardrails."""
    published = releases.publish_due(timezone.now())
    return None, {"published": len(published), "paused": len(rollouts.check_guardrails())}


@job_task(JobKind.RUN_EVALUATION, limit_s=3000)
def run_evaluation(job: Job) -> Done:
    """Try a prompt version on its evaluation set."""
    return None, {"verdict": pending.perform(job.arguments["eval_run"])}


@job_task(JobKind.COUNT_LATER_LIKES, limit_s=600)
def count_later_likes(job: Job) -> Done:
    """Note on runs of two weeks ago which of their songs were liked since."""
    return None, {"runs": prompt_inputs.count_later_likes(now=timezone.now(), batch=20_000)}


@job_task(JobKind.WATCH_DEAD_LETTERS, limit_s=60)
def watch_dead_letters(job: Job) -> Done:
    """Report new dead letters to the operators."""
    return None, dead_letters.watch(now=timezone.now())
