"""Dead letters: keeps messages that failed, reports them, and lets staff send again, correct or discard them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure import audit
from infrastructure.email import notify_operators
from infrastructure.time import SEOUL
from recommendations.errors import SongsError
from recommendations.models import DeadLetter, Job
from recommendations.models.dead_letters import DeadLetterState
from recommendations.models.jobs import Failure

from .. import status_store
from ..broker import BrokerUnavailable
from . import rabbitmq_messages, rabbitmq_publisher, rabbitmq_topology
from .rabbitmq_messages import Delivery

#: More at once would let one click flood the backend's queue.
MOST_AT_ONCE = 500


class LetterHandled(SongsError):
    """This message has been handled already."""

    code = "LETTER_HANDLED"
    status = 409


class NoBackendQueue(SongsError):
    """Without RabbitMQ there is no queue of the backend that a message could go to."""

    code = "NO_BACKEND_QUEUE"
    status = 409


# --- Keeping and reporting ------------------------------------------------------------------------
def keep(delivery: Delivery, failure: Failure, *, job_id: str, member_key: str = "") -> DeadLetter:
    """Keep body and reason here before the message goes to the DLQ, which songs_be empties at once."""
    digest = hashlib.blake2b(job_id.encode() + b"|" + delivery.body, digest_size=20).hexdigest()
    letter, _ = DeadLetter.objects.update_or_create(
        digest=digest,
        defaults={
            "job_uuid": job_id[:64],
            "member_key": member_key[:64],
            "code": failure.code,
            "detail": failure.message[:500],
            "body": delivery.body[: rabbitmq_messages.MAX_BODY_BYTES],
            "headers": rabbitmq_messages.plain_headers(
                rabbitmq_messages.headers_to_send(delivery.headers)
            ),
            "state": DeadLetterState.OPEN,
            "arrived_at": timezone.now(),
            "told_at": None,
        },
    )
    return letter


def watch(*, now: datetime) -> dict[str, int]:
    """Report new dead letters to the operators; returns how many are open and how many are new."""
    open_ = DeadLetter.objects.filter(state=DeadLetter.State.OPEN)
    new = list(open_.filter(told_at__isnull=True).order_by("arrived_at")[:100])
    if new:
        lines = [
            f"{letter.arrived_at.astimezone(SEOUL):%m-%d %H:%M} {letter.code} {letter.job_uuid}"
            for letter in new
        ]
        subject = _("처리하지 못한 메시지 %(count)d건") % {"count": len(new)}
        notify_operators(subject, "\n".join(lines))
        DeadLetter.objects.filter(pk__in=[letter.pk for letter in new]).update(told_at=now)
    return {"open": open_.count(), "new": len(new)}


# --- What staff do --------------------------------------------------------------------------------
def retry(letter_id: int, *, by: Any, reason: str = "", body: bytes | None = None) -> None:
    """Send a message to the backend's queue again, byte for byte, or as corrected in `body`.

    Raises NoBackendQueue, LetterHandled, InvalidMessage for a body that can't be read, and BrokerUnavailable;
    then nothing changed.
    """
    if not settings.RABBITMQ_URL:
        raise NoBackendQueue(
            _(
                "RabbitMQ가 설정되어 있지 않아 다시 보낼 백엔드 대기열이 없습니다. 메시지는 그대로 있습니다."
            )
        )
    corrected = body is not None
    if corrected:
        rabbitmq_messages.parse(body or b"")
    with transaction.atomic():
        letter = _taken(letter_id, DeadLetter.State.RETRIED, by=by, reason=reason)
        sent = body if body is not None else bytes(letter.body)
        _ask_again(letter, sent)
        audit.record(
            actor=by,
            verb="deadletter.edit_and_retry" if corrected else "deadletter.retry",
            object=letter,
            before=_text(bytes(letter.body)) if corrected else None,
            after=_text(sent) if corrected else None,
            reason=reason,
        )
        delivery = Delivery(body=sent, headers=letter.headers, properties={}, redelivered=False)
        rabbitmq_publisher.publish(
            sent,
            delivery,
            exchange=rabbitmq_topology.EXCHANGE,
            routing_key=rabbitmq_topology.ROUTING_KEY,
        )


def discard(letter_id: int, *, by: Any, reason: str) -> None:
    """Put a message away for good. Raises LetterHandled, and ValueError without a reason."""
    if not reason.strip():
        raise ValueError(_("폐기하는 사유를 적으십시오."))
    with transaction.atomic():
        letter = _taken(letter_id, DeadLetter.State.DISCARDED, by=by, reason=reason)
        audit.record(actor=by, verb="deadletter.discard", object=letter, reason=reason)


def _taken(letter_id: int, state: DeadLetterState, *, by: Any, reason: str) -> DeadLetter:
    """Mark the letter as handled; of two people who click at once, one succeeds."""
    taken = DeadLetter.objects.filter(pk=letter_id, state=DeadLetter.State.OPEN).update(
        state=state, handled_by=by, handled_reason=reason[:300], handled_at=timezone.now()
    )
    if not taken:
        raise LetterHandled(_("이미 처리된 메시지입니다."))
    return DeadLetter.objects.get(pk=letter_id)


def _ask_again(letter: DeadLetter, body: bytes) -> None:
    """Open the job of the message anew, so that its delivery is not taken for an old one."""
    try:
        job_uuid = rabbitmq_messages.parse(body).job_id
    except rabbitmq_messages.InvalidMessage:
        return  # sent as it is; it will be refused again
    job = Job.objects.filter(pk=job_uuid).first() if job_uuid else None
    if job is not None and job.reopen(now=timezone.now()):
        Job.objects.filter(pk=job.pk).update(published_at=timezone.now())
        status_store.delete(str(job.pk))


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def each(letter_ids: Sequence[int], step: Any) -> tuple[int, list[str]]:
    """Do a step to many letters; returns how many succeeded, and why the others did not.

    A broker that is away ends it: the rest would only wait for it as well.
    """
    done, problems = 0, []
    for letter_id in letter_ids[:MOST_AT_ONCE]:
        try:
            step(letter_id)
            done += 1
        except (LetterHandled, rabbitmq_messages.InvalidMessage) as error:
            problems.append(f"#{letter_id}: {error}")
        except NoBackendQueue as error:
            problems.append(str(error))
            break
        except BrokerUnavailable:
            problems.append(_("브로커에 연결할 수 없어 멈췄습니다. 나머지는 그대로 있습니다."))
            break
    return done, problems
