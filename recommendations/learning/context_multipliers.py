"""Learns the multipliers of situations from the songs members sang, played and liked, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q

from engine.settings import SituationTable
from engine.training.context_learning import Heard, heard, with_learned
from profiles.models import FeedbackEvent, FeedbackType
from profiles.services import FEEDBACK_WINDOW

from ..models import LearnedSituations
from ..serving import active_engine
from ..serving.parsing.context_words import parse_context, part_of_day, resolve_mood

#: Only the latest events are counted.
MAX_EVENTS = 300_000
#: Older rows are deleted; the last ones show how the table moved.
MAX_ROWS = 14
#: Positive events; of plays those heard at least half.
_POSITIVE = (FeedbackType.SANG, FeedbackType.COMPLETE, FeedbackType.REPLAY, FeedbackType.LIKE)
_MIN_PLAYED = 0.5
_FIELDS = ("at", "time_of_day", "mood", "activity")


def learn(*, now: datetime) -> LearnedSituations | None:
    """Count the events of the last year and put the result in force; None where there are none."""
    found = heard(active_engine.current().snapshot.catalog, _events(now))
    if not found.events:
        return None
    row = LearnedSituations.objects.create(heard=found.to_json(), made_at=now)
    older = LearnedSituations.objects.order_by("-pk").values_list("pk", flat=True)[MAX_ROWS:]
    LearnedSituations.objects.filter(pk__in=list(older)).delete()
    active_engine.expire()
    return row


def _events(now: datetime) -> Iterator[tuple[int, Sequence[str]]]:
    positive = Q(type__in=_POSITIVE) | (
        Q(type=FeedbackType.PLAY) & (Q(value=None) | Q(value__gte=_MIN_PLAYED))
    )
    rows = FeedbackEvent.objects.filter(positive, occurred_at__gt=now - FEEDBACK_WINDOW)
    columns = rows.order_by("-occurred_at").values_list("song_id", "context", "occurred_at")
    for song_id, context, at in columns[:MAX_EVENTS].iterator(chunk_size=5_000):
        yield song_id, situations_of(context, at)


def situations_of(context: Any, at: datetime) -> list[str]:
    """The situations an event names; without a time of day the one when it happened."""
    sent = context if isinstance(context, dict) else {}
    parsed = parse_context({name: sent[name] for name in _FIELDS if name in sent})
    mood = resolve_mood(parsed.mood_word, active_engine.current()) if parsed.mood_word else ""
    found = [parsed.context.time_of_day or part_of_day(at), parsed.context.activity, mood]
    return [str(situation) for situation in found if situation]


def comparison(
    table: SituationTable, found: Heard
) -> list[tuple[str, int, list[tuple[str, float, float]]]]:
    """(situation, events, [(word, staff's number, the one in force)]) where events changed a number."""
    learned = with_learned(table, found)
    rows = []
    for name, events in sorted(found.events.items(), key=lambda one: -one[1]):
        before = table.multipliers.get(name) or table.occasions.get(name, {})
        after = learned.multipliers.get(name) or learned.occasions.get(name, {})
        changed = [
            (word, before.get(word, 1.0), number)
            for word, number in sorted(after.items(), key=lambda one: -one[1])
            if number != before.get(word, 1.0)
        ]
        rows.append((name, int(events), changed))
    return rows
