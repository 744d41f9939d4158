"""Adds the scorers up to one score: z-scores, weighted by how much is known of the member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.arrays import Floats
from engine.catalog.corpus import Corpus
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import standardised
from engine.training.model import Model
from engine.weights import BlendWeights, ScoreAdjustment, ScorerName, shifted


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
    known: KnownSongs,
    weights: BlendWeights,
    *,
    adventure: float | None = None,
    context_multipliers: Floats | None = None,
) -> Blended:
    """Score every song of the catalog; the steps that follow exclude and order.

    In the middle of a sitting (`known.session`) a model that learned from sittings orders the songs
    that may come next; without one, and for everybody else, the scorers of the table are added up.
    adventure: 0 = familiar, 1 = discover, None = the weights as they are.
    context_multipliers: (n,) positive, 1 = neutral; how much a situation suits each song.
    """
    normalized = known.normalized(model.settings.strength)
    table = model.weights if weights.learned and model.weights is not None else weights
    active = shifted(table.of(known.count), adventure)
    parts = _in_sitting(model, corpus, normalized, active)
    parts = parts or _parts(model, corpus, normalized, active)
    if context_multipliers is not None:
        parts[ScoreAdjustment.CONTEXT] = np.log(np.maximum(context_multipliers, 1e-3)).astype(
            np.float32
        )
    total = np.zeros(corpus.n_songs, np.float32)
    for part in parts.values():
        total += part
    return Blended(total=total, parts=parts)


def _parts(
    model: Model, corpus: Corpus, known: KnownSongs, active: Mapping[str, float]
) -> dict[str, Floats]:
    scorers = model.scorers(corpus)
    return {
        name: np.float32(weight) * standardised(scorers[name].scores(known))
        for name, weight in active.items()
        if weight and name in scorers
    }


def _in_sitting(
    model: Model, corpus: Corpus, known: KnownSongs, active: Mapping[str, float]
) -> dict[str, Floats]:
    """Parts by the log-odds of each candidate coming next, other songs below; {} outside a sitting."""
    weight = active.get(ScorerName.SESSION, 0.0)
    if not weight or model.session is None or not len(known.session):
        return {}
    rows, odds = model.session.scores(corpus, known)
    part = np.zeros(corpus.n_songs, np.float32)
    part[rows] = np.float32(weight) * (odds - odds.min(initial=0.0) + 1)
    against: dict[str, float] = {}
    if len(known.disliked):
        against[ScorerName.DISLIKE] = active.get(ScorerName.DISLIKE, 0.0)
    return {ScorerName.SESSION: part, **_parts(model, corpus, known, against)}
