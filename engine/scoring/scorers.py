"""Scores all songs for one member, each scorer by one kind of evidence.

Shapes: n songs of the catalog, k songs known of the member, m members of the training data.
A score of 0 means "no evidence". Scores are comparable within one scorer; `engine.scoring.blend`
makes them comparable across scorers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows
from engine.catalog.corpus import Corpus
from engine.scoring.known import KnownSongs, stack
from engine.weights import ScorerName


class Scorer(Protocol):
    """Scores all songs. Implementations hold arrays and no state of a request."""

    @property
    def name(self) -> str:
        """Its name in weights, traces and figures."""

    @property
    def additive(self) -> bool:
        """True when a score is a sum over known songs, so that reasons are exact."""

    def scores(self, known: KnownSongs) -> Floats:
        """(n,) higher is better, 0 without evidence."""

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        """(len(knowns), n), row by row what `scores` gives."""

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        """(k,) share of each known song in the score of `row`; they add up to it."""

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        """(len(rows), k), row by row what `contributions` gives."""


@dataclass(frozen=True)
class _RowByRow(ABC):
    """Batch scoring for scorers that gain nothing from it, and no shares."""

    @abstractmethod
    def scores(self, known: KnownSongs) -> Floats:
        """(n,) as every scorer's."""

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        return np.stack([self.scores(known) for known in knowns])

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        return np.zeros(known.count, np.float32)

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        shares = [self.contributions(known, int(row)) for row in rows]
        return np.stack(shares) if shares else np.zeros((0, known.count), np.float32)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Sum over known songs of a pruned song-to-song matrix: EASE, RP3β and their kin.

    matrix: (n, n) CSR, row j holds what song j adds to the others' scores; the diagonal is empty.
    """

    name: str
    matrix: csr_matrix
    additive: bool = True

    def scores(self, known: KnownSongs) -> Floats:
        return _dense_row(known.vector(self.matrix.shape[0]) @ self.matrix)

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        return np.asarray((stack(knowns, self.matrix.shape[0]) @ self.matrix).todense(), np.float32)

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        weights = np.asarray(self.matrix[known.rows, row].todense(), np.float32).ravel()
        return weights * known.weights

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        weights = self.matrix[known.rows][:, rows].T
        return np.asarray(weights.todense(), np.float32) * known.weights

    def covered(self) -> int:
        """Songs that can get a score."""
        return len(np.unique(self.matrix.indices))


@dataclass(frozen=True, kw_only=True)
class Walk:
    """RP3β without training: known song → its members → their songs, when the request comes.

    At most `members_per_song` members of a song are walked (evenly spread, so the same each time):
    a request stays cheap whatever the number of likes.
    Source: Paudel et al., "Updatable, accurate, diverse, and scalable recommendations" (TiiS 2017).
    """

    corpus: Corpus
    alpha: float = 0.8
    beta: float = 0.4
    members_per_song: int = 200
    #: Jumping to the songs of one member costs as much as reading so many likes in a row.
    reads_per_jump: int = 10
    name: str = ScorerName.RP3
    additive: bool = True

    @cached_property
    def _popularity_damping(self) -> Floats:
        """(n,) likes of each song to the minus β: damps popular songs."""
        return _damping(self.corpus.liked_by, self.beta)

    @cached_property
    def _activity_damping(self) -> Floats:
        """(m,) likes of each member to the minus α: damps members who like everything."""
        return _damping(self.corpus.liked_binary, self.alpha)

    def _first_steps(self, rows: Rows) -> csr_matrix:
        """(k, m) from each known song to (a sample of) its members."""
        likes = self.corpus.liked_by
        reached = [
            self._sampled(likes.indices[likes.indptr[r] : likes.indptr[r + 1]]) for r in rows
        ]
        sizes = np.array([len(members) for members in reached], np.int64)
        members = np.concatenate(reached) if reached else np.empty(0, np.int32)
        degrees = np.diff(likes.indptr)[rows].clip(min=1).astype(np.float32)
        scale = degrees ** (1 - self.alpha) / sizes.clip(min=1)
        steps = self._activity_damping[members] * np.repeat(scale, sizes)
        shape = (len(rows), self.corpus.liked_binary.shape[0])
        ends = np.concatenate([[0], np.cumsum(sizes)])
        return csr_matrix((steps.astype(np.float32), members, ends), shape=shape)

    def _second_steps(self, reached: csr_matrix) -> Floats:
        """(n,) from members (1, m) to their songs. Both ways add up in the order of the members."""
        likes = self.corpus.liked_binary
        walked = int((likes.indptr[reached.indices + 1] - likes.indptr[reached.indices]).sum())
        if walked * self.reads_per_jump > likes.nnz:
            return np.asarray(self.corpus.liked_by @ _dense_row(reached), np.float32)
        reached.sort_indices()
        return _dense_row(reached @ likes)

    def _sampled(self, members: Rows) -> Rows:
        if len(members) <= self.members_per_song:
            return members
        sample: Rows = members[np.linspace(0, len(members) - 1, self.members_per_song).astype(int)]
        return sample

    def scores(self, known: KnownSongs) -> Floats:
        """One walk for all known songs together, less the score each known song gives itself."""
        steps = self._first_steps(known.rows)
        weights = csr_matrix(known.weights[None, :])
        total = self._second_steps(weights @ steps)
        back = np.asarray(steps.sum(axis=1), np.float32).ravel() * known.weights
        total[known.rows] -= back
        return total * self._popularity_damping

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        return np.stack([self.scores(known) for known in knowns])

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        shares: Floats = self.contributions_many(known, np.array([row], np.int32))[0]
        return shares

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        steps = self._first_steps(known.rows)
        said = np.asarray((steps @ self.corpus.liked_by[rows].T).todense(), np.float32).T
        said = said * self._popularity_damping[rows][:, None]
        said[rows[:, None] == known.rows[None, :]] = 0
        return np.asarray(said * known.weights, np.float32)


@dataclass(frozen=True, kw_only=True)
class Factors:
    """ALS: the member is folded in from the known songs, so they need not be in the training data.

    songs: (n, d) factors, rows of zeros for songs it was not fitted on. gram: (d, d) songsᵀ·songs.
    Source: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets" (2008), eq. 4.
    """

    songs: Floats
    gram: Floats
    regularization: float
    alpha: float
    name: str = ScorerName.ALS
    additive: bool = True

    def _solver(self, known: KnownSongs) -> tuple[Floats, Floats]:
        """The known songs' factors (k, d) by confidence 1 + αw, and the matrix (d, d) that is solved."""
        chosen = self.songs[known.rows]
        confidence = (self.alpha * known.weights)[:, None]
        ridge = np.float32(self.regularization) * np.eye(chosen.shape[1], dtype=np.float32)
        return (confidence + 1) * chosen, self.gram + chosen.T @ (confidence * chosen) + ridge

    def member(self, known: KnownSongs) -> Floats:
        """(d,) the member's factors."""
        if not known.count:
            return np.zeros(self.songs.shape[1], np.float32)
        weighted, matrix = self._solver(known)
        return np.linalg.solve(matrix, weighted.sum(axis=0)).astype(np.float32)

    def scores(self, known: KnownSongs) -> Floats:
        scores: Floats = self.songs @ self.member(known)
        return scores

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        members = np.stack([self.member(known) for known in knowns])
        scores: Floats = members @ self.songs.T
        return scores

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        """Hu et al., section 5: the fold-in is linear in the known songs once the matrix is fixed."""
        shares: Floats = self.contributions_many(known, np.array([row], np.int32))[0]
        return shares

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        if not known.count:
            return np.zeros((len(rows), 0), np.float32)
        weighted, matrix = self._solver(known)
        return np.asarray((weighted @ np.linalg.solve(matrix, self.songs[rows].T)).T, np.float32)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Likeness of artist, anime, genre, mood, language and words to the known songs."""

    corpus: Corpus
    name: str = ScorerName.CONTENT
    additive: bool = True

    def scores(self, known: KnownSongs) -> Floats:
        wanted = _dense_row(known.vector(self.corpus.n_songs) @ self.corpus.features)
        # Common words have long postings: one pass over all songs is quicker, and always the same.
        scores: Floats = self.corpus.features @ wanted
        return scores

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        wanted = stack(knowns, self.corpus.n_songs) @ self.corpus.features
        return np.asarray((wanted @ self.corpus.postings).todense(), np.float32)

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        alike = self.corpus.features[known.rows] @ self.corpus.features[[row]].T
        return np.asarray(alike.todense(), np.float32).ravel() * known.weights

    def contributions_many(self, known: KnownSongs, rows: Rows) -> Floats:
        alike = self.corpus.features[rows] @ self.corpus.features[known.rows].T
        return np.asarray(alike.todense(), np.float32) * known.weights


@dataclass(frozen=True, kw_only=True)
class Dislike(_RowByRow):
    """Minus the content likeness to what the member disliked."""

    corpus: Corpus
    name: str = ScorerName.DISLIKE
    additive: bool = False

    def scores(self, known: KnownSongs) -> Floats:
        if not len(known.disliked):
            return np.zeros(self.corpus.n_songs, np.float32)
        against = KnownSongs(rows=known.disliked, weights=known.disliked_weights)
        return -Content(corpus=self.corpus).scores(against)


@dataclass(frozen=True, kw_only=True)
class Same(_RowByRow):
    """The same for every member: popularity, trend, recency."""

    name: str
    values: Floats
    additive: bool = False

    def scores(self, known: KnownSongs) -> Floats:
        return self.values

    def scores_many(self, knowns: Sequence[KnownSongs]) -> Floats:
        return np.broadcast_to(self.values, (len(knowns), len(self.values)))


@dataclass(frozen=True, kw_only=True)
class Repeat(_RowByRow):
    """Songs the member sings repeatedly; useful only where known songs may be recommended."""

    n_songs: int
    half_life_days: float = 90.0
    name: str = ScorerName.REPEAT
    additive: bool = True

    def _strength(self, known: KnownSongs) -> Floats:
        counts = known.counts if len(known.counts) else np.ones(known.count, np.float32)
        strength = np.log1p(counts)
        if len(known.age_days):
            strength = strength * np.exp2(-known.age_days / self.half_life_days)
        return np.asarray(strength, np.float32)

    def scores(self, known: KnownSongs) -> Floats:
        total = np.zeros(self.n_songs, np.float32)
        total[known.rows] = self._strength(known)
        return total

    def contributions(self, known: KnownSongs, row: int) -> Floats:
        return np.where(known.rows == row, self._strength(known), 0).astype(np.float32)


def _dense_row(sparse: csr_matrix) -> Floats:
    dense = np.zeros(sparse.shape[1], np.float32)
    dense[sparse.indices] = sparse.data
    return dense


def _damping(matrix: csr_matrix, power: float) -> Floats:
    """(rows,) number of entries of each row, to the minus `power`."""
    damping: Floats = np.maximum(np.diff(matrix.indptr).astype(np.float32), 1) ** np.float32(-power)
    return damping


def standardised(scores: Floats) -> Floats:
    """z-scores over the catalog; all zeros when every song has the same score."""
    deviation = float(scores.std())
    if deviation < 1e-12:
        return np.zeros(len(scores), np.float32)
    return np.asarray((scores - scores.mean()) / np.float32(deviation), np.float32)
