"""What every scorer owes: a scorer to test is one class that makes it, the tests are inherited."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from engine.arrays import Floats
from engine.catalog.corpus import Corpus
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import (
    Content,
    Dislike,
    Factors,
    Neighbours,
    Repeat,
    Same,
    Scorer,
    Walk,
)
from engine.training import fitting
from engine.training.fitting import EaseSettings

N = 30


def checkerboard(members: int = 40) -> csr_matrix:
    """Even members like even songs, odd members odd ones; each leaves out a few."""
    rng = np.random.default_rng(7)
    likes = (np.arange(members)[:, None] % 2) == (np.arange(N)[None, :] % 2)
    return csr_matrix(likes & (rng.random((members, N)) < 0.8), dtype=np.float32)


def corpus_of(interactions: csr_matrix) -> Corpus:
    """Song i has the feature "parity of i" and one of its own."""
    features = np.zeros((N, 2 + N), np.float32)
    features[np.arange(N), np.arange(N) % 2] = 0.8
    features[np.arange(N), 2 + np.arange(N)] = 0.6
    return Corpus(
        song_ids=np.arange(100, 100 + N),
        interactions=interactions,
        features=csr_matrix(features),
        popularity=np.asarray(interactions.sum(axis=0), np.float32).ravel(),
        trend=np.linspace(-1, 1, N, dtype=np.float32),
        recency=np.linspace(0, 1, N, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_of(checkerboard())


def als_factors(corpus: Corpus, seed: int = 3) -> Floats:
    return fitting.als(
        corpus.liked_binary, factors=2, regularization=0.1, alpha=5, rounds=8, seed=seed
    )


class ScorerConformance(ABC):
    """Inherited by one class per scorer."""

    @abstractmethod
    def make(self, corpus: Corpus) -> Scorer:
        """The scorer under test, fitted on the corpus."""

    @pytest.fixture
    def scorer(self, corpus: Corpus) -> Scorer:
        return self.make(corpus)

    known = KnownSongs(
        rows=np.array([4, 8, 2], np.int32),
        weights=np.array([1.0, 0.5, 2.0], np.float32),
        disliked=np.array([5], np.int32),
        disliked_weights=np.array([1.0], np.float32),
    )

    def test_one_finite_score_per_song(self, scorer: Scorer) -> None:
        scores = scorer.scores(self.known)
        assert scores.shape == (N,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_batch_equals_single(self, scorer: Scorer) -> None:
        knowns = [
            self.known,
            KnownSongs.nothing(),
            KnownSongs.liked([29]),
            KnownSongs.liked(range(N)),
        ]
        batch = scorer.scores_many(knowns)
        assert batch.shape == (4, N)
        for row, known in zip(batch, knowns, strict=True):
            np.testing.assert_allclose(row, scorer.scores(known), rtol=1e-4, atol=1e-5)

    def test_a_member_who_likes_nothing_gets_an_answer(self, scorer: Scorer) -> None:
        scores = scorer.scores(KnownSongs.nothing())
        assert scores.shape == (N,)
        assert np.isfinite(scores).all()

    def test_a_member_who_likes_everything_gets_an_answer(self, scorer: Scorer) -> None:
        assert np.isfinite(scorer.scores(KnownSongs.liked(range(N)))).all()

    def test_the_same_question_gets_the_same_answer(self, corpus: Corpus) -> None:
        first, second = self.make(corpus), self.make(corpus)
        np.testing.assert_array_equal(first.scores(self.known), second.scores(self.known))

    def test_the_question_is_not_changed_by_asking(self, scorer: Scorer) -> None:
        before = self.known.weights.copy(), self.known.rows.copy()
        scorer.scores(self.known)
        np.testing.assert_array_equal(before[0], self.known.weights)
        np.testing.assert_array_equal(before[1], self.known.rows)

    def test_shares_add_up_to_the_score(self, scorer: Scorer) -> None:
        scores = scorer.scores(self.known)
        for row in (0, 2, 6, 7, 29):
            shares = scorer.contributions(self.known, row)
            assert shares.shape == (3,)
            expected = scores[row] if scorer.additive else 0.0
            assert shares.sum() == pytest.approx(expected, rel=1e-3, abs=1e-4)

    def test_no_shares_where_nothing_is_known(self, scorer: Scorer) -> None:
        assert scorer.contributions(KnownSongs.nothing(), 3).shape == (0,)


class FindsTheWithheldSong(ScorerConformance):
    """For scorers that learn taste: on a checkerboard the songs of one colour come first."""

    def test_withheld_songs_of_the_colour_come_first(self, scorer: Scorer) -> None:
        known = KnownSongs.liked([0, 2, 4, 6])
        scores = scorer.scores(known).copy()
        scores[known.rows] = -np.inf
        best = np.argsort(-scores)[:11]
        assert (best % 2 == 0).all()

    def test_one_known_song_is_enough(self, scorer: Scorer) -> None:
        scores = scorer.scores(KnownSongs.liked([11])).copy()
        scores[11] = -np.inf
        assert (np.argsort(-scores)[:14] % 2 == 1).all()


class TestEase(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        matrix = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=50), max_songs=N, keep=N
        )
        return Neighbours(name="ease", matrix=matrix)

    def test_weights_are_those_of_the_paper(self, corpus: Corpus) -> None:
        liked = corpus.liked_binary.toarray().astype(float)
        inverse = np.linalg.inv(liked.T @ liked + 5 * np.eye(N))
        expected = inverse / -np.diag(inverse)
        np.fill_diagonal(expected, 0)
        got = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=5), max_songs=N, keep=N
        ).toarray()
        np.testing.assert_allclose(got, expected, atol=1e-5)

    def test_blocks_change_nothing(self, corpus: Corpus) -> None:
        whole = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=5), max_songs=N, keep=N
        )
        by_seven = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=5), max_songs=N, keep=N, block=7
        )
        np.testing.assert_allclose(by_seven.toarray(), whole.toarray(), atol=1e-6)

    def test_only_the_most_active_songs_are_fitted(self) -> None:
        likes = checkerboard().tolil()
        likes[:, 20:] = 0
        likes[0, 20:] = 1  # one member each: less than any of the first twenty
        matrix = fitting.ease(likes.tocsr(), EaseSettings(regularization=5), max_songs=20, keep=N)
        assert matrix.shape == (N, N)
        assert matrix.indices.max() < 20

    def test_pruning_keeps_the_strongest(self, corpus: Corpus) -> None:
        whole = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=5), max_songs=N, keep=N
        ).toarray()
        pruned = fitting.ease(
            corpus.liked_binary, EaseSettings(regularization=5), max_songs=N, keep=3
        ).toarray()
        for full, few in zip(whole, pruned, strict=True):
            np.testing.assert_allclose(
                np.sort(np.abs(few))[-3:], np.sort(np.abs(full))[-3:], atol=1e-6
            )
            assert (few != 0).sum() == 3


class TestRp3(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        matrix = fitting.rp3(corpus.liked_binary, alpha=0.8, beta=0.4, keep=N)
        return Neighbours(name="rp3", matrix=matrix)


class TestItemKnn(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        return Neighbours(name="knn", matrix=fitting.cosine(corpus.liked_binary, shrink=2, keep=N))


class TestWalk(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        return Walk(corpus=corpus)

    def test_walking_now_equals_the_trained_matrix(self, corpus: Corpus) -> None:
        trained = TestRp3().make(corpus)
        np.testing.assert_allclose(
            self.make(corpus).scores(self.known), trained.scores(self.known), rtol=1e-4
        )

    def test_few_and_many_reached_members_walk_alike(self, corpus: Corpus) -> None:
        known = KnownSongs(
            rows=np.array([0, 2, 5], np.int32), weights=np.array([1, 0.3, 2], np.float32)
        )
        found = {}
        for jump in (0, corpus.interactions.nnz + 1):  # never, always over all likes
            found[jump] = Walk(corpus=corpus, reads_per_jump=jump).scores(known)
        one, other = found.values()
        assert one.any()
        assert np.array_equal(one, other)


class TestAls(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        songs = als_factors(corpus)
        return Factors(songs=songs, gram=songs.T @ songs, regularization=0.1, alpha=5)


class TestContent(FindsTheWithheldSong):
    def make(self, corpus: Corpus) -> Scorer:
        return Content(corpus=corpus)


class TestDislike(ScorerConformance):
    def make(self, corpus: Corpus) -> Scorer:
        return Dislike(corpus=corpus)

    def test_what_is_like_a_disliked_song_sinks(self, scorer: Scorer) -> None:
        scores = scorer.scores(self.known)
        assert scores[7] < 0  # odd as the disliked 5
        assert scores[6] == 0


class TestPopularity(ScorerConformance):
    def make(self, corpus: Corpus) -> Scorer:
        return Same(name="popularity", values=corpus.log_popularity)


class TestRepeat(ScorerConformance):
    def make(self, corpus: Corpus) -> Scorer:
        return Repeat(n_songs=N)

    def test_often_and_lately_beats_once_and_long_ago(self, scorer: Scorer) -> None:
        known = KnownSongs(
            rows=np.array([1, 2, 3], np.int32),
            weights=np.ones(3, np.float32),
            counts=np.array([5, 1, 5], np.float32),
            age_days=np.array([10, 10, 1000], np.float32),
        )
        scores = scorer.scores(known)
        assert scores[1] > scores[2] > scores[3] > 0
        assert scores[4] == 0
