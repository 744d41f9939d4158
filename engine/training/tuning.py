"""Chooses EASE's settings and the weights of the scorers, on rows held back from training.

The rows come from the training data: of most members a fifth of their songs, of some all songs. So
no later test leaks in, and the same code adapts to any data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows
from engine.catalog.corpus import Corpus
from engine.evaluation import metrics
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import Neighbours, Scorer, standardised
from engine.training.fitting import EaseSettings, ease
from engine.weights import BUCKETS, DEFAULT_WEIGHTS, BlendWeights, ScorerName, bucket_of

DEPTH = 20
#: Minimum songs of a member who is asked about: one stays known, one is held back.
_MIN_SONGS = 2
_MAX_QUESTIONS = 1200
_HIDDEN_SHARE = 0.2
_OUTSIDER_SHARE = 0.15
_MAX_OUTSIDERS = 300
#: Numbers of known songs of members that training does not see.
_KNOWN_COUNTS = (1, 2, 3, 5, 8, 10, 20)
#: Minimum questions for choosing EASE's settings.
_MIN_QUESTIONS = 20
#: Shrinkage prior: with 25 members in a bucket, learned weights and the global mix count half each.
_MEMBERS_PRIOR = 25.0
_CANDIDATES_PER_SCORER = 100
#: Small data sets are cut repeatedly, with other songs held back, up to so many questions.
_TARGET_QUESTIONS = 2000
_MAX_CUTS = 8
#: … unless the data set is so large that fitting takes long.
_MAX_ROWS_TO_CUT_AGAIN = 300_000
_MAX_EASE_QUESTIONS = 900
_MAX_EASE_CUTS = 2
#: Maximum songs that EASE is tuned on.
_MAX_TUNED_SONGS = 2500
#: Minimum ratio of NDCG for a change of EASE's settings.
_MIN_GAIN_RATIO = 1.002
#: Minimum gain of a change of weights, in standard errors.
_MIN_GAIN_STANDARD_ERRORS = 0.5
LEARNED = (
    ScorerName.EASE,
    ScorerName.KNN,
    ScorerName.RP3,
    ScorerName.ALS,
    ScorerName.CONTENT,
    ScorerName.POPULARITY,
    ScorerName.STANDING,
    ScorerName.RECENCY,
)

#: Starting points of the weights; the first is the global mix of the shrinkage.
_MIXES: tuple[Mapping[str, float], ...] = (
    {
        ScorerName.EASE: 0.5,
        ScorerName.KNN: 0.2,
        ScorerName.RP3: 0.3,
        ScorerName.ALS: 0.7,
        ScorerName.CONTENT: 0.1,
        ScorerName.STANDING: 0.3,
    },
    {
        ScorerName.EASE: 0.1,
        ScorerName.KNN: 0.1,
        ScorerName.RP3: 0.1,
        ScorerName.ALS: 0.3,
        ScorerName.CONTENT: 0.05,
        ScorerName.STANDING: 1.0,
    },
    DEFAULT_WEIGHTS["10+"],
)


@dataclass(frozen=True, kw_only=True)
class HeldOutQuestion:
    """Known songs of a member, and held back ones to be found."""

    known: KnownSongs
    wanted: Rows
    #: Several questions about one member count as one taste.
    member: int


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Training data without the held back rows, and the questions about those."""

    corpus: Corpus
    insiders: Sequence[HeldOutQuestion]
    outsiders: Sequence[HeldOutQuestion]

    @property
    def questions(self) -> list[HeldOutQuestion]:
        return [*self.insiders, *self.outsiders]

    def asked(self, strength: float) -> list[HeldOutQuestion]:
        """All questions, with weights normalised as in a request."""
        return _normalized(self.questions, strength)


