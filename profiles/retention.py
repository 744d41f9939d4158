"""Deletes rows about members that are too old to count."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from catalog.keys import member_id_of
from infrastructure.database import DELETE_BATCH, delete_in_batches
from profiles.favorites import OVERLAY_LIFE
from profiles.models import (
    Block,
    CallerFavorite,
    FavoriteOverlay,
    FeedbackEvent,
    Impression,
    TasteProfile,
    TasteSnapshot,
)


def purge(
    *, now: datetime, feedback_days: int, impression_days: int, caller_days: int
) -> dict[str, int]:
    """Delete old rows in small transactions; returns the number of deleted rows by kind.

    caller_days: how long a caller's own user is kept after the last answer. Nobody else could tell
    that such a user is gone; members of the shared database are kept.
    """
    feedback_until = now - timedelta(days=feedback_days)
    impressions_until = now - timedelta(days=impression_days)
    callers_until = now - timedelta(days=caller_days)
    overlays_until = now - OVERLAY_LIFE
    return {
        "feedback": delete_in_batches(FeedbackEvent.objects.filter(received_at__lt=feedback_until)),
        "impressions": delete_in_batches(Impression.objects.filter(last_at__lt=impressions_until)),
        "overlays": FavoriteOverlay.objects.filter(stated_at__lte=overlays_until).delete()[0],
        "blocks": Block.objects.filter(until__lt=now).delete()[0],
        "caller_tastes": _delete_of_callers(
            TasteProfile.objects.filter(generated_at__lt=callers_until)
        )
        + _delete_of_callers(TasteSnapshot.objects.filter(generated_at__lt=callers_until)),
        "caller_favorites": delete_in_batches(_forgotten_favorites(feedback_until)),
    }


def _delete_of_callers(rows: QuerySet[Any]) -> int:
    """Delete those of the rows that belong to callers' own users. Walks the primary key once."""
    deleted, after = 0, 0
    while batch := list(
        rows.filter(pk__gt=after).order_by("pk").values_list("pk", "member_key")[:DELETE_BATCH]
    ):
        after = batch[-1][0]
        theirs = [pk for pk, member_key in batch if member_id_of(member_key) is None]
        deleted += rows.model._default_manager.filter(pk__in=theirs).delete()[0]
    return deleted


def _forgotten_favorites(until: datetime) -> QuerySet[CallerFavorite]:
    """Favourites of users who were given no answer since their taste was purged."""
    taste = TasteProfile.objects.filter(member_key=OuterRef("member_key"))
    return CallerFavorite.objects.filter(~Exists(taste), stated_at__lt=until)
