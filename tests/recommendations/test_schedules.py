"""Schedules belong to staff; each of their moments makes one run, and none overlaps the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from django.core import mail
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from catalog.models import Member
from recommendations.jobs import member_refresh, queue, retention, schedule_progress
from recommendations.jobs.backend_queue import dead_letters
from recommendations.jobs.backend_queue.rabbitmq_consumer import attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.jobs.kinds import TASK_PREFIX, WORK
from recommendations.models import Job, ScheduleRun, StoredAnswer
from recommendations.models.jobs import State
from recommendations.schedules import defaults, runs, timing

pytestmark = pytest.mark.django_db
SEOUL = ZoneInfo("Asia/Seoul")
TICK, HAND = ScheduleRun.Trigger.CLOCK, ScheduleRun.Trigger.STAFF


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SEOUL)


@pytest.fixture(autouse=True)
def _one_at_a_time(settings) -> None:
    """The test's transaction is seen by its own thread only."""
    settings.MODEL_CALLS_IN_FLIGHT = 2


@pytest.fixture
def nightly_task() -> PeriodicTask:
    defaults.install()
    return PeriodicTask.objects.get(task="recommendations.tasks.nightly_regeneration")


def cron(text: str, zone: str = "Asia/Seoul") -> PeriodicTask:
    minute, hour, day, month, weekday = text.split()
    crontab = CrontabSchedule.objects.create(
        minute=minute,
        hour=hour,
        day_of_month=day,
        month_of_year=month,
        day_of_week=weekday,
        timezone=zone,
    )
    return PeriodicTask(name=text, task="recommendations.tasks.purge_old", crontab=crontab)


# --- Installing -----------------------------------------------------------------------------------
def test_every_schedule_names_a_task_that_exists(nightly_task):
    installed = PeriodicTask.objects.filter(task__startswith=TASK_PREFIX)
    names = {task.task.removeprefix(TASK_PREFIX) for task in installed}
    assert names <= set(WORK)
    assert len(names) == len(defaults.SCHEDULES)


def test_the_nightly_run_is_at_three_in_seoul(nightly_task):
    now = at("2026-11-24T12:00")
    assert timing.next_due(nightly_task, now) == at("2026-11-25T03:00")


def test_installing_again_changes_nothing_that_staff_changed(nightly_task):
    crontab = CrontabSchedule.objects.create(minute="15", hour="5", timezone="Asia/Seoul")
    PeriodicTask.objects.filter(pk=nightly_task.pk).update(
        name="새벽 작업", enabled=False, crontab=crontab, kwargs='{"x": 1}'
    )
    assert defaults.install() == []
    nightly_task.refresh_from_db()
    assert (nightly_task.name, nightly_task.enabled) == ("새벽 작업", False)
    assert (nightly_task.crontab_id, nightly_task.kwargs) == (crontab.pk, '{"x": 1}')


# --- When -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "now", "last", "following"),
    [
        ("0 3 * * *", "2026-11-24T03:00", "2026-11-24T03:00", "2026-11-25T03:00"),
        ("0 3 * * *", "2026-11-24T02:59", "2026-11-23T03:00", "2026-11-24T03:00"),
        ("*/20 9-10 * * *", "2026-11-24T10:30", "2026-11-24T10:20", "2026-11-24T10:40"),
        ("0 0 1 1 *", "2026-11-24T10:30", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2026-11-24T10:30", "2024-02-29T00:00", "2028-02-29T00:00"),
        ("30 8 * * 1", "2026-11-24T10:30", "2026-11-23T08:30", "2026-11-30T08:30"),  # Mondays
        ("30 8 * * 0", "2026-11-24T10:30", "2026-11-22T08:30", "2026-11-29T08:30"),  # Sundays
    ],
)
def test_a_rule_names_its_last_and_its_next_moment(rule, now, last, following):
    task = cron(rule)
    assert timing.last_due(task, at(now)) == at(last)
    assert timing.next_due(task, at(now)) == at(following)


def test_a_rule_in_another_time_zone_is_kept():
    assert timing.next_due(cron("0 3 * * *", "UTC"), at("2026-11-24T11:00")) == datetime(
        2026, 11, 24, 3, tzinfo=UTC
    )


def test_an_interval_has_moments_that_all_schedulers_agree_on():
    every = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    task = PeriodicTask(name="x", task="recommendations.tasks.sync_likes", interval=every)
    first = timing.last_due(task, at("2026-11-24T10:30:01"))
    assert first == timing.last_due(task, at("2026-11-24T10:30:59"))
    assert first != timing.last_due(task, at("2026-11-24T10:31:00"))


