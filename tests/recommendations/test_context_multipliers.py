"""Multipliers of situations, learned from events where there are enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from engine.catalog.catalog import Catalog
from engine.settings import SituationTable
from engine.training.context_learning import MIN_EVENTS, heard, with_learned
from profiles.models import FeedbackEvent
from recommendations.learning.context_multipliers import MAX_ROWS, learn, situations_of
from recommendations.models import LearnedSituations
from recommendations.serving import active_engine
from tests.engine.conftest import NOW, song

CALM, LOUD = 5, 4  # あいみょん: 잔잔, 結束バンド: 에너지
WORLD = Catalog.build([song(n) for n in range(1, 61)], now=NOW)


def table(*, prior_events: int = 300) -> SituationTable:
    return SituationTable(multipliers={"night": {"잔잔": 1.0}}, prior_events=prior_events)


def nights(calm: int, loud: int, *, else_loud: int = 0) -> list[tuple[int, list[str]]]:
    return [
        *[(CALM, ["night"])] * calm,
        *[(LOUD, ["night"])] * loud,
        *[(LOUD, ["morning"])] * else_loud,
    ]


def test_what_is_sung_more_at_night_than_usually_gains():
    learned = with_learned(table(), heard(WORLD, nights(300, 100, else_loud=400)))
    assert learned.of("night")["잔잔"] > 1.2
    assert learned.of("night")["에너지"] < 0.8
    assert learned.of("morning")["에너지"] > 1.0, "staff said nothing of it, the events do"


def test_too_few_events_teach_nothing():
    few = heard(WORLD, nights(MIN_EVENTS - 1, 0, else_loud=MIN_EVENTS - 1))
    assert with_learned(table(), few).of("night") == table().of("night")


def test_the_number_of_staff_weighs_as_many_events_as_staff_say():
    found = heard(WORLD, nights(300, 100, else_loud=400))
    numbers = [
        with_learned(table(prior_events=weight), found).of("night")["잔잔"]
        for weight in (0, 300, 1_000_000)
    ]
    assert numbers[0] > numbers[1] > numbers[2]
    assert numbers[2] == pytest.approx(1.0, abs=0.01)


def test_nothing_heard_changes_nothing():
    assert with_learned(SituationTable(), heard(WORLD, [])) == SituationTable()
    assert heard(WORLD, [(999_999, ["night"])]).events == {}


@pytest.mark.parametrize(
    ("context", "situations"),
    [
        ({}, ["night"]),  # 14:00 UTC is 23:00 in Seoul
        ({"activity": "파티"}, ["night", "party"]),
        ({"time_of_day": "morning", "activity": "commute"}, ["morning", "commute"]),
        ({"at": "2026-01-15T09:00:00+09:00"}, ["morning"]),
        ({"screen": "home", "mood": 7}, ["night"]),
        ("rubbish", ["night"]),
    ],
)
@pytest.mark.django_db
def test_an_event_tells_its_situation_or_its_hour_does(context, situations):
    assert situations_of(context, datetime(2026, 1, 15, 14, tzinfo=UTC)) == situations


@pytest.mark.django_db
def test_events_change_the_table_in_force_and_the_version_says_so(world):
    before = active_engine.current()
    word, others = taken_up(before, count=MIN_EVENTS)
    row = learn(now=timezone.now())
    assert row is not None
    after = active_engine.current()
    assert after.settings.situations.of("workout")[word] > before.settings.situations.of(
        "workout"
    ).get(word, 1.0)
    assert after.versions["settings"] == f"{before.versions['settings']}+{row.pk}"
    assert others


@pytest.mark.django_db
def test_skips_teach_nothing_and_old_countings_are_dropped(world):
    now = timezone.now()
    FeedbackEvent.objects.create(
        event_id="s", member_key="1", song_id=1, type="skip", occurred_at=now, received_at=now
    )
    assert learn(now=now) is None
    taken_up(active_engine.current(), count=3)
    for _ in range(MAX_ROWS + 2):
        learn(now=now)
    assert LearnedSituations.objects.count() == MAX_ROWS


def taken_up(state: active_engine.EngineState, *, count: int) -> tuple[str, list[int]]:
    """Songs of one mood are sung at workouts, the others elsewhere; the mood's key and the others."""
    catalog = state.snapshot.catalog
    terms = catalog.terms["mood"]
    code = int(terms.leading[terms.leading >= 0][0])
    of_mood = catalog.song_ids[terms.rows_of(code)].tolist()
    others = [n for n in catalog.song_ids.tolist() if n not in of_mood]
    now = timezone.now()
    FeedbackEvent.objects.bulk_create(
        FeedbackEvent(
            event_id=f"{place}-{number}",
            member_key="7",
            song_id=songs[number % len(songs)],
            type="sang",
            context={"activity": "workout"} if place == "gym" else {},
            occurred_at=now - timedelta(minutes=number),
            received_at=now,
        )
        for place, songs in (("gym", of_mood), ("home", others))
        for number in range(count)
    )
    return terms.names[code].casefold().replace(" ", ""), others
