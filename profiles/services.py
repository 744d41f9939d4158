"""The door of this app: everything that other apps may call here."""

from __future__ import annotations

from profiles.blocks import block, blocks_of, unblock
from profiles.favorites import (
    FavoritesUpdate,
    clear_cache,
    has_favorites,
    record_favorites_update,
)
from profiles.feedback import FEEDBACK_WINDOW, Feedback, FeedbackVerdict, record_feedback
from profiles.impressions import ShownAnswer, record_impressions
from profiles.member_profile import MemberProfile, favorites_fingerprint, member_profile
from profiles.retention import purge
from profiles.taste import override_taste, store_taste

__all__ = [
    "FEEDBACK_WINDOW",
    "FavoritesUpdate",
    "Feedback",
    "FeedbackVerdict",
    "MemberProfile",
    "ShownAnswer",
    "block",
    "blocks_of",
    "clear_cache",
    "favorites_fingerprint",
    "has_favorites",
    "member_profile",
    "override_taste",
    "purge",
    "record_favorites_update",
    "record_feedback",
    "record_impressions",
    "store_taste",
    "unblock",
]