def test_a_disabled_schedule_has_no_next_moment(nightly_task):
    nightly_task.enabled = False
    assert timing.next_due(nightly_task, timezone.now()) is None


# --- One run per moment ---------------------------------------------------------------------------
def test_two_schedulers_start_one_run(nightly_task):
    now = at("2026-11-24T03:00:01")
    first = runs.start_on_time(nightly_task, now=now)
    assert first is not None
    assert runs.start_on_time(nightly_task, now=now + timedelta(seconds=3)) is None
    assert Job.objects.filter(name="nightly_regeneration").count() == 1


def test_a_run_in_the_way_makes_the_next_one_skip(nightly_task):
    runs.start_on_time(nightly_task, now=at("2026-11-24T03:00"))
    by_hand = runs.start(
        nightly_task, slot=at("2026-11-24T09:00"), now=at("2026-11-24T09:00"), trigger=HAND
    )
    assert by_hand.state == ScheduleRun.State.SKIPPED
    assert "끝나지 않아" in by_hand.log
    assert Job.objects.count() == 1


def test_the_lock_of_a_run_expires(nightly_task):
    runs.start_on_time(nightly_task, now=at("2026-11-23T03:00"))
    run = runs.start_on_time(nightly_task, now=at("2026-11-24T03:00"))
    assert run.state == ScheduleRun.State.QUEUED


def test_a_run_ends_with_its_last_job_and_adds_their_figures_up(nightly_task, world):
    run = runs.start_on_time(nightly_task, now=timezone.now())
    planner = Job.objects.get()
    queue.run(planner.pk)
    run.refresh_from_db()
    assert run.state == ScheduleRun.State.RUNNING
    for job in Job.objects.filter(name="refresh_members"):
        queue.run(job.pk)
    run.refresh_from_db()
    assert run.state == ScheduleRun.State.SUCCEEDED
    assert run.summary["planned"] == 15  # the world's members, all active
    assert run.summary["local"] == 15
    assert run.summary["jobs_succeeded"] == 2


# --- Missed runs ----------------------------------------------------------------------------------
def installed_before(task: PeriodicTask, moment: datetime) -> PeriodicTask:
    PeriodicTask.objects.exclude(pk=task.pk).delete()
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=moment)
    task.refresh_from_db()
    return task


def test_a_run_nobody_started_is_made_up_for_the_same_morning(nightly_task):
    installed_before(nightly_task, at("2026-11-20T12:00"))
    runs.make_up_for_missed(now=at("2026-11-24T05:00"))
    run = ScheduleRun.objects.get()
    assert (run.state, run.slot) == (ScheduleRun.State.QUEUED, at("2026-11-24T03:00"))
    assert "120분 늦게" in run.log
    runs.make_up_for_missed(now=at("2026-11-24T05:01"))
    assert ScheduleRun.objects.count() == 1


def test_a_run_missed_for_long_is_noted_and_told(nightly_task, settings):
    settings.OPERATORS_MAIL = ["ops@example.com"]
    installed_before(nightly_task, at("2026-11-20T12:00"))
    runs.make_up_for_missed(now=at("2026-11-24T15:00"))
    assert ScheduleRun.objects.get().state == ScheduleRun.State.MISSED
    assert len(mail.outbox) == 1
    assert not Job.objects.exists()


def test_a_schedule_installed_after_its_moment_has_missed_nothing(nightly_task):
    installed_before(nightly_task, at("2026-11-24T04:00"))
    runs.make_up_for_missed(now=at("2026-11-24T05:00"))
    assert not ScheduleRun.objects.exists()


# --- The nightly run ------------------------------------------------------------------------------
def run_all_jobs() -> None:
    while (job := Job.objects.open().order_by("submitted_at").first()) is not None:
        queue.run(job.pk)


def test_unchanged_members_cost_no_call_and_keep_a_full_life(nightly_task, world, model):
    runs.start(nightly_task, slot=at("2026-11-23T03:00"), now=timezone.now(), trigger=TICK)
    run_all_jobs()
    calls = len(model.seen)
    assert calls >= 15
    StoredAnswer.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    runs.start(nightly_task, slot=at("2026-11-24T03:00"), now=timezone.now(), trigger=TICK)
    run_all_jobs()
    assert len(model.seen) == calls
    run = ScheduleRun.objects.latest("slot")
    assert run.summary["renewed"] == 15
    soonest = StoredAnswer.objects.order_by("expires_at").first().expires_at
    assert soonest > timezone.now() + timedelta(days=6)


