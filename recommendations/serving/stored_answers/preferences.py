"""Reads the preference that lies in Redis for a member: ours, or what the old API left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from infrastructure.redis import gate
from prompts.llm import sanitizing

from .foreign_answers import whole_number


def read_preference(member_key: str) -> dict[str, Any] | None:
    """`preference:{member}`, or the old API's `pref:{member}`; None when neither is readable."""
    for value in gate.call(
        lambda client: client.mget(f"preference:{member_key}", f"pref:{member_key}"), [None, None]
    ):
        if value is None:
            continue
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            continue
        if isinstance(parsed, dict) and isinstance(parsed.get("preference"), dict):
            return parsed
    return None


def taste_text_for(member_key: str, favorite_ids: Iterable[int]) -> str:
    """The taste in words that was stored for exactly these favourites; "" when there is none."""
    stored = read_preference(member_key)
    if stored is None:
        return ""
    listed = stored.get("favorite_song_ids")
    stored_ids = {whole_number(item) for item in listed} if isinstance(listed, list) else set()
    if stored_ids != set(favorite_ids):
        return ""
    return sanitizing.taste_text(stored["preference"].get("overall_taste"))
