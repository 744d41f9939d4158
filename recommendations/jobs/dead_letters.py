"""What staff do with messages that nobody could serve: send again, send corrected, discard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure import audit

from ..errors import SongsError
from ..models import DeadLetter, Job
from . import rabbitmq_consumer, rabbitmq_messages, status_store
from .rabbitmq_consumer import Delivery

#: More at once would let one click flood the backend's queue.
MOST_AT_ONCE = 500


class LetterHandled(SongsError):
    """Somebody has handled this message already."""

    code = "LETTER_HANDLED"
    status = 409


def retry(letter_id: int, *, by: Any, reason: str = "", body: bytes | None = None) -> None:
    """Send a message to the backend's queue again, byte for byte, or as corrected in `body`.

    Raises LetterHandled, InvalidMessage for a body that can't be read, and BrokerAway; then nothing changed.
    """
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
        rabbitmq_consumer.publish(
            sent,
            delivery,
            exchange=rabbitmq_messages.EXCHANGE,
            routing_key=rabbitmq_messages.ROUTING_KEY,
        )


def discard(letter_id: int, *, by: Any, reason: str) -> None:
    """Put a message away for good. Raises LetterHandled, and ValueError without a reason."""
    if not reason.strip():
        raise ValueError(_("폐기하는 사유를 적으십시오."))
    with transaction.atomic():
        letter = _taken(letter_id, DeadLetter.State.DISCARDED, by=by, reason=reason)
        audit.record(actor=by, verb="deadletter.discard", object=letter, reason=reason)


def _taken(letter_id: int, state: DeadLetter.State, *, by: Any, reason: str) -> DeadLetter:
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
        except rabbitmq_consumer.BrokerAway:
            problems.append(_("브로커에 연결할 수 없어 멈췄습니다. 나머지는 그대로 있습니다."))
            break
    return done, problems