def cuts(corpus: Corpus, *, seed: int) -> list[Cut]:
    """Enough cuts of the same rows, each with other rows held back, for `_TARGET_QUESTIONS`."""
    made = [cut(corpus, seed=seed)]
    asked = len(made[0].questions)
    wanted = int(np.clip(_TARGET_QUESTIONS // max(asked, 1), 1, _MAX_CUTS))
    if wanted > 1 and corpus.interactions.nnz <= _MAX_ROWS_TO_CUT_AGAIN:
        made += [cut(corpus, seed=seed + 1000 * again) for again in range(1, wanted)]
    return made


def cut(corpus: Corpus, *, seed: int) -> Cut:
    """Hold back rows of `corpus.interactions`; popularity falls by the held back share."""
    random = np.random.default_rng(seed)
    liked = corpus.interactions.tocsr()
    sizes = np.diff(liked.indptr)
    able = random.permutation(np.flatnonzero(sizes >= _MIN_SONGS))
    outside = able[: min(int(len(able) * _OUTSIDER_SHARE), _MAX_OUTSIDERS)]
    asked = able[len(outside) :][:_MAX_QUESTIONS]
    kept = np.ones(liked.nnz, bool)
    insiders, outsiders = [], []
    for member in asked.tolist():
        places = random.permutation(np.arange(liked.indptr[member], liked.indptr[member + 1]))
        hidden, told = np.split(places, [max(1, round(_HIDDEN_SHARE * len(places)))])
        kept[hidden] = False
        insiders.append(_question(liked, member, told, hidden))
    for member in outside.tolist():
        places = random.permutation(np.arange(liked.indptr[member], liked.indptr[member + 1]))
        kept[places] = False
        outsiders += [
            _question(liked, member, *np.split(places, [t]))
            for t in _KNOWN_COUNTS
            if t < len(places)
        ]
    return Cut(corpus=_without(corpus, kept), insiders=insiders, outsiders=outsiders)


def _question(
    liked: csr_matrix, member: int, told: npt.NDArray[np.intp], hidden: npt.NDArray[np.intp]
) -> HeldOutQuestion:
    known = KnownSongs(
        rows=liked.indices[told].astype(np.int32), weights=liked.data[told].astype(np.float32)
    )
    wanted = liked.indices[hidden].astype(np.int32)
    return HeldOutQuestion(known=known, wanted=wanted, member=member)


def _without(corpus: Corpus, kept: npt.NDArray[np.bool_]) -> Corpus:
    left = corpus.interactions.tocsr().copy()
    before = np.bincount(left.indices, minlength=left.shape[1])
    left.data = np.where(kept, left.data, 0).astype(np.float32)
    left.eliminate_zeros()
    share = np.bincount(left.indices, minlength=left.shape[1]) / np.maximum(before, 1)
    popularity = (corpus.popularity * share).astype(np.float32)
    return replace(corpus, interactions=left, popularity=popularity, events=None)


def choose_ease(
    held: Sequence[Cut], strength: float, start: EaseSettings, *, max_songs: int, keep: int
) -> tuple[float, EaseSettings]:
    """Exponent of the strength of likes, and EASE's settings: one is changed at a time, from `start`,
    while NDCG@20 of the insiders' songs gains."""
    held = held[:_MAX_EASE_CUTS]
    share = max(1, _MAX_EASE_QUESTIONS // len(held))
    asked = [one.insiders[:share] for one in held]
    if sum(map(len, asked)) < _MIN_QUESTIONS:
        return strength, start
    features = held[0].corpus.features
    songs = min(max_songs, _MAX_TUNED_SONGS)

    def gain(power: float, settings: EaseSettings) -> float:
        gains = []
        for one, questions in zip(held, asked, strict=True):
            normalized = one.corpus.normalized(power)
            matrix = ease(normalized, settings, features=features, max_songs=songs, keep=keep)
            gains.append(
                mean_ndcg(
                    Neighbours(name=ScorerName.EASE, matrix=matrix), _normalized(questions, power)
                )
            )
        return float(np.average(gains, weights=[len(questions) for questions in asked]))

    has_content = features.nnz > 0
    start = start if has_content else replace(start, content=0.0)
    score, power = gain(strength, start), strength
    for tried in (strength / 2, 0.0):
        if (reached := gain(tried, start)) > score * _MIN_GAIN_RATIO:
            score, power = reached, tried
    best = start
    for step in _ease_steps(has_content):
        best, score = _walk(best, score, step, lambda settings: gain(power, settings))
    return power, best


def _normalized(questions: Sequence[HeldOutQuestion], power: float) -> list[HeldOutQuestion]:
    return [replace(question, known=question.known.normalized(power)) for question in questions]


def _ease_steps(has_content: bool) -> list[Callable[[EaseSettings], EaseSettings]]:
    steps = [
        lambda s: replace(s, regularization=s.regularization * 2),
        lambda s: replace(s, regularization=s.regularization / 2),
        lambda s: replace(s, flattening=max(s.flattening - 0.1, 0.0)),
        lambda s: replace(s, flattening=min(s.flattening + 0.1, 0.4)),
    ]
    if has_content:
        steps.append(lambda s: replace(s, content=s.content * 2.5))
        steps.append(lambda s: replace(s, content=s.content / 2.5 if s.content > 0.3 else 0.0))
    return steps


def _walk(
    best: EaseSettings,
    score: float,
    step: Callable[[EaseSettings], EaseSettings],
    gain: Callable[[EaseSettings], float],
) -> tuple[EaseSettings, float]:
    """Repeat a step while it gains, at most three times."""
    for _ in range(3):
        tried = step(best)
        if tried == best or (reached := gain(tried)) < score * _MIN_GAIN_RATIO:
            break
        best, score = tried, reached
    return best, score


def mean_ndcg(scorer: Scorer, questions: Sequence[HeldOutQuestion]) -> float:
    """Mean NDCG@20 of one scorer over all songs but the known ones."""
    hits = []
    for start in range(0, len(questions), 100):
        some = questions[start : start + 100]
        scores = np.array(scorer.scores_many([q.known for q in some]))
        for row, question in zip(scores, some, strict=True):
            row[question.known.rows] = -np.inf
            hits.append(np.isin(top(row, DEPTH), question.wanted))
    wanted = np.array([len(question.wanted) for question in questions])
    return float(metrics.ndcg(np.array(hits), wanted, DEPTH).mean())


def top(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    """Rows of the `count` best, best first."""
    count = min(count, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    order: npt.NDArray[np.intp] = best[np.argsort(-scores[best], kind="stable")]
    return order


class _CandidatePool:
    """The best candidates of every scorer for the questions of one bucket."""

    def __init__(self) -> None:
        self.found: list[tuple[Floats, npt.NDArray[np.bool_]]] = []
        self.sizes: list[int] = []
        self.members: set[int] = set()
        self.names: list[str] = []

    def add(self, scorers: Mapping[str, Scorer], question: HeldOutQuestion) -> None:
        self.names = [name for name in LEARNED if name in scorers]
        scores = np.stack([standardised(scorers[n].scores(question.known)) for n in self.names])
        hidden = scores.copy()
        hidden[:, question.known.rows] = -np.inf
        rows = np.unique(np.concatenate([top(row, _CANDIDATES_PER_SCORER) for row in hidden]))
        rows = np.setdiff1d(rows, question.known.rows)
        self.found.append((scores[:, rows].T, np.isin(rows, question.wanted)))
        self.sizes.append(len(question.wanted))
        self.members.add(question.member)

    def finish(self) -> _CandidatePool:
        """Lay the candidates out in arrays of one width."""
        width = max(len(hits) for _, hits in self.found)
        #: (questions, width, scorers); padding never ranks among the best.
        self.values = np.zeros((len(self.found), width, len(self.names)), np.float32)
        self.hits = np.zeros((len(self.found), width), bool)
        self.padding = np.full((len(self.found), width), -np.inf, np.float32)
        for place, (values, hits) in enumerate(self.found):
            self.values[place, : len(hits)] = values
            self.hits[place, : len(hits)] = hits
            self.padding[place, : len(hits)] = 0
        self.wanted = np.array(self.sizes)
        self.found = []
        return self

    def gains(self, weights: Floats) -> npt.NDArray[np.float64]:
        """(questions,) NDCG@20 under (scorers,) weights."""
        totals = self.values @ weights + self.padding
        depth = min(DEPTH, totals.shape[1])
        best = np.argpartition(-totals, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(totals, best, axis=1), axis=1)
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, axis=1), axis=1)
        return metrics.ndcg(hits, self.wanted, DEPTH)

    @property
    def mixes(self) -> list[Floats]:
        """Starting mixes that are good on many data sets."""
        return [np.array([mix.get(name, 0.0) for name in self.names], np.float32) for mix in _MIXES]

    @property
    def starts(self) -> list[Floats]:
        """The mixes, then each scorer alone that is not constant."""
        varies = self.values.any(axis=(0, 1))
        return [*self.mixes, *np.eye(len(self.names), dtype=np.float32)[varies]]


def choose_weights(
    trials: Iterable[tuple[Mapping[str, Scorer], Sequence[HeldOutQuestion]]],
) -> tuple[BlendWeights, dict[str, float]]:
    """The weights with the best NDCG@20 on the held back songs, per bucket, and that NDCG.

    trials: scorers, and questions about rows that they were not fitted on.
    """
    pools = {name: _CandidatePool() for _, name in BUCKETS}
    for scorers, questions in trials:
        for question in questions:
            pools[bucket_of(question.known.count)].add(scorers, question)
    table = {bucket: dict(weights) for bucket, weights in DEFAULT_WEIGHTS.items()}
    reached = {}
    for bucket, pool in pools.items():
        if pool.sizes:
            chosen = _ascend(pool.finish())
            weights = _shrunk(chosen, towards=pool.mixes[0], members=len(pool.members))
            reached[bucket] = float(pool.gains(weights).mean())
            learned = {name: float(w) for name, w in zip(pool.names, weights, strict=True)}
            kept = {n: w for n, w in table[bucket].items() if n not in LEARNED}
            table[bucket] = {**kept, **{n: round(w, 3) for n, w in learned.items() if w > 0}}
    return BlendWeights(by_bucket=table, version="learned"), reached


def _ascend(pool: _CandidatePool) -> Floats:
    """Coordinate ascent on NDCG from the best start; source: Metzler and Croft, "Linear
    feature-based models for information retrieval" (2007), section 4.3."""
    climb = _HillClimb(pool, pool.starts[0])
    for start in pool.starts[1:]:
        climb.take_if_better(start)
    for _ in range(3):
        before = climb.score
        for place in range(len(climb.best)):
            for value in _values(float(climb.best[place])):
                tried = climb.best.copy()
                tried[place] = value
                if tried.any():
                    climb.take_if_better(tried)
        if climb.score <= before * _MIN_GAIN_RATIO:
            break
    return climb.best


def _shrunk(chosen: Floats, *, towards: Floats, members: int) -> Floats:
    """Shrink the weights few members chose towards a mix: many questions, but few tastes.

    The square leaves the weights of a hundred members or more nearly unchanged.
    """
    trust = np.float32(members**2 / (members**2 + _MEMBERS_PRIOR**2))
    shrunk: Floats = trust * (chosen / chosen.sum()) + (1 - trust) * (towards / towards.sum())
    shrunk /= shrunk.max()
    return shrunk


class _HillClimb:
    """The best weights so far. Others must gain more than the noise of the questions."""

    def __init__(self, pool: _CandidatePool, start: Floats) -> None:
        self.pool, self.best, self.gains = pool, start, pool.gains(start)

    @property
    def score(self) -> float:
        return float(self.gains.mean())

    def take_if_better(self, tried: Floats) -> None:
        gains = self.pool.gains(tried)
        more = gains - self.gains
        noise = _MIN_GAIN_STANDARD_ERRORS * float(more.std()) / np.sqrt(len(more))
        if more.mean() > max(3e-4 * self.score, noise):
            self.best, self.gains = tried, gains


def _values(now: float) -> list[float]:
    """Values to try next: 0, first values for a weight of 0, or steps down and up."""
    return [0.0, now * 0.6, now * 0.8, now * 1.25, now * 1.6] if now else [0.05, 0.15, 0.4, 0.8]
