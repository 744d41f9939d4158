"""Stored taste and its history, impressions, retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from profiles import models, services

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def read(at=NOW, **changes):
    taste = {"text": "t", "genres": ["록"], "moods": ["강렬"], "artists": ["Ado"]}
    services.store_taste("42", **{**taste, **changes}, favorites_sha="f", source="model", now=at)


def test_a_new_reading_replaces_the_old_one_and_history_keeps_what_changed():
    read()
    read(at=NOW + timedelta(days=1))
    read(at=NOW + timedelta(days=2), genres=["발라드"], moods=["잔잔"])
    assert models.TasteProfile.objects.get().preferred_genres == ["발라드"]
    kept = list(models.TasteSnapshot.objects.order_by("generated_at"))
    assert [taste.preferred_genres for taste in kept] == [["록"], ["발라드"]]


@pytest.mark.parametrize(
    ("before", "after", "drift"),
    [
        (["록"], ["록"], 0.0),
        (["록"], ["발라드"], 1.0),
        (["록", "팝"], ["팝", "발라드"], 2 / 3),  # 1 of 3 words in common
        ([], [], 0.0),
    ],
)
def test_drift_is_the_share_of_words_not_in_common(before, after, drift):
    one = models.TasteSnapshot(preferred_genres=before)
    other = models.TasteSnapshot(preferred_genres=after)
    assert other.drift_from(one) == pytest.approx(drift)


def shown(run: int, *, times=1, at=NOW, songs=((1, "록", 1), (2, "", 1))):
    answer = services.Shown(member_key="42", run_uuid=UUID(int=run), places=songs, times=times)
    services.record_impressions([answer], now=at)


def test_an_impression_is_one_row_per_run_and_song_with_a_count():
    shown(1, times=3)
    shown(1, times=2, at=NOW + timedelta(hours=1))
    row = models.Impression.objects.get(song_id=1)
    assert (row.times, row.group, row.position) == (5, "록", 1)
    assert (row.first_at, row.last_at) == (NOW, NOW + timedelta(hours=1))


def test_a_batch_costs_statements_by_run_and_not_by_song(django_assert_max_num_queries):
    places = [(song_id, "", song_id) for song_id in range(1, 61)]
    batch = [
        services.Shown(member_key=str(n), run_uuid=UUID(int=n), places=places) for n in range(1, 4)
    ]
    with django_assert_max_num_queries(8):  # savepoint and release, an insert or two, three updates
        services.record_impressions(batch, now=NOW)
    assert models.Impression.objects.count() == 180


def test_what_is_too_old_is_purged_and_the_rest_stays():
    shown(1, at=NOW - timedelta(days=100))
    shown(2, at=NOW)
    for event_id, days in (("old", 800), ("new", 10)):
        services.record_feedback(
            [services.Feedback(event_id=event_id, member_key="42", song_id=1, type="play")],
            now=NOW - timedelta(days=days),
        )
    services.block("42", kind="song", song_id=1, until=NOW - timedelta(days=1), now=NOW)
    services.block("42", kind="song", song_id=2, now=NOW)
    gone = services.purge(now=NOW, feedback_days=730, impression_days=45)
    assert gone == {"feedback": 1, "impressions": 2, "overlays": 0, "blocks": 1}
    assert models.FeedbackEvent.objects.get().event_id == "new"
    assert models.Impression.objects.count() == 2


def test_feedback_of_every_type_becomes_a_signal():
    events = [
        services.Feedback(event_id=kind, member_key="42", song_id=n, type=kind, value=value)
        for n, (kind, value) in enumerate(
            [(kind, 4.0 if kind == "rating" else None) for kind in models.FeedbackType.values], 1
        )
    ]
    services.record_feedback(events, now=NOW)
    seen = services.picture("42", favorite_ids=[], now=NOW).signals
    assert {(str(s.type), s.value) for s in seen} == {
        (kind, 4.0 if kind == "rating" else 1.0) for kind in models.FeedbackType.values
    }


def test_a_year_old_event_says_nothing_about_today():
    old = NOW - timedelta(days=366)
    services.record_feedback(
        [services.Feedback(event_id="e", member_key="42", song_id=1, type="play")], now=old
    )
    assert services.picture("42", favorite_ids=[], now=NOW).signals == ()


def test_the_models_words_weigh_less_the_later_they_come():
    read(genres=["가", "나", "다", "라", "마", "바", "사"])
    found = services.picture("42", favorite_ids=[], now=NOW).preferences
    weights = [p.weight for p in found if p.kind == "genre"]
    assert weights[0] == 0.6
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == 0.2


def test_a_taste_counted_locally_is_no_preference_of_its_own():
    services.store_taste(
        "42",
        text="",
        genres=["록"],
        moods=[],
        artists=[],
        favorites_sha="",
        source="local",
        now=NOW,
    )
    assert services.picture("42", favorite_ids=[], now=NOW).preferences == ()
