"""Rows that are too old are deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from profiles import models, services

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def shown(run: int, *, times=1, at=NOW, songs=((1, "록", 1), (2, "", 1))):
    answer = services.ShownAnswer(
        member_key="42", run_uuid=UUID(int=run), places=songs, times=times
    )
    services.record_impressions([answer], now=at)


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
