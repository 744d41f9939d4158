"""Deletes rows about members that are too old to count."""

from __future__ import annotations

from datetime import datetime, timedelta

from infrastructure.database import delete_in_batches
from profiles.favorites import OVERLAY_LIFE
from profiles.models import Block, FavoriteOverlay, FeedbackEvent, Impression


def purge(*, now: datetime, feedback_days: int, impression_days: int) -> dict[str, int]:
    """Delete old rows in small transactions; returns the number of deleted rows by kind."""
    feedback_until = now - timedelta(days=feedback_days)
    impressions_until = now - timedelta(days=impression_days)
    overlays_until = now - OVERLAY_LIFE
    return {
        "feedback": delete_in_batches(FeedbackEvent.objects.filter(received_at__lt=feedback_until)),
        "impressions": delete_in_batches(Impression.objects.filter(last_at__lt=impressions_until)),
        "overlays": FavoriteOverlay.objects.filter(stated_at__lte=overlays_until).delete()[0],
        "blocks": Block.objects.filter(until__lt=now).delete()[0],
    }