def test_one_members_failure_stops_nobody(world, monkeypatch):
    refresh = member_refresh.refresh

    def sometimes(member_key: str, **options: Any) -> str:
        if member_key == world.bob:
            raise RuntimeError("bob")
        return refresh(member_key, **options)

    monkeypatch.setattr(member_refresh, "refresh", sometimes)
    tally = member_refresh.refreshed([world.alice, world.bob, world.carol])
    assert dict(tally.counts) == {"local": 2, "failed": 1}
    assert tally.errors == [f"{world.bob}: RuntimeError"]


def test_more_than_five_percent_failures_are_told(nightly_task, settings):
    settings.OPERATORS_MAIL = ["ops@example.com"]
    run = runs.start_on_time(nightly_task, now=timezone.now())
    Job.objects.update(state=State.SUCCEEDED, result={"model": 94, "failed": 6})
    schedule_progress.close_finished(now=timezone.now())
    run.refresh_from_db()
    assert run.state == ScheduleRun.State.FAILED
    assert len(mail.outbox) == 1
    assert "failed 6" in mail.outbox[0].body


def test_five_percent_are_tolerated(nightly_task, settings):
    settings.OPERATORS_MAIL = ["ops@example.com"]
    run = runs.start_on_time(nightly_task, now=timezone.now())
    Job.objects.update(state=State.SUCCEEDED, result={"model": 95, "failed": 5})
    schedule_progress.close_finished(now=timezone.now())
    run.refresh_from_db()
    assert run.state == ScheduleRun.State.SUCCEEDED
    assert mail.outbox == []


def test_a_planner_that_died_goes_on_behind_its_last_page(nightly_task, world, monkeypatch):
    monkeypatch.setattr(member_refresh, "BATCH", 4)
    run = runs.start_on_time(nightly_task, now=timezone.now())
    planner = Job.objects.get()
    members = sorted(Member.objects.values_list("pk", flat=True))
    member_refresh.note_planned(run, upto=members[7])
    planner.refresh_from_db()
    queue.run(planner.pk)
    asked = [
        key
        for job in Job.objects.filter(name="refresh_members")
        for key in job.arguments["member_keys"]
    ]
    assert sorted(map(int, asked)) == members[8:]


def test_arguments_of_a_schedule_reach_its_job():
    defaults.install()
    warm = PeriodicTask.objects.get(task="recommendations.tasks.warm_active")
    assert orjson.loads(warm.kwargs) == {"limit": 500}
    runs.start_on_time(warm, now=timezone.now())
    assert Job.objects.get().arguments == {"limit": 500}


# --- Upkeep ---------------------------------------------------------------------------------------
def test_what_runs_every_minute_is_kept_for_a_day_and_the_rest_longer(nightly_task):
    now = timezone.now()
    sync = PeriodicTask.objects.get(task="recommendations.tasks.sync_likes")
    for task in (sync, nightly_task):
        runs.start_on_time(task, now=now - timedelta(days=2))
    Job.objects.update(state=State.SUCCEEDED, finished_at=now - timedelta(days=2))
    schedule_progress.close_finished(now=now)
    retention.purge(now=now)
    assert [job.name for job in Job.objects.all()] == ["nightly_regeneration"]
    assert [run.schedule for run in ScheduleRun.objects.all()] == ["야간 재생성"]


def test_an_old_job_goes_with_its_answer_and_an_open_one_stays(settings):
    now = timezone.now()
    old = now - timedelta(days=settings.RETENTION_JOBS_DAYS + 1)
    for state in (State.SUCCEEDED, State.QUEUED):
        Job.objects.create(name="serve", queue="q", state=state, submitted_at=old, finished_at=old)
    assert retention.purge(now=now)["jobs"] == 1
    assert Job.objects.get().state == State.QUEUED


def test_new_dead_letters_are_told_once(settings):
    settings.OPERATORS_MAIL = ["ops@example.com"]
    attend(Delivery(body=b"{", headers={}, properties={}, redelivered=False))
    assert dead_letters.watch(now=timezone.now()) == {"open": 1, "new": 1}
    assert dead_letters.watch(now=timezone.now()) == {"open": 1, "new": 0}
    assert len(mail.outbox) == 1
    assert "INVALID_MESSAGE" in mail.outbox[0].body
