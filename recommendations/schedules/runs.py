"""Decides when scheduled work is due, keeps a row per run, and sees to it that no run overlaps the one before."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from django.db.models import Q
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from infrastructure.email import notify_operators

from ..models import Job, ScheduleRun
from ..models.jobs import State

log = logging.getLogger(__name__)
TASK_PREFIX = "recommendations.tasks."
#: A run that has not ended by then no longer keeps the next one from starting.
LOCK_LIFE = timedelta(hours=20)
#: A run that did not start within this of its time was missed …
MISSED_AFTER = timedelta(minutes=5)
#: … and is made up for when that is noticed so soon; later the next one does.
MADE_UP_WITHIN = timedelta(hours=6)
#: More failures than this in one run are told to the operators.
FAILURES_TOLERATED = 0.05


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule as it is installed; afterwards staff own it."""

    name: str
    task: str
    description: str
    #: minute hour day-of-month month day-of-week in Asia/Seoul; or `every_s`.
    cron: str = ""
    every_s: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)


SCHEDULES = (
    Schedule(
        name="야간 재생성",
        task="nightly_regeneration",
        cron="0 3 * * *",
        description="모든 활성 회원의 추천을 다시 만듭니다. 바뀐 것이 없는 회원은 유효 기간만 늘립니다.",
    ),
    Schedule(
        name="모델 학습",
        task="train_model",
        cron="0 2 * * *",
        description="새 좋아요로 모델을 학습하고, 지금 모델보다 나쁘지 않으면 적용합니다.",
    ),
    Schedule(
        name="상황 학습",
        task="learn_situations",
        cron="15 2 * * *",
        description="언제 무엇을 할 때 어떤 곡을 불렀는지 세어 상황별 배수를 다듬습니다.",
    ),
    Schedule(
        name="좋아요 변경 감지",
        task="sync_likes",
        every_s=60,
        description="좋아요와 재생목록이 바뀐 회원을 찾아 그 회원의 추천만 다시 만듭니다.",
    ),
    Schedule(
        name="캐시 예열",
        task="warm_active",
        cron="30 6 * * *",
        arguments={"limit": 500},
        description="오늘 접속할 것으로 보이는 회원의 추천을 미리 준비합니다.",
    ),
    Schedule(
        name="예산 이월",
        task="roll_over_budget",
        cron="5 0 * * *",
        description="끝나지 않은 예약 비용을 정리해 새 날의 예산을 온전히 시작합니다.",
    ),
    Schedule(
        name="프롬프트 예약 배포",
        task="keep_prompts",
        every_s=60,
        description="예약된 프롬프트를 배포하고, 기준을 벗어난 롤아웃을 멈춥니다.",
    ),
    Schedule(
        name="추천 성과 집계",
        task="count_later_likes",
        cron="0 5 * * *",
        description="2주 전 추천한 곡 가운데 그 뒤 좋아요를 받은 곡을 셉니다.",
    ),
    Schedule(
        name="보관 기간 정리",
        task="purge_old",
        cron="30 4 * * *",
        description="보관 기간이 지난 실행, 작업, 기록을 지웁니다.",
    ),
    Schedule(
        name="DLQ 감시",
        task="watch_dead_letters",
        every_s=300,
        description="처리하지 못한 메시지가 새로 생기면 운영자에게 알립니다.",
    ),
)


def install(schedules: Iterable[Schedule] = SCHEDULES) -> list[str]:
    """Add the schedules that are missing; what is there stays as staff left it. Returns the names added."""
    return [schedule.name for schedule in schedules if _install_one(schedule)]


def _install_one(schedule: Schedule) -> bool:
    task = TASK_PREFIX + schedule.task
    # Known by its task as well: staff may have renamed it.
    if PeriodicTask.objects.filter(Q(task=task) | Q(name=schedule.name)).exists():
        return False
    PeriodicTask.objects.create(
        name=schedule.name,
        task=task,
        description=schedule.description,
        kwargs=_json(schedule.arguments),
        **timing(cron=schedule.cron, every_s=schedule.every_s),
    )
    return True


def _json(arguments: dict[str, Any]) -> str:
    return orjson.dumps(arguments).decode()


def timing(*, cron: str = "", every_s: int = 0) -> dict[str, Any]:
    """The row that says when, under the name that a PeriodicTask has for it; {} when neither is given."""
    if every_s:
        every, _ = IntervalSchedule.objects.get_or_create(
            every=every_s, period=IntervalSchedule.SECONDS
        )
        return {"interval": every}
    if not cron:
        return {}
    minute, hour, day, month, weekday = cron.split()
    crontab, _ = CrontabSchedule.objects.get_or_create(
        minute=minute,
        hour=hour,
        day_of_month=day,
        month_of_year=month,
        day_of_week=weekday,
        timezone="Asia/Seoul",
    )
    return {"crontab": crontab}


