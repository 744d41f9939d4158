"""Chooses how EASE regularises and what each scorer counts, on rows that training does not see.

The rows come out of the training data itself: of most members a fifth of their songs, of some all
songs. So nothing of a later test is used, and the same code adapts to any data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.fitting import EaseSettings, ease
from engine.scorers import Corpus, Floats, Known, Neighbours, Rows, Scorer, standardised
from engine.weights import BUCKETS, DEFAULT_WEIGHTS, BlendWeights, bucket_of

DEPTH = 20
#: A member is asked about when this many songs stay known or hidden in all.
_LEAST_SONGS = 5
_MOST_QUESTIONS = 1200
_HIDDEN = 0.2
_OUTSIDERS = 0.08
_MOST_OUTSIDERS = 300
#: How much is told of members unknown to training.
_TOLD = (1, 2, 3, 5, 8, 10, 20)
#: Fewer questions than this in a bucket: its starting weights stay.
_LEAST_QUESTIONS = 40
_POOL = 150
#: EASE is tuned on this many songs at most: a quarter of the time of 6 000.
_TUNED_SONGS = 4000
#: A change must gain this share of NDCG, or the simpler setting stays.
_WORTH = 1.002
LEARNED = ("ease", "rp3", "als", "content", "popularity", "recency")

_DISCOUNT = (1 / np.log2(np.arange(2, DEPTH + 2))).astype(np.float32)
_IDEAL = np.concatenate([[0], np.cumsum(_DISCOUNT)])


@dataclass(frozen=True, kw_only=True)
class Question:
    """Would these songs be found by what is known?"""

    known: Known
    wanted: Rows


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Training data without the rows it is asked about."""

    corpus: Corpus
    insiders: Sequence[Question]
    outsiders: Sequence[Question]

    @property
    def questions(self) -> list[Question]:
        return [*self.insiders, *self.outsiders]


def cut(corpus: Corpus, *, seed: int) -> Cut:
    """Hides rows of `corpus.interactions`; popularity is counted anew without them."""
    random = np.random.default_rng(seed)
    liked = corpus.interactions.tocsr()
    sizes = np.diff(liked.indptr)
    able = random.permutation(np.flatnonzero(sizes >= _LEAST_SONGS))
    strangers = able[: min(int(len(able) * _OUTSIDERS), _MOST_OUTSIDERS)]
    asked = able[len(strangers) :][:_MOST_QUESTIONS]
    kept = np.ones(liked.nnz, bool)
    insiders, outsiders = [], []
    for member in asked.tolist():
        places = random.permutation(np.arange(liked.indptr[member], liked.indptr[member + 1]))
        hidden, told = np.split(places, [max(1, round(_HIDDEN * len(places)))])
        kept[hidden] = False
        insiders.append(_question(liked, told, hidden))
    for member in strangers.tolist():
        places = random.permutation(np.arange(liked.indptr[member], liked.indptr[member + 1]))
        kept[places] = False
        outsiders += [_question(liked, *np.split(places, [t])) for t in _TOLD if t < len(places)]
    return Cut(corpus=_without(corpus, kept), insiders=insiders, outsiders=outsiders)


def _question(
    liked: csr_matrix, told: npt.NDArray[np.intp], hidden: npt.NDArray[np.intp]
) -> Question:
    known = Known(
        rows=liked.indices[told].astype(np.int32), weights=liked.data[told].astype(np.float32)
    )
    return Question(known=known.evened(), wanted=liked.indices[hidden].astype(np.int32))


def _without(corpus: Corpus, kept: npt.NDArray[np.bool_]) -> Corpus:
    left = corpus.interactions.tocsr().copy()
    left.data = np.where(kept, left.data, 0).astype(np.float32)
    left.eliminate_zeros()
    popularity = np.asarray(left.sum(axis=0), np.float32).ravel()
    return replace(corpus, interactions=left, popularity=popularity, events=None)


def choose_ease(held: Cut, start: EaseSettings, *, max_songs: int, keep: int) -> EaseSettings:
    """Walks from `start` along one setting at a time while NDCG@20 of the insiders' songs gains."""
    corpus, questions = held.corpus, held.insiders[:600]
    if len(questions) < _LEAST_QUESTIONS:
        return start
    songs = min(max_songs, _TUNED_SONGS)

    def gain(settings: EaseSettings) -> float:
        matrix = ease(
            corpus.weighted, settings, features=corpus.features, max_songs=songs, keep=keep
        )
        return ndcg(Neighbours(name="ease", matrix=matrix), questions)

    has_content = corpus.features.nnz > 0
    start = start if has_content else replace(start, content=0.0)
    best, score = start, gain(start)
    for step in _ease_steps(has_content):
        best, score = _walk(best, score, step, gain)
    return best


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
    """Takes the same step until it gains no more, at most three times."""
    for _ in range(3):
        tried = step(best)
        if tried == best or (reached := gain(tried)) < score * _WORTH:
            break
        best, score = tried, reached
    return best, score


