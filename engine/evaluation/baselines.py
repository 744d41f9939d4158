"""Fits the product's model and the usual baselines, and lets all of them make lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows
from engine.catalog.catalog import Catalog
from engine.evaluation.questions import EvaluationPlan, EvaluationQuestion
from engine.evaluation.world import World
from engine.ranking.recommend import rank
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import Factors, Neighbours, Same, Scorer, standardised
from engine.settings import EngineSettings, ShapingSettings
from engine.training import fitting
from engine.training.model import Model
from engine.training.tuning import top

PRODUCT = "songs_ai"
#: Without exploration: its songs are drawn at random.
_MEASURED = EngineSettings(shaping=ShapingSettings(exploration=0.0))
Clock = Callable[[], float]
Tell = Callable[[str], None]


class Ranker(Protocol):
    """Makes lists."""

    @property
    def name(self) -> str:
        """Its key in the figures."""

    @property
    def fit_seconds(self) -> float:
        """What training took."""

    def lists(self, questions: Sequence[EvaluationQuestion], depth: int) -> list[Rows]:
        """At most `depth` rows per question, best first, none of its hidden ones."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """What members get: the recipe of `engine.ranking.recipes` under the product's settings."""

    catalog: Catalog
    model: Model
    fit_seconds: float
    name: str = PRODUCT

    def lists(self, questions: Sequence[EvaluationQuestion], depth: int) -> list[Rows]:
        return [self._list(question, depth) for question in questions]

    def _list(self, question: EvaluationQuestion, depth: int) -> Rows:
        query = replace(question.query, count=depth)
        found = rank(query, catalog=self.catalog, model=self.model, settings=_MEASURED)
        return found[:depth]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Any sum of weighted scores; by z-score when it is a sum of several."""

    name: str
    fit_seconds: float
    parts: tuple[tuple[float, Callable[[EvaluationQuestion], Floats]], ...]

    def lists(self, questions: Sequence[EvaluationQuestion], depth: int) -> list[Rows]:
        return [self._list(question, depth) for question in questions]

    def _list(self, question: EvaluationQuestion, depth: int) -> Rows:
        if len(self.parts) == 1:
            scores = self.parts[0][1](question).copy()
        else:
            scores = sum(
                (np.float32(w) * standardised(part(question)) for w, part in self.parts),
                start=np.zeros(1, np.float32),
            )
        scores[question.hidden] = -np.inf
        best = top(scores, depth)
        return best[np.isfinite(scores[best])].astype(np.int32)


def fit_models(world: World, plan: EvaluationPlan, clock: Clock, tell: Tell) -> list[Ranker]:
    begun = clock()
    model = Model.train(world.corpus, settings=plan.train, seed=plan.seed)
    took = clock() - begun
    tell(f"trained {PRODUCT} in {took:.1f} s: {model.facts}")
    product = Product(catalog=world.catalog, model=model, fit_seconds=took)
    return [product, *baselines(world, plan, clock)]


def baselines(world: World, plan: EvaluationPlan, clock: Clock) -> list[Ranker]:
    """Popularity, item-kNN, RP3β, ALS, EASE; fitted on sittings in the session protocol."""
    in_sittings = plan.protocol == "session"
    if in_sittings:  # rows without a session are left out
        inside = world.train.session >= 0
        _, sitting = np.unique(world.train.session[inside], return_inverse=True)
        data = _marked(sitting, world.row_of[world.train.song[inside]], world.catalog.n)
    else:
        data = _by_member(world)
    likes = np.asarray(data.sum(axis=0), np.float32).ravel()
    # λ = 100: the baseline of the papers. 2 000 neighbours a song lose nothing and fit into memory.
    plain = fitting.EaseSettings(regularization=100.0)
    fitted: list[Baseline] = [
        _timed("popularity", clock, lambda: Same(name="popularity", values=likes)),
        _timed("item_knn", clock, lambda: _neighbours(fitting.cosine(data, shrink=10, keep=200))),
        _timed("rp3", clock, lambda: _neighbours(fitting.rp3(data, alpha=0.8, beta=0.4, keep=200))),
        _timed("als", clock, lambda: _als(data, in_sittings, plan.seed)),
        _timed(
            "ease",
            clock,
            lambda: _neighbours(fitting.ease(data, plain, max_songs=10_000, keep=2_000)),
        ),
    ]
    return [*fitted, *(_mixes(world, fitted[-1]) if in_sittings else ())]


def _timed(name: str, clock: Clock, fit: Callable[[], Scorer]) -> Baseline:
    begun = clock()
    scorer = fit()

    def scores(question: EvaluationQuestion) -> Floats:
        return scorer.scores(KnownSongs.liked(question.known))

    return Baseline(name=name, fit_seconds=clock() - begun, parts=((1.0, scores),))


def _neighbours(matrix: csr_matrix) -> Scorer:
    return Neighbours(name="neighbours", matrix=matrix)


def _als(data: csr_matrix, in_sittings: bool, seed: int) -> Scorer:
    """Regularisation by what the rows hold: a sitting is short, a member's history long."""
    factors, alpha, ridge = (32, 5.0, 5.0) if in_sittings else (64, 10.0, 30.0)
    songs = fitting.als(
        data, factors=factors, regularization=ridge, alpha=alpha, rounds=15, seed=seed
    )
    return Factors(songs=songs, gram=songs.T @ songs, regularization=ridge, alpha=alpha)


def _by_member(world: World) -> csr_matrix:
    """(members, n) 1 where there is any row, of any type: the input of the papers' baselines."""
    _, member = np.unique(world.train.member, return_inverse=True)
    return _marked(member, world.row_of[world.train.song], world.catalog.n)


def _marked(group: npt.NDArray[np.intp], rows: npt.NDArray[np.int64], size: int) -> csr_matrix:
    """(groups, size) 1 at each pair."""
    shape = (int(group.max(initial=-1)) + 1, size)
    marked = csr_matrix((np.ones(len(rows), np.float32), (group, rows)), shape=shape)
    marked.data[:] = 1
    return marked


def _mixes(world: World, ease: Baseline) -> list[Ranker]:
    """Hand-made mixes of EASE, the singer's own past and songs of the same artists."""
    size, codes = world.catalog.n, world.corpus.artist_code
    popular = np.log1p(np.bincount(world.row_of[world.train.song], minlength=size))

    def past(question: EvaluationQuestion) -> Floats:
        times = np.bincount(question.history, minlength=size)
        return (times + 1e-3 * popular).astype(np.float32)

    def artist(question: EvaluationQuestion) -> Floats:
        counts = np.bincount(codes[question.known] + 1, minlength=int(codes.max()) + 2)
        counts[0] = 0
        return counts[codes + 1].astype(np.float32)

    by_ease = ease.parts[0][1]
    mixes = {
        "history": ((1.0, past),),
        "ease_artist": ((1.0, by_ease), (0.5, artist)),
        "ease_history_artist": ((1.0, by_ease), (1.0, past), (0.5, artist)),
    }
    return [
        Baseline(name=name, fit_seconds=ease.fit_seconds, parts=parts)
        for name, parts in mixes.items()
    ]
