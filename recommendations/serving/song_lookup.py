"""Finds songs in the catalog in force: by text, and by likeness to other songs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from catalog.song_payloads import group_song
from engine.catalog.search.query import find_songs
from engine.scoring.similar import similar
from engine.types import Locale, SongView

from . import active_engine


def search(text: str, *, limit: int) -> list[dict[str, Any]]:
    """The songs that match the text, best first."""
    snapshot = active_engine.current().snapshot
    found = find_songs(snapshot.search, text, limit)
    return [_song_payload(snapshot.catalog.view(row), score) for row, score in found]


def similar_to(
    song_ids: Sequence[int], *, limit: int, locale: Locale, now: datetime
) -> dict[str, Any]:
    """The songs most like all of these together, and which of these the catalog does not have."""
    state = active_engine.current()
    catalog = state.snapshot.catalog
    rows = catalog.rows_of(song_ids).tolist()
    found = similar(
        song_ids,
        catalog=catalog,
        model=state.model,
        settings=state.settings,
        limit=limit,
        locale=locale,
        now=now,
    )
    return {
        "song_ids": list(song_ids),
        "unresolved": [song_id for song_id, row in zip(song_ids, rows, strict=True) if row < 0],
        "songs": [
            {
                **_song_payload(candidate.song, candidate.match_score),
                "reason": candidate.reason,
            }
            for candidate in found
        ],
    }


def _song_payload(song: SongView, score: float) -> dict[str, Any]:
    return {
        **group_song(song),
        "genre": song.genre,
        "mood": song.mood,
        "score": round(float(score), 4),
    }
