"""Holds the weight of each scorer by the number of songs known of a member; staff may edit the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Lower bounds of the buckets of known songs, and their names as staff see them.
BUCKETS: tuple[tuple[int, str], ...] = ((0, "0"), (1, "1-2"), (3, "3-9"), (10, "10+"))


class ScorerName(StrEnum):
    """The scorers; stored weights and models name them by these values."""

    EASE = "ease"
    KNN = "knn"
    RP3 = "rp3"
    ALS = "als"
    CONTENT = "content"
    POPULARITY = "popularity"
    STANDING = "standing"
    TREND = "trend"
    RECENCY = "recency"
    REPEAT = "repeat"
    DISLIKE = "dislike"
    SESSION = "session"


class ScoreAdjustment(StrEnum):
    """Parts of a song's score that are added to the scorers'."""

    CONTEXT = "context"
    ADVENTURE = "adventure"
    STAFF = "staff"
    MODEL = "model"
    ROTATION = "rotation"


SCORERS = frozenset(ScorerName)

_ALWAYS: Mapping[str, float] = {
    ScorerName.DISLIKE: 0.3,
    ScorerName.REPEAT: 0.5,
    ScorerName.SESSION: 1.0,
}
#: Weights before training, and where there are too few members to learn from.
DEFAULT_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "0": {
        ScorerName.POPULARITY: 1.0,
        ScorerName.TREND: 0.3,
        ScorerName.RECENCY: 0.2,
        ScorerName.SESSION: 1.0,
    },
    "1-2": {
        ScorerName.EASE: 0.6,
        ScorerName.RP3: 0.6,
        ScorerName.ALS: 0.3,
        ScorerName.CONTENT: 0.3,
        **_ALWAYS,
    },
    "3-9": {
        ScorerName.EASE: 1.0,
        ScorerName.RP3: 0.3,
        ScorerName.ALS: 0.5,
        ScorerName.CONTENT: 0.2,
        **_ALWAYS,
    },
    "10+": {
        ScorerName.EASE: 1.0,
        ScorerName.RP3: 0.2,
        ScorerName.ALS: 0.5,
        ScorerName.CONTENT: 0.15,
        **_ALWAYS,
    },
}
_LEARNED = "learned"


class InvalidWeights(ValueError):
    """A weight table that cannot be used; the message names the entry and its bounds."""


def bucket_of(known_songs: int) -> str:
    """The name of the bucket for a number of known songs."""
    return next(name for minimum, name in reversed(BUCKETS) if known_songs >= minimum)


@dataclass(frozen=True, kw_only=True)
class BlendWeights:
    """Weight of each scorer per bucket of known songs. 0 or absent = the scorer is not used."""

    by_bucket: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    #: Use the weights learned by the active model instead of this table.
    learned: bool = True
    version: str = "default"

    def of(self, known_songs: int) -> Mapping[str, float]:
        return self.by_bucket[bucket_of(known_songs)]

    def to_json(self) -> dict[str, Any]:
        table = {
            bucket: {str(scorer): weight for scorer, weight in weights.items()}
            for bucket, weights in self.by_bucket.items()
        }
        return {_LEARNED: self.learned, **table}

    @classmethod
    def from_json(cls, table: Any, *, version: str = "default") -> BlendWeights:
        """Raises InvalidWeights, naming the entry, unless every bucket is there with known scorers."""
        if not isinstance(table, Mapping):
            raise InvalidWeights("expected a table of buckets")
        learned = table.get(_LEARNED, True)
        if not isinstance(learned, bool):
            raise InvalidWeights(f"{_LEARNED}: {learned!r} is neither true nor false")
        buckets = {name: weights for name, weights in table.items() if name != _LEARNED}
        names = [name for _, name in BUCKETS]
        if sorted(buckets) != sorted(names):
            raise InvalidWeights(f"expected exactly the buckets {', '.join(names)}")
        for bucket, weights in buckets.items():
            _check_bucket(bucket, weights)
        return cls(by_bucket=buckets, learned=learned, version=version)


def _check_bucket(bucket: str, weights: Any) -> None:
    if not isinstance(weights, dict) or not weights:
        raise InvalidWeights(f"{bucket}: expected a table of scorer and weight")
    for scorer, weight in weights.items():
        if scorer not in SCORERS:
            raise InvalidWeights(f"{bucket}.{scorer}: no such scorer; {', '.join(sorted(SCORERS))}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 10:
            raise InvalidWeights(f"{bucket}.{scorer}: {weight!r} is not a number from 0 to 10")


def shifted(weights: Mapping[str, float], adventure: float | None) -> dict[str, float]:
    """Shift weight from familiar songs (adventure 0) to new ones (1); .5 and None change nothing."""
    moved = dict(weights)
    if adventure is None:
        return moved
    lean = 2 * min(max(adventure, 0.0), 1.0) - 1
    moved[ScorerName.POPULARITY] = moved.get(ScorerName.POPULARITY, 0.0) - 0.3 * lean
    moved[ScorerName.CONTENT] = moved.get(ScorerName.CONTENT, 0.0) * (1 - 0.5 * lean)
    if ScorerName.REPEAT in moved:
        moved[ScorerName.REPEAT] *= 1 - lean
    return moved
