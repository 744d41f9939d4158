"""The run of a schedule, seen from its jobs: starts with the first, is closed with its figures after the last."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from infrastructure.email import notify_operators

from ..models import Job, ScheduleRun
from ..models.jobs import State

#: A run that has not ended by then no longer keeps the next one from starting.
RUN_EXPIRES_AFTER = timedelta(hours=20)
#: A run with a larger share of failures than this is reported to the operators.
FAILURES_TOLERATED = 0.05
OPEN = (ScheduleRun.State.QUEUED, ScheduleRun.State.RUNNING)


def job_started(job: Job, *, now: datetime) -> None:
    if job.schedule_run_id is None:
        return
    waiting = ScheduleRun.objects.filter(pk=job.schedule_run_id, state=ScheduleRun.State.QUEUED)
    if waiting.exists():  # an update would lock the row for every batch of the run
        waiting.update(state=ScheduleRun.State.RUNNING, started_at=now)


def job_ended(job: Job, *, now: datetime) -> None:
    """Close the run of the schedule when this was its last open job."""
    if job.schedule_run_id is not None:
        run = ScheduleRun.objects.filter(pk=job.schedule_run_id, state__in=OPEN).first()
        if run is not None and not run.jobs.open().exists():
            _close(run, now=now)


def close_finished(*, now: datetime) -> None:
    """Close runs whose last worker died between its job's end and theirs, and those whose lock expired."""
    for run in ScheduleRun.objects.filter(state__in=OPEN):
        if not run.jobs.exists():
            continue
        if not run.jobs.open().exists():
            _close(run, now=now)
        elif run.slot < now - RUN_EXPIRES_AFTER:
            run.say(_("끝나지 않은 채 유효 시간이 지났습니다."), now=now)
            run.end(ScheduleRun.State.FAILED, now=now)


def tally(run: ScheduleRun) -> dict[str, int]:
    """Figures of all jobs of a run added up, and how many of its jobs stand where."""
    figures: Counter[str] = Counter()
    for state, result in run.jobs.values_list("state", "result"):
        figures[f"jobs_{state}"] += 1
        figures.update({name: n for name, n in (result or {}).items() if isinstance(n, int)})
    return dict(figures)


def _close(run: ScheduleRun, *, now: datetime) -> None:
    figures = tally(run)
    failed_jobs = run.jobs.filter(state=State.FAILED)
    for job in failed_jobs[:20]:
        run.say(f"{job.name}: {job.error_code} {job.error_message}", now=now)
    bad = failure_share(figures) > FAILURES_TOLERATED or failed_jobs.exists()
    state = ScheduleRun.State.FAILED if bad else ScheduleRun.State.SUCCEEDED
    if run.end(state, now=now, **figures) and bad:
        text = ", ".join(f"{name} {count}" for name, count in sorted(figures.items()))
        subject = _("예약 '%(schedule)s' 실행에 실패가 많습니다") % {"schedule": run.schedule}
        notify_operators(subject, f"{run}\n{text}\n\n{run.log}")


def failure_share(figures: dict[str, int]) -> float:
    """Share of members that could not be refreshed; 0 when the run was about no members."""
    failed = figures.get("failed", 0)
    done = failed + sum(figures.get(name, 0) for name in ("model", "local", "renewed"))
    return failed / done if done else 0.0
