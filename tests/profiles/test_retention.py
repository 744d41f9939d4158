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


def purged() -> dict[str, int]:
    """What a purge deletes, without the kinds it found nothing of but asked for in every test."""
    found = services.purge(now=NOW, feedback_days=730, impression_days=45, caller_days=30)
    return {kind: count for kind, count in found.items() if count or not kind.startswith("caller_")}


def read_taste(member_key: str, days: int) -> None:
    """A taste that was read so many days ago."""
    services.store_taste(
        member_key,
        text="…",
        genres=["록"],
        moods=[],
        artists=[],
        favorites_sha="",
        source="local",
        now=NOW - timedelta(days=days),
    )


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
    assert purged() == {"feedback": 1, "impressions": 2, "overlays": 0, "blocks": 1}
    assert models.FeedbackEvent.objects.get().event_id == "new"
    assert models.Impression.objects.count() == 2


def test_tastes_of_callers_own_users_are_forgotten_and_those_of_members_kept():
    for member_key, days in (("gone", 31), ("here", 29), ("42", 400), ("٤٢", 31)):
        read_taste(member_key, days)
    assert purged()["caller_tastes"] == 4  # of two users, each with a profile and its history
    assert set(models.TasteProfile.objects.values_list("member_key", flat=True)) == {"here", "42"}
    assert set(models.TasteSnapshot.objects.values_list("member_key", flat=True)) == {"here", "42"}


def test_favourites_of_a_caller_who_still_asks_are_kept():
    for member_key in ("gone", "here"):
        services.record_favorites_update(
            member_key, action="add", song_ids=[1], now=NOW - timedelta(days=800)
        )
    read_taste("here", 1)
    assert purged()["caller_favorites"] == 1
    assert models.CallerFavorite.objects.get().member_key == "here"
