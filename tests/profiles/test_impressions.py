"""Impressions: one row per run and song, few statements per batch."""

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


def test_an_impression_is_one_row_per_run_and_song_with_a_count():
    shown(1, times=3)
    shown(1, times=2, at=NOW + timedelta(hours=1))
    row = models.Impression.objects.get(song_id=1)
    assert (row.times, row.group, row.position) == (5, "록", 1)
    assert (row.first_at, row.last_at) == (NOW, NOW + timedelta(hours=1))


def test_a_batch_costs_statements_by_run_and_not_by_song(django_assert_max_num_queries):
    places = [(song_id, "", song_id) for song_id in range(1, 61)]
    batch = [
        services.ShownAnswer(member_key=str(n), run_uuid=UUID(int=n), places=places)
        for n in range(1, 4)
    ]
    with django_assert_max_num_queries(8):  # savepoint and release, an insert or two, three updates
        services.record_impressions(batch, now=NOW)
    assert models.Impression.objects.count() == 180
