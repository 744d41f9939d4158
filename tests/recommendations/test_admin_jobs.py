"""Staff see background work, handle what failed, and run schedules; each move needs its right and leaves a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from prompts.models import AuditEvent
from recommendations.jobs import queue, rabbitmq_publisher, rabbitmq_topology
from recommendations.jobs.broker import BrokerUnavailable
from recommendations.jobs.rabbitmq_consumer import attend
from recommendations.jobs.rabbitmq_messages import Delivery
from recommendations.models import DeadLetter, Job, ScheduleRun
from recommendations.models.jobs import State
from recommendations.schedules import defaults, runs, timing
from tests.services.installation import spring_body

pytestmark = pytest.mark.django_db
LETTERS = "/admin/recommendations/deadletter/"
JOBS = "/admin/recommendations/job/"
SCHEDULES = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def staff(client: Client) -> Any:
    """Logs somebody in who may do just what is named: `staff("view_job", "retry_job")`."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user(f"u{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(codename__in=codenames)
        assert found.count() == len(codenames)
        user.user_permissions.set(found)
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def broker(settings) -> Iterator[Any]:
    """A broker is configured; in this process it is the in-memory one."""
    settings.RABBITMQ_URL = "amqp://127.0.0.1//"
    with current_app.connection_for_write() as connection:
        rabbitmq_topology.declare(connection)
        channel = connection.default_channel
        yield channel
        for declared in rabbitmq_topology.queues():
            channel.queue_purge(declared.name)


def dead(body: bytes) -> DeadLetter:
    headers = {"__TypeId__": "com.utabox.Message", "x-mine": "1"}
    attend(Delivery(body=body, headers=headers, properties={}, redelivered=False))
    return DeadLetter.objects.latest("pk")


def act(client: Client, page: str, action: str, *rows: Any, **more: Any) -> Any:
    chosen = [str(row.pk) for row in rows]
    return client.post(page, {"action": action, "_selected_action": chosen, **more}, follow=True)


# --- Dead letters ---------------------------------------------------------------------------------
def test_a_letter_shows_reason_age_body_and_headers(staff, world):
    letter = dead(spring_body(99_999_999)[1])
    DeadLetter.objects.update(arrived_at=timezone.now() - timedelta(hours=3, minutes=5))
    client = staff("view_deadletter", "view_member_data")
    listed = client.get(LETTERS).content.decode()
    assert "MEMBER_NOT_FOUND" in listed
    assert "3시간" in listed
    page = client.get(f"{LETTERS}{letter.pk}/change/").content.decode()
    assert "99999999" in page
    assert "com.utabox.Message" in page


def test_who_may_not_see_members_data_sees_no_body(staff, world):
    letter = dead(spring_body(99_999_999)[1])
    page = staff("view_deadletter").get(f"{LETTERS}{letter.pk}/change/").content.decode()
    assert "favoriteSongIds" not in page
    assert "•••" in page


def test_sending_again_is_byte_equal_and_opens_the_job_anew(staff, world, broker):
    job_id, body = spring_body(99_999_999)
    letter = dead(body)
    client = staff("view_deadletter", "retry_deadletter")
    act(client, LETTERS, "retry", letter)
    sent = broker.basic_get(rabbitmq_topology.QUEUE, no_ack=True)
    assert bytes(sent.body) == body
    assert sent.headers == {"__TypeId__": "com.utabox.Message", "x-mine": "1"}
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.round) == (State.QUEUED, 1)
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.RETRIED
    assert AuditEvent.objects.get(verb="deadletter.retry").object_id == str(letter.pk)
    # Delivered again it fails again, and is an open letter again.
    attend(Delivery(body=body, headers={}, properties={}, redelivered=False))
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN


def test_a_letter_can_be_corrected_and_sent(staff, world, broker):
    letter = dead(b'{"jobId":"not a uuid","memberId":1}')
    client = staff("view_deadletter", "edit_deadletter", "view_member_data")
    page = f"{LETTERS}{letter.pk}/change/"
    wrong = client.post(page, {"text": "{", "reason": "typo"}, follow=True)
    assert "JSON: Expecting" in wrong.content.decode()
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN
    _, body = spring_body(world.alice)
    client.post(page, {"text": body.decode(), "reason": "손으로 고침"})
    assert bytes(broker.basic_get(rabbitmq_topology.QUEUE, no_ack=True).body) == body
    event = AuditEvent.objects.get(verb="deadletter.edit_and_retry")
    assert event.reason == "손으로 고침"
    assert "not a uuid" in event.before