# --- When -----------------------------------------------------------------------------------------
def last_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """The newest moment up to `now` that the schedule names; every scheduler comes to the same one."""
    if task.interval is not None:
        every_s = task.interval.schedule.run_every.total_seconds()
        return datetime.fromtimestamp(now.timestamp() // every_s * every_s, tz=UTC)
    if task.crontab is not None:
        return next((at for at in _moments(task.crontab, now, step=-1) if at <= now), None)
    if task.clocked is not None:
        return task.clocked.clocked_time if task.clocked.clocked_time <= now else None
    return now.replace(second=0, microsecond=0)


def next_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """The first moment after `now`; None when there is none or it is not known beforehand."""
    if not task.enabled:
        return None
    if task.interval is not None:
        every_s = task.interval.schedule.run_every.total_seconds()
        return datetime.fromtimestamp((now.timestamp() // every_s + 1) * every_s, tz=UTC)
    if task.crontab is not None:
        return next((at for at in _moments(task.crontab, now, step=1) if at > now), None)
    if task.clocked is not None and task.clocked.clocked_time > now:
        return task.clocked.clocked_time
    return None


def _moments(crontab: CrontabSchedule, start: datetime, *, step: int) -> Iterator[datetime]:
    """The schedule's moments from the day of `start` on, forwards (1) or backwards (-1), for four years."""
    rule, zone = crontab.schedule, ZoneInfo(str(crontab.timezone))
    day = start.astimezone(zone).date()
    hours, minutes = sorted(rule.hour), sorted(rule.minute)
    for number in range(4 * 366):
        that_day = day + timedelta(days=step * number)
        if not _is_day(rule, that_day):
            continue
        times = [(hour, minute) for hour in hours for minute in minutes]
        for hour, minute in times[::step]:
            yield datetime(that_day.year, that_day.month, that_day.day, hour, minute, tzinfo=zone)


def _is_day(rule: Any, day: date) -> bool:
    return (
        day.month in rule.month_of_year
        and day.day in rule.day_of_month
        and day.isoweekday() % 7 in rule.day_of_week
    )


# --- Runs -----------------------------------------------------------------------------------------
def open_run(
    task: PeriodicTask,
    *,
    slot: datetime,
    now: datetime,
    trigger: ScheduleRun.Trigger,
    requested_by: str = "",
) -> ScheduleRun | None:
    """Open the run for a slot; None when somebody opened it already. A run in the way makes it `skipped`."""
    run, is_new = ScheduleRun.objects.get_or_create(
        schedule=task.name,
        slot=slot,
        defaults={"trigger": trigger, "requested_by": requested_by},
    )
    if not is_new:
        return None
    earlier = _in_the_way(run, now=now)
    if earlier is not None:
        run.say(
            f"#{earlier.pk}({earlier.slot:%m-%d %H:%M}) 실행이 끝나지 않아 건너뜁니다.", now=now
        )
        run.end(ScheduleRun.State.SKIPPED, now=now)
    return run


def _in_the_way(run: ScheduleRun, *, now: datetime) -> ScheduleRun | None:
    """An older run of the same schedule that has not ended; its lock expires."""
    others = ScheduleRun.objects.filter(
        schedule=run.schedule, state__in=_OPEN, pk__lt=run.pk, slot__gt=now - LOCK_LIFE
    )
    return others.first()


_OPEN = (ScheduleRun.State.QUEUED, ScheduleRun.State.RUNNING)


def job_started(job: Job, *, now: datetime) -> None:
    if job.schedule_run_id is None:
        return
    waiting = ScheduleRun.objects.filter(pk=job.schedule_run_id, state=ScheduleRun.State.QUEUED)
    if waiting.exists():  # an update would lock the row for every batch of the run
        waiting.update(state=ScheduleRun.State.RUNNING, started_at=now)


def job_ended(job: Job, *, now: datetime) -> None:
    """Close the run of the schedule when this was its last open job."""
    if job.schedule_run_id is not None:
        run = ScheduleRun.objects.filter(pk=job.schedule_run_id, state__in=_OPEN).first()
        if run is not None and not run.jobs.open().exists():
            _close(run, now=now)


def close_finished(*, now: datetime) -> None:
    """Close runs whose last worker died between its job's end and theirs, and those whose lock expired."""
    for run in ScheduleRun.objects.filter(state__in=_OPEN):
        if not run.jobs.exists():
            continue
        if not run.jobs.open().exists():
            _close(run, now=now)
        elif run.slot < now - LOCK_LIFE:
            run.say("끝나지 않은 채 유효 시간이 지났습니다.", now=now)
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
        notify_operators(
            f"예약 '{run.schedule}' 실행에 실패가 많습니다", f"{run}\n{text}\n\n{run.log}"
        )


def failure_share(figures: dict[str, int]) -> float:
    """Share of members that could not be refreshed; 0 when the run was about no members."""
    failed = figures.get("failed", 0)
    done = failed + sum(figures.get(name, 0) for name in ("model", "local", "renewed"))
    return failed / done if done else 0.0


# --- Missed runs ----------------------------------------------------------------------------------
def missed(*, now: datetime) -> Iterator[tuple[PeriodicTask, datetime]]:
    """Enabled schedules of ours whose last moment passed without a run."""
    tasks = PeriodicTask.objects.filter(enabled=True, task__startswith=TASK_PREFIX)
    for task in tasks.select_related("crontab", "interval", "clocked"):
        slot = last_due(task, now - MISSED_AFTER)
        if slot is None or slot < task.date_changed or task.interval is not None:
            continue  # a schedule that runs every few minutes makes up for itself
        if not ScheduleRun.objects.filter(schedule=task.name, slot__gte=slot).exists():
            yield task, slot
