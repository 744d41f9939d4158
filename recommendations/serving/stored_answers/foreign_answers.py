"""Brings answers that other programs wrote under `recommend:{member}` into our shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from .answer_payload import encode_answer

_TEXTS = ("title_jp", "title_kr", "title_en", "title_yomi", "artist", "artist_kr")
_NUMBERS = ("tj_number", "ky_number")


def normalize(stored: bytes) -> bytes:
    """Rewrite the value of the old scheduler, or songs_be's re-serialised answer, in our shape.

    Raises ValueError when it is no JSON object.
    """
    raw = orjson.loads(stored)
    if not isinstance(raw, dict):
        raise ValueError("the stored recommendation is no JSON object")
    nested = raw.get("recommendations")
    nested = nested if isinstance(nested, dict) else {}
    favorites = raw.get("favorite_song_ids", raw.get("favorites"))
    numbers = map(whole_number, favorites if isinstance(favorites, list) else [])
    candidates = raw.get("candidates") or nested.get("candidates")
    return encode_answer(
        favorite_song_ids=[number for number in numbers if number is not None],
        groups=[_group(item) for item in _mappings(raw.get("groups") or nested.get("groups"))],
        candidates=[_candidate(item) for item in _mappings(candidates)],
        generated_date=_text(raw.get("generated_date")),
    )


def whole_number(value: Any, *, positive: bool = False) -> int | None:
    """An integer out of what other writers left: 7, "7", 7.0; None when it is none."""
    try:
        number = int(float(value)) if not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return None if number is None or (positive and number <= 0) else number


def _group(raw: Mapping[str, Any]) -> dict[str, Any]:
    label = _text(raw.get("label"))
    return {
        "label": label,
        "tagline": _text(raw.get("tagline")) or label,
        "songs": [_song(song) for song in _mappings(raw.get("songs"))],
    }


def _song(raw: Mapping[str, Any]) -> dict[str, Any]:
    song: dict[str, Any] = {}
    if (song_id := whole_number(raw.get("song_id"))) is not None:
        song["song_id"] = song_id
    song |= {name: _text(raw.get(name)) for name in _TEXTS}
    song |= {name: whole_number(raw.get(name), positive=True) for name in _NUMBERS}
    return song


def _candidate(raw: Mapping[str, Any]) -> dict[str, Any]:
    score = raw.get("match_score")
    kind = raw.get("recommendation_type")
    criteria = raw.get("matched_criteria")
    return _song(raw) | {
        "genre": _text(raw.get("genre")),
        "mood": _text(raw.get("mood")),
        "recommendation_type": kind if kind in ("preference", "random") else "preference",
        "matched_criteria": [_text(item) for item in criteria]
        if isinstance(criteria, list)
        else [],
        "match_score": score
        if isinstance(score, int | float) and not isinstance(score, bool)
        else 0,
        "reason": _text(raw.get("reason")),
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
