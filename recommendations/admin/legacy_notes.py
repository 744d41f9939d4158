"""Reads the notes that traces of 0.2.0 hold as English prose; they are kept for 90 days."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.ranking.notes import FilterKind, Note, NoteCode
from engine.types import PreferenceSource
from engine.weights import ScoreAdjustment, ScorerName

_SOURCE = f"(?P<source>{'|'.join(PreferenceSource)})"
_COUNT = r"(?P<count>\d+)"
_PART = f"(?:{'|'.join((*ScorerName, *ScoreAdjustment))})"

#: The first pattern that matches the whole of a note tells its code; the names of groups are fields of `Note`.
_PATTERNS: tuple[tuple[re.Pattern[str], NoteCode], ...] = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (rf"inactive: {_COUNT}", NoteCode.INACTIVE),
        (
            rf"only: (?P<kind>song_ids|artist|genre|mood|language|tj|ky): {_COUNT}",
            NoteCode.OUTSIDE_FILTER,
        ),
        (rf"favourite: {_COUNT}", NoteCode.FAVORITE),
        (rf"another version of a favourite: {_COUNT}", NoteCode.FAVORITE_VERSION),
        (rf"disliked: {_COUNT}", NoteCode.DISLIKED),
        (rf"unliked lately: {_COUNT}", NoteCode.UNLIKED_LATELY),
        (rf"excluded (?P<kind>song|artist|genre|mood|anime): {_COUNT}", NoteCode.EXCLUDED),
        (rf"{_SOURCE}: barred (?P<name>.*): {_COUNT}", NoteCode.BARRED),
        (
            r"nothing left, every song left is a favourite: the list is empty",
            NoteCode.ONLY_FAVORITES_LEFT,
        ),
        (r"nothing left: the list is empty", NoteCode.NOTHING_LEFT),
        (r"known songs allowed", NoteCode.KNOWN_SONGS_ALLOWED),
        (r"the catalog is empty", NoteCode.EMPTY_CATALOG),
        (rf"{_COUNT} known songs", NoteCode.KNOWN_SONGS),
        (rf"(?P<parts>{_PART}(?:, {_PART})*)", NoteCode.SCORE_PARTS),
        (r"new artists (?P<amount>[+-]\d+\.\d+)", NoteCode.NEW_ARTISTS),
        (rf"{_SOURCE}: no song of (?P<name>.*)", NoteCode.PREFERENCE_WITHOUT_SONGS),
        (rf"{_SOURCE}: (?P<name>.*) (?P<amount>\+\d+\.\d+)", NoteCode.PREFERENCE),
        (rf"{_COUNT} shown lately sink", NoteCode.SHOWN_LATELY),
        (rf"{_COUNT} further versions of a song merged", NoteCode.VERSIONS_MERGED),
        (r"nothing to order", NoteCode.NOTHING_TO_ORDER),
        (rf"{_COUNT} over a cap, for want of others", NoteCode.OVER_CAP),
        (r"none: the list is too short", NoteCode.LIST_TOO_SHORT),
        (r"none: nothing beyond the list", NoteCode.NOTHING_BEYOND_LIST),
        (rf"{_COUNT} of (?P<total>\d+)", NoteCode.EXPLORED),
        (rf"{_COUNT} groups", NoteCode.GROUPS),
    )
)
_KINDS = {"song_ids": FilterKind.SONG}
_CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "count": int,
    "total": int,
    "amount": float,
    "kind": lambda text: _KINDS.get(text) or FilterKind(text),
    "name": str,
    "source": str,
    "parts": lambda text: tuple(text.split(", ")),
}


def notes_of(prose: str) -> list[Note | str]:
    """The notes of one step; a part that no step of 0.2.0 wrote stays as it is."""
    return [_note_of(part) for part in prose.split("; ") if part]


def _note_of(part: str) -> Note | str:
    for pattern, code in _PATTERNS:
        if match := pattern.fullmatch(part):
            values = {field: _CONVERTERS[field](text) for field, text in match.groupdict().items()}
            return Note(code=code, **values)
    return part