def ndcg(scorer: Scorer, questions: Sequence[Question]) -> float:
    """Mean NDCG@20 of one scorer over all songs but the known ones."""
    gains = []
    for start in range(0, len(questions), 100):
        some = questions[start : start + 100]
        scores = np.array(scorer.scores_many([q.known for q in some]))
        for row, question in zip(scores, some, strict=True):
            row[question.known.rows] = -np.inf
            gains.append(_gain(np.isin(top(row, DEPTH), question.wanted), len(question.wanted)))
    return float(np.mean(gains))


def top(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    """Rows of the `count` best, best first."""
    count = min(count, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    order: npt.NDArray[np.intp] = best[np.argsort(-scores[best], kind="stable")]
    return order


def _gain(hits: npt.NDArray[np.bool_], wanted: int) -> float:
    return float(_DISCOUNT[: len(hits)] @ hits / _IDEAL[min(wanted, DEPTH)])


class _Pool:
    """The best candidates of every scorer for the questions of one bucket."""

    def __init__(self, scorers: Mapping[str, Scorer], questions: Sequence[Question]) -> None:
        self.names = [name for name in LEARNED if name in scorers]
        self.wanted = np.array([len(q.wanted) for q in questions])
        found = [self._candidates(scorers, question) for question in questions]
        width = max(len(hits) for _, hits in found)
        #: (questions, width, scorers); what is padding can never be among the best.
        self.values = np.zeros((len(found), width, len(self.names)), np.float32)
        self.hits = np.zeros((len(found), width), bool)
        self.padding = np.full((len(found), width), -np.inf, np.float32)
        for place, (values, hits) in enumerate(found):
            self.values[place, : len(hits)] = values
            self.hits[place, : len(hits)] = hits
            self.padding[place, : len(hits)] = 0

    def _candidates(
        self, scorers: Mapping[str, Scorer], question: Question
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        scores = np.stack([standardised(scorers[n].scores(question.known)) for n in self.names])
        hidden = scores.copy()
        hidden[:, question.known.rows] = -np.inf
        rows = np.unique(np.concatenate([top(row, _POOL) for row in hidden]))
        rows = np.setdiff1d(rows, question.known.rows)
        return scores[:, rows].T, np.isin(rows, question.wanted)

    def gain(self, weights: Floats) -> float:
        """Mean NDCG@20 under (scorers,) weights."""
        totals = self.values @ weights + self.padding
        depth = min(DEPTH, totals.shape[1])
        best = np.argpartition(-totals, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(totals, best, axis=1), axis=1)
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, axis=1), axis=1)
        ideal = _IDEAL[np.minimum(self.wanted, DEPTH)]
        return float(np.mean(hits @ _DISCOUNT[:depth] / ideal))

    @cached_property
    def starts(self) -> list[Floats]:
        """Each scorer alone, and all of them in the proportions the product starts with."""
        default = DEFAULT_WEIGHTS["10+"]
        together = np.array([default.get(name, 0.0) for name in self.names], np.float32)
        return [together, *np.eye(len(self.names), dtype=np.float32)]


def choose_weights(
    scorers: Mapping[str, Scorer], questions: Iterable[Question]
) -> tuple[BlendWeights, dict[str, float]]:
    """The weights that order the wanted songs best, per bucket, and the NDCG@20 they reach."""
    by_bucket: dict[str, list[Question]] = {name: [] for _, name in BUCKETS}
    for question in questions:
        by_bucket[bucket_of(question.known.count)].append(question)
    table = {bucket: dict(weights) for bucket, weights in DEFAULT_WEIGHTS.items()}
    reached = {}
    for bucket, asked in by_bucket.items():
        if len(asked) >= _LEAST_QUESTIONS:
            pool = _Pool(scorers, asked)
            weights, reached[bucket] = _ascend(pool)
            learned = {name: float(w) for name, w in zip(pool.names, weights, strict=True)}
            kept = {n: w for n, w in table[bucket].items() if n not in LEARNED}
            table[bucket] = {**kept, **{n: round(w, 3) for n, w in learned.items() if w > 0}}
    return BlendWeights(by_bucket=table, version="learned"), reached


def _ascend(pool: _Pool) -> tuple[Floats, float]:
    """Coordinate ascent on NDCG from the best start; source: Metzler and Croft, "Linear
    feature-based models for information retrieval" (2007), section 4.3."""
    best = max(pool.starts, key=pool.gain)
    score = pool.gain(best)
    for _ in range(3):
        before = score
        for place in range(len(best)):
            for value in _values(float(best[place])):
                tried = best.copy()
                tried[place] = value
                if tried.any() and (reached := pool.gain(tried)) > score * (1 + 3e-4):
                    best, score = tried, reached
        if score <= before * _WORTH:
            break
    return best / best.max(), score


def _values(now: float) -> list[float]:
    """Where to look next: nothing, a first try, or a step down or up."""
    return [0.0, now * 0.6, now * 0.8, now * 1.25, now * 1.6] if now else [0.05, 0.15, 0.4, 0.8]
