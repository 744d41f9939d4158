"""Names the steps of a recipe and what they note in the trace of a run: a code with numbers, no prose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class StepName(StrEnum):
    """The steps, by the name of their function. Traces and `why` store these values."""

    ONLY_WHAT_WAS_ASKED = "only_what_was_asked"
    WITHOUT_KNOWN_SONGS = "without_known_songs"
    WITHOUT_WHAT_WAS_REFUSED = "without_what_was_refused"
    SCORE = "score"
    LEAN_TO_ADVENTURE = "lean_to_adventure"
    LEAN_TO_PREFERENCES = "lean_to_preferences"
    REST_WHAT_WAS_SHOWN = "rest_what_was_shown"
    KEEP_POOL = "keep_pool"
    VARY = "vary"
    EXPLORE = "explore"
    #: Behind the recipe: what `recommend` adds to the list.
    GROUP = "group"
    GIVE_REASONS = "give_reasons"


class FilterKind(StrEnum):
    """What a filter or block of a request goes by."""

    SONG = "song"
    ARTIST = "artist"
    GENRE = "genre"
    MOOD = "mood"
    ANIME = "anime"
    LANGUAGE = "language"
    TJ = "tj"
    KY = "ky"


class NoteCode(StrEnum):
    """What a step noted. The comment names the fields of `Note` that belong to it."""

    # Songs left out.
    INACTIVE = "inactive"  # count
    OUTSIDE_FILTER = "outside_filter"  # kind, count
    FAVORITE = "favorite"  # count
    FAVORITE_VERSION = "favorite_version"  # count
    DISLIKED = "disliked"  # count
    UNLIKED_LATELY = "unliked_lately"  # count
    EXCLUDED = "excluded"  # kind, count
    BARRED = "barred"  # source, name, count
    NOTHING_LEFT = "nothing_left"
    ONLY_FAVORITES_LEFT = "only_favorites_left"
    KNOWN_SONGS_ALLOWED = "known_songs_allowed"
    # Scores.
    EMPTY_CATALOG = "empty_catalog"
    KNOWN_SONGS = "known_songs"  # count
    SCORE_PARTS = "score_parts"  # parts
    NEW_ARTISTS = "new_artists"  # amount
    PREFERENCE = "preference"  # source, name, amount
    PREFERENCE_WITHOUT_SONGS = "preference_without_songs"  # source, name
    SHOWN_LATELY = "shown_lately"  # count
    # The list.
    VERSIONS_MERGED = "versions_merged"  # count
    NOTHING_TO_ORDER = "nothing_to_order"
    OVER_CAP = "over_cap"  # count
    LIST_TOO_SHORT = "list_too_short"
    NOTHING_BEYOND_LIST = "nothing_beyond_list"
    EXPLORED = "explored"  # count, total
    GROUPS = "groups"  # count


@dataclass(frozen=True, kw_only=True)
class Note:
    """One thing a step did."""

    code: NoteCode
    count: int = 0
    total: int = 0
    #: Score added, in standard deviations.
    amount: float = 0.0
    kind: FilterKind | None = None
    #: A genre, mood or artist.
    name: str = ""
    #: Whose preference it is (`engine.types.PreferenceSource`).
    source: str = ""
    #: Names of the parts of a score (`engine.weights.ScorerName`, `ScoreAdjustment`).
    parts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The code and the fields that are set."""
        values = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in values if value != field.default}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Note:
        """Raises ValueError or TypeError for a record that `to_json` did not write."""
        values = dict(record)
        values["code"] = NoteCode(values["code"])
        if "kind" in values:
            values["kind"] = FilterKind(values["kind"])
        return cls(**values | {"parts": tuple(values.get("parts", ()))})


@dataclass(frozen=True, kw_only=True)
class StepTrace:
    """What one step of a recipe did."""

    name: StepName
    left: int  #: rows left after the step
    ms: float
    notes: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "left": self.left,
            "ms": self.ms,
            "notes": [note.to_json() for note in self.notes],
        }
