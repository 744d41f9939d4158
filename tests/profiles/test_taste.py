"""Stored taste, its history, and the leanings it gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def test_the_models_words_weigh_less_the_later_they_come():
    read(genres=["가", "나", "다", "라", "마", "바", "사"])
    found = services.member_profile("42", favorite_ids=[], now=NOW).preferences
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
    assert services.member_profile("42", favorite_ids=[], now=NOW).preferences == ()
