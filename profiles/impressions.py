"""Counts which songs were shown to a member in which run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F

from profiles.models import Impression


@dataclass(frozen=True, kw_only=True)
class ShownAnswer:
    """An answer that was shown to a member, once or more often since the last batch."""

    member_key: str
    run_uuid: UUID
    #: (song id, list that holds it, place from 1), every song once
    places: Sequence[tuple[int, str, int]]
    times: int = 1


def record_impressions(batch: Iterable[ShownAnswer], *, now: datetime) -> None:
    """Count what was shown: two statements per run, never one per song or read."""
    shown = list(batch)
    rows = [
        Impression(
            run_id=str(answer.run_uuid),
            member_key=answer.member_key,
            song_id=song_id,
            group=label[:120],
            position=place,
            first_at=now,
            last_at=now,
        )
        for answer in shown
        for song_id, label, place in answer.places
    ]
    with transaction.atomic():
        Impression.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
        for answer in shown:
            Impression.objects.filter(run_id=str(answer.run_uuid)).update(
                times=F("times") + answer.times, last_at=now
            )
