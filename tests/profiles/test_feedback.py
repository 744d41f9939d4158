"""Feedback events and the signals they become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from profiles import models, services

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_feedback_of_every_type_becomes_a_signal():
    events = [
        services.Feedback(event_id=kind, member_key="42", song_id=n, type=kind, value=value)
        for n, (kind, value) in enumerate(
            [(kind, 4.0 if kind == "rating" else None) for kind in models.FeedbackType.values], 1
        )
    ]
    services.record_feedback(events, now=NOW)
    seen = services.member_profile("42", favorite_ids=[], now=NOW).signals
    assert {(str(s.type), s.value) for s in seen} == {
        (kind, 4.0 if kind == "rating" else 1.0) for kind in models.FeedbackType.values
    }


def test_a_year_old_event_says_nothing_about_today():
    old = NOW - timedelta(days=366)
    services.record_feedback(
        [services.Feedback(event_id="e", member_key="42", song_id=1, type="play")], now=old
    )
    assert services.member_profile("42", favorite_ids=[], now=NOW).signals == ()
