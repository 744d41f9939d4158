"""One score out of many: comparable scores, weighted by how much is known of the member."""

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
    """Scores every song of the catalog; excluding and ordering is for the steps that follow.

    In the middle of a sitting (`known.session`) a model that learned from sittings orders the songs
    that may come next; without one, and for everybody else, the scorers of the table are added up.
    adventure: 0 = familiar, 1 = discover, None = as the weights say.
    context_multipliers: (n,) positive, 1 = neutral; how much a situation suits each song.
    """
    evened = known.evened(model.settings.strength)
    table = model.weights if weights.learned and model.weights is not None else weights
    wanted = shifted(table.of(known.count), adventure)
    parts = _in_sitting(model, corpus, evened, wanted)
    parts = parts or _parts(model, corpus, evened, wanted)
    if context_multipliers is not None:
        parts[ScoreAdjustment.CONTEXT] = np.log(np.maximum(context_multipliers, 1e-3)).astype(
            np.float32
        )
    total = np.zeros(corpus.n_songs, np.float32)
    for part in parts.values():
        total += part
    return Blended(total=total, parts=parts)


def _parts(
    model: Model, corpus: Corpus, known: KnownSongs, wanted: Mapping[str, float]
) -> dict[str, Floats]:
    scorers = model.scorers(corpus)
    return {
        name: np.float32(weight) * standardised(scorers[name].scores(known))
        for name, weight in wanted.items()
        if weight and name in scorers
    }


def _in_sitting(
    model: Model, corpus: Corpus, known: KnownSongs, wanted: Mapping[str, float]
) -> dict[str, Floats]:
    """Parts made of the log-odds of what may come next, everything else below; {} outside a sitting."""
    weight = wanted.get(ScorerName.SESSION, 0.0)
    if not weight or model.session is None or not len(known.session):
        return {}
    rows, odds = model.session.scores(corpus, known)
    part = np.zeros(corpus.n_songs, np.float32)
    part[rows] = np.float32(weight) * (odds - odds.min(initial=0.0) + 1)
    against: dict[str, float] = {}
    if len(known.disliked):
        against[ScorerName.DISLIKE] = wanted.get(ScorerName.DISLIKE, 0.0)
    return {ScorerName.SESSION: part, **_parts(model, corpus, known, against)}
