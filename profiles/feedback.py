"""Stores feedback events that callers report and returns a verdict for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from profiles.models import FeedbackEvent, FeedbackType

#: Feedback older than this says little about today's taste.
FEEDBACK_WINDOW = timedelta(days=365)
#: An event may be this far ahead of our clock: phones are not exact.
CLOCK_SKEW = timedelta(minutes=10)
#: Smallest and largest value by type; other types take any value.
VALUE_RANGES: dict[str, tuple[float, float]] = {
    FeedbackType.RATING: (1, 5),
    FeedbackType.PLAY: (0, 1),
}
ANY_VALUE = (float("-inf"), float("inf"))


class FeedbackVerdict(StrEnum):
    """The result of one reported event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One event as a caller reports it."""

    event_id: str
    member_key: str
    song_id: int
    type: str
    value: float | None = None
    run_id: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    #: Timezone-aware; None = now.
    occurred_at: datetime | None = None


def record_feedback(
    events: Sequence[Feedback], *, now: datetime
) -> list[tuple[FeedbackVerdict, str]]:
    """Store events and return a verdict with its reason for each, in order.

    A repeated event id changes nothing; late events are accepted, events from the future are rejected.
    """
    known_ids = set(
        FeedbackEvent.objects.filter(event_id__in=[event.event_id for event in events]).values_list(
            "event_id", flat=True
        )
    )
    rows, verdicts = [], []
    for event in events:
        verdict = _judge(event, known_ids, now)
        verdicts.append(verdict)
        if verdict[0] is FeedbackVerdict.ACCEPTED:
            known_ids.add(event.event_id)
            rows.append(_feedback_row(event, now))
    FeedbackEvent.objects.bulk_create(rows, ignore_conflicts=True)
    return verdicts


def _judge(event: Feedback, known_ids: set[str], now: datetime) -> tuple[FeedbackVerdict, str]:
    if event.event_id in known_ids:
        return FeedbackVerdict.DUPLICATE, "This event id was reported before."
    if event.occurred_at and event.occurred_at > now + CLOCK_SKEW:
        return FeedbackVerdict.REJECTED, "occurred_at lies in the future."
    if event.value is None:
        if event.type == FeedbackType.RATING:
            return FeedbackVerdict.REJECTED, "A rating needs a value from 1 to 5."
        return FeedbackVerdict.ACCEPTED, ""
    low, high = VALUE_RANGES.get(event.type, ANY_VALUE)
    if not low <= event.value <= high:
        return FeedbackVerdict.REJECTED, f"value of {event.type} must be from {low} to {high}."
    return FeedbackVerdict.ACCEPTED, ""


def _feedback_row(event: Feedback, now: datetime) -> FeedbackEvent:
    return FeedbackEvent(
        event_id=event.event_id,
        member_key=event.member_key,
        song_id=event.song_id,
        type=event.type,
        value=event.value,
        run_id=event.run_id,
        context=event.context,
        occurred_at=min(event.occurred_at or now, now),
        received_at=now,
    )
