"""Staff change, switch and run schedules; each action needs its permission and is audited."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from prompts.models import AuditEvent
from recommendations.models import Job, ScheduleRun
from recommendations.schedules import defaults, runs, timing
from tests.recommendations.staff import act

pytestmark = pytest.mark.django_db
SCHEDULES = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def nightly(db: None) -> PeriodicTask:
    defaults.install()
    return PeriodicTask.objects.get(name="야간 재생성")


def page_of(task: PeriodicTask) -> str:
    return f"{SCHEDULES}{task.pk}/change/"


def test_schedules_are_listed_with_their_next_run_in_seoul(staff, nightly):
    listed = staff("view_periodictask").get(SCHEDULES).content.decode()
    assert "매일 03:00" in listed
    assert f"{timing.next_due(nightly, timezone.now()):%Y-%m-%d} 03:00:00" in listed
    assert "1분마다" in listed


def form_of(task: PeriodicTask, /, **changes: Any) -> dict[str, Any]:
    fields = {
        "name": task.name,
        "description": task.description,
        "enabled": "on",
        "task": task.task,
        "cron": "0 3 * * *",
        "every_s": "",
        "kwargs": task.kwargs,
    }
    return fields | changes


def test_a_change_is_stored_and_audited(staff, nightly):
    client = staff("view_periodictask", "change_periodictask")
    client.post(page_of(nightly), form_of(nightly, cron="30 4 * * *", name="새벽"))
    nightly.refresh_from_db()
    assert (nightly.name, str(nightly.crontab.hour), str(nightly.crontab.minute)) == (
        "새벽",
        "4",
        "30",
    )
    event = AuditEvent.objects.get(verb="schedule.change")
    assert (event.before["when"], event.after["when"]) == ("매일 03:00", "매일 04:30")


def test_an_interval_takes_the_place_of_a_cron(staff, nightly):
    client = staff("view_periodictask", "change_periodictask")
    client.post(page_of(nightly), form_of(nightly, cron="", every_s="600"))
    nightly.refresh_from_db()
    assert nightly.crontab is None
    assert nightly.interval.every == 600


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "99 3 * * *"},
        {"cron": "0 3"},
        {"cron": "", "every_s": ""},
        {"every_s": "60"},
        {"kwargs": "[1]"},
        {"kwargs": "{"},
        {"task": "os.system"},
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(staff, nightly, wrong):
    client = staff("view_periodictask", "change_periodictask")
    answer = client.post(page_of(nightly), form_of(nightly, **wrong))
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode() or "errornote" in answer.content.decode()
    assert not AuditEvent.objects.filter(verb="schedule.change").exists()


def test_run_now_starts_a_run_and_shows_it(staff, nightly):
    client = staff("view_periodictask", "change_periodictask", "run_schedule")
    act(client, SCHEDULES, "run_now", nightly)
    run = ScheduleRun.objects.get()
    assert (run.trigger, run.schedule) == ("staff", "야간 재생성")
    assert run.requested_by
    assert Job.objects.get().name == "nightly_regeneration"
    assert "지금 실행" in client.get(page_of(nightly)).content.decode()
    # It is at work: a second click does not start it twice.
    answer = act(client, SCHEDULES, "run_now", nightly).content.decode()
    assert "건너뜁니다" in answer
    assert Job.objects.count() == 1


def test_run_now_needs_its_right(staff, nightly):
    client = staff("view_periodictask", "change_periodictask")
    act(client, SCHEDULES, "run_now", nightly)
    client.post(page_of(nightly), form_of(nightly, _run_now="1"))
    assert not ScheduleRun.objects.exists()


def test_what_came_with_the_product_is_switched_off_not_deleted(staff, nightly):
    client = staff("view_periodictask", "change_periodictask", "delete_periodictask")
    assert client.post(f"{SCHEDULES}{nightly.pk}/delete/", {"post": "yes"}).status_code == 403
    act(client, SCHEDULES, "disable", nightly)
    nightly.refresh_from_db()
    assert not nightly.enabled
    assert AuditEvent.objects.filter(verb="schedule.disable").exists()


def test_a_run_shows_its_log_and_figures(staff, nightly):
    run = ScheduleRun.objects.create(schedule="x", slot=timezone.now(), trigger="clock")
    run.say("끝", now=timezone.now())
    run.end(ScheduleRun.State.SUCCEEDED, now=timezone.now(), renewed=15)
    page = staff("view_schedulerun").get(f"/admin/recommendations/schedulerun/{run.pk}/change/")
    assert "<td>그대로 연장</td><td>15</td>" in page.content.decode()
    assert "끝" in page.content.decode()


def test_arguments_are_json(nightly):
    assert json.loads(nightly.kwargs) == {}


def test_switching_a_schedule_on_makes_nothing_up(staff, nightly):
    a_month_ago = timezone.now() - timedelta(days=30)
    PeriodicTask.objects.filter(pk=nightly.pk).update(enabled=False, date_changed=a_month_ago)
    PeriodicTask.objects.exclude(pk=nightly.pk).update(enabled=False)
    client = staff("view_periodictask", "change_periodictask")
    client.post(SCHEDULES, {"action": "enable", "_selected_action": [nightly.pk]})
    nightly.refresh_from_db()
    assert nightly.enabled
    assert list(runs.missed(now=timezone.now())) == []
    PeriodicTask.objects.filter(pk=nightly.pk).update(date_changed=a_month_ago)
    assert [task for task, _ in runs.missed(now=timezone.now())] == [nightly]