def test_discarding_asks_for_a_reason(staff, world):
    letter = dead(b"{")
    client = staff("view_deadletter", "discard_deadletter")
    asked = act(client, LETTERS, "discard", letter)
    assert 'name="reason"' in asked.content.decode()
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN
    act(client, LETTERS, "discard", letter, reason="시험 메시지")
    letter.refresh_from_db()
    assert (letter.state, letter.handled_reason) == (DeadLetter.State.DISCARDED, "시험 메시지")
    assert AuditEvent.objects.get(verb="deadletter.discard").reason == "시험 메시지"


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_without_the_right_nothing_happens(staff, world, broker, action):
    letter = dead(b"{")
    act(staff("view_deadletter"), LETTERS, action, letter, reason="x")
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN
    assert broker.basic_get(rabbitmq_topology.QUEUE, no_ack=True) is None


def test_a_letter_is_handled_once(staff, world, broker):
    letter = dead(spring_body(99_999_999)[1])
    client = staff("view_deadletter", "retry_deadletter")
    act(client, LETTERS, "retry", letter)
    act(client, LETTERS, "retry", letter)
    assert AuditEvent.objects.filter(verb="deadletter.retry").count() == 1


def test_without_rabbitmq_nothing_is_sent_and_it_says_so(staff, world):
    """The embedded installation has no queue of the backend."""
    letter = dead(spring_body(99_999_999)[1])
    client = staff("view_deadletter", "retry_deadletter", "edit_deadletter", "view_member_data")
    answer = act(client, LETTERS, "retry", letter).content.decode()
    assert "RabbitMQ가 설정되어 있지 않아" in answer
    assert "처리했습니다" not in answer
    page = f"{LETTERS}{letter.pk}/change/"
    _, body = spring_body(world.alice)
    corrected = client.post(page, {"text": body.decode(), "reason": "x"}, follow=True)
    assert "RabbitMQ가 설정되어 있지 않아" in corrected.content.decode()
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN
    assert not AuditEvent.objects.filter(verb__startswith="deadletter").exists()
    assert Job.objects.get(pk=letter.job_uuid).state == State.FAILED  # not asked for anew


def test_without_the_broker_the_letter_stays_open(staff, world, broker, monkeypatch):
    def away(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable

    monkeypatch.setattr(rabbitmq_publisher, "publish", away)
    job_id, body = spring_body(99_999_999)
    letter = dead(body)
    answer = act(staff("view_deadletter", "retry_deadletter"), LETTERS, "retry", letter)
    assert "브로커" in answer.content.decode()
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.OPEN
    assert Job.objects.get(pk=job_id).state == State.FAILED
    assert not AuditEvent.objects.filter(verb="deadletter.retry").exists()


# --- Jobs -----------------------------------------------------------------------------------------
def test_a_job_is_shown_with_what_it_was_asked_and_its_attempts(staff, world):
    job_id, body = spring_body(world.alice)
    attend(Delivery(body=body, headers={"__TypeId__": "T"}, properties={}, redelivered=False))
    page = staff("view_job", "view_member_data").get(f"{JOBS}{job_id}/change/").content.decode()
    assert "123456789" in page  # the message as received
    assert "run_id" in page
    assert "succeeded" in page


def test_an_ended_job_runs_again_with_the_same_arguments(
    staff, world, django_capture_on_commit_callbacks
):
    job_id, body = spring_body(world.alice)
    attend(Delivery(body=body, headers={}, properties={}, redelivered=False))
    client = staff("view_job", "retry_job")
    with django_capture_on_commit_callbacks(execute=True):
        act(client, JOBS, "retry", Job.objects.get(pk=job_id))
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.round) == (State.QUEUED, 1)
    assert queue.run(job.pk)["job"] == "succeeded"
    assert AuditEvent.objects.filter(verb="job.retry").count() == 1


def test_a_waiting_job_is_cancelled(staff, world):
    job = queue.enqueue("warm_active", limit=1)
    act(staff("view_job", "cancel_job"), JOBS, "cancel", job)
    job.refresh_from_db()
    assert job.state == State.CANCELED
    assert AuditEvent.objects.filter(verb="job.cancel").exists()


def test_a_search_for_text_scans_nothing(staff, world):
    queue.enqueue("warm_active", limit=1)
    found = staff("view_job").get(f"{JOBS}?q=warm").context["cl"].result_count
    assert found == 0


# --- Schedules ------------------------------------------------------------------------------------
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
    assert "renewed" in page.content.decode()
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
