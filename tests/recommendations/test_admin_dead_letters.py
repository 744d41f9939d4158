"""Staff send dead letters again, correct or discard them; each action needs its permission and is audited."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone

from bench.installation import spring_body
from prompts.models import AuditEvent
from recommendations.jobs.backend_queue import rabbitmq_publisher, rabbitmq_topology
from recommendations.jobs.backend_queue.rabbitmq_consumer import attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery
from recommendations.jobs.broker import BrokerUnavailable
from recommendations.models import DeadLetter, Job
from recommendations.models.jobs import State
from tests.recommendations.staff import act

pytestmark = pytest.mark.django_db
LETTERS = "/admin/recommendations/deadletter/"


@pytest.fixture
def broker(settings: Any) -> Iterator[Any]:
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
