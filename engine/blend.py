"""One score out of many: comparable scores, weighted by how much is known of the member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.model import Model
from engine.scorers import Corpus, Floats, Known

#: Lower bounds of the buckets of known songs, and their names as staff see them.
BUCKETS: tuple[tuple[int, str], ...] = ((0, "0"), (1, "1-2"), (3, "3-9"), (10, "10+"))
SCORERS = frozenset(
    {"ease", "rp3", "als", "content", "popularity", "trend", "recency", "repeat", "dislike"}
)

_START: dict[str, dict[str, float]] = {
    "0": {"popularity": 1.0, "trend": 0.3, "recency": 0.2},
    "1-2": {"rp3": 1.0, "als": 0.2, "content": 0.4, "popularity": 0.05, "dislike": 0.3},
    "3-9": {"rp3": 0.5, "als": 0.4, "ease": 0.2, "content": 0.6, "dislike": 0.3},
    "10+": {"rp3": 0.5, "als": 0.5, "ease": 0.3, "content": 0.6, "dislike": 0.3},
}


class InvalidWeights(ValueError):
    """A weight table that cannot be used; the text says which entry and what it may be."""


def bucket_of(known_songs: int) -> str:
    """The name of the bucket a member with so many known songs falls into."""
    return next(name for least, name in reversed(BUCKETS) if known_songs >= least)


@dataclass(frozen=True, kw_only=True)
class BlendWeights:
    """Staff-editable: what each scorer counts, per bucket of known songs. 0 or absent = not asked."""

    by_bucket: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: _START)
    version: str = "default"

    def of(self, known_songs: int) -> Mapping[str, float]:
        return self.by_bucket[bucket_of(known_songs)]

    def to_json(self) -> dict[str, dict[str, float]]:
        return {bucket: dict(weights) for bucket, weights in self.by_bucket.items()}

    @classmethod
    def from_json(cls, table: Any, *, version: str = "default") -> BlendWeights:
        """Raises InvalidWeights, naming the entry, unless every bucket is there with known scorers."""
        names = [name for _, name in BUCKETS]
        if not isinstance(table, dict) or sorted(table) != sorted(names):
            raise InvalidWeights(f"expected exactly the buckets {', '.join(names)}")
        for bucket, weights in table.items():
            _check_bucket(bucket, weights)
        return cls(by_bucket=table, version=version)


def _check_bucket(bucket: str, weights: Any) -> None:
    if not isinstance(weights, dict) or not weights:
        raise InvalidWeights(f"{bucket}: expected a table of scorer and weight")
    for scorer, weight in weights.items():
        if scorer not in SCORERS:
            raise InvalidWeights(f"{bucket}.{scorer}: no such scorer; {', '.join(sorted(SCORERS))}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 10:
            raise InvalidWeights(f"{bucket}.{scorer}: {weight!r} is not a number from 0 to 10")


@dataclass(frozen=True, kw_only=True)
class Blended:
    """total is the sum of parts; both in weighted standard deviations, comparable across scorers."""

    #: (n,)
    total: Floats
    #: {scorer: (n,)}
    parts: dict[str, Floats]


def blend(
    model: Model,
    corpus: Corpus,
    known: Known,
    weights: BlendWeights,
    *,
    adventure: float | None = None,
    context_multipliers: Floats | None = None,
) -> Blended:
    """Scores every song of the catalog; excluding and ordering is for the steps that follow.

    adventure: 0 = familiar, 1 = discover, None = as the weights say.
    context_multipliers: (n,) positive, 1 = neutral; how much a situation suits each song.
    """
    scorers = model.scorers(corpus)
    wanted = _shifted(weights.of(known.count), adventure)
    parts = {
        name: np.float32(weight) * standardised(scorers[name].scores(known))
        for name, weight in wanted.items()
        if weight and name in scorers
    }
    if context_multipliers is not None:
        parts["context"] = np.log(np.maximum(context_multipliers, 1e-3)).astype(np.float32)
    total = np.zeros(corpus.n_songs, np.float32)
    for part in parts.values():
        total += part
    return Blended(total=total, parts=parts)


def standardised(scores: Floats) -> Floats:
    """z-scores over the catalog; all zeros when a scorer says the same of every song."""
    deviation = float(scores.std())
    if deviation < 1e-12:
        return np.zeros(len(scores), np.float32)
    return np.asarray((scores - scores.mean()) / np.float32(deviation), np.float32)


def _shifted(weights: Mapping[str, float], adventure: float | None) -> dict[str, float]:
    """Moves weight between the familiar and the new; .5 changes nothing."""
    shifted = dict(weights)
    if adventure is None:
        return shifted
    lean = 2 * min(max(adventure, 0.0), 1.0) - 1
    shifted["popularity"] = shifted.get("popularity", 0.0) - 0.3 * lean
    shifted["content"] = shifted.get("content", 0.0) * (1 - 0.5 * lean)
    if "repeat" in shifted:
        shifted["repeat"] *= 1 - lean
    return shifted
