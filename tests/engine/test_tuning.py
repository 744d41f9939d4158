"""Training chooses its settings on rows it does not see, and never settles for less than one scorer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from engine.catalog.corpus import Corpus
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import Neighbours, Same, Scorer
from engine.training import tuning
from engine.training.fitting import EaseSettings
from engine.training.model import Model, TrainSettings
from engine.training.tuning import HeldOutQuestion, choose_weights

SONGS = 40


def corpus(members: int = 40, *, stray: float = 0.0) -> Corpus:
    """Two tastes; popularity is ten times the number of likes. stray: strength of likes of no taste."""
    random = np.random.default_rng(3)
    liked = np.zeros((members, SONGS), np.float32)
    for member in range(members):
        liked[member, member % 2 :: 2] = random.random(SONGS // 2) < 0.6
    if stray:
        liked = np.where(random.random(liked.shape) < 0.05, np.float32(stray), liked)
    return Corpus(
        song_ids=np.arange(SONGS, dtype=np.int64),
        interactions=csr_matrix(liked),
        features=csr_matrix((SONGS, 1), dtype=np.float32),
        popularity=10 * (liked > 0).sum(axis=0).astype(np.float32),
        trend=np.zeros(SONGS, np.float32),
        recency=np.zeros(SONGS, np.float32),
    )


def test_few_members_are_asked_again_about_other_songs() -> None:
    held = tuning.cuts(corpus(), seed=1)
    assert len(held) > 1
    first, second = (
        {(q.known.count, *sorted(q.wanted.tolist())) for q in one.questions} for one in held[:2]
    )
    assert first != second


def test_nothing_that_is_asked_for_is_trained_on() -> None:
    whole = corpus()
    for held in tuning.cuts(whole, seed=1):
        hidden = sum(len(question.wanted) for question in held.insiders)
        told = {question.known.rows.tobytes() for question in held.outsiders}
        assert held.corpus.interactions.nnz <= whole.interactions.nnz - hidden
        assert told  # members kept out wholly are asked about as well


def test_popularity_falls_by_the_hidden_share() -> None:
    held = tuning.cut(corpus(), seed=1).corpus
    likes = np.asarray((held.interactions > 0).sum(axis=0)).ravel()
    assert held.popularity == pytest.approx(10 * likes)


def test_a_power_of_nothing_makes_every_like_the_same() -> None:
    known = KnownSongs(rows=np.array([1, 2], np.int32), weights=np.array([1, 9], np.float32))
    assert known.normalized(0.0).weights.tolist() == [1, 1]
    assert known.normalized(0.5).weights.tolist() == [0.5, 1.5]
    assert set(corpus(stray=9).normalized(0.0).data.tolist()) == {1.0}


def test_strength_that_tells_nothing_is_not_counted() -> None:
    held = tuning.cuts(corpus(members=120, stray=60), seed=0)
    power, _ = tuning.choose_ease(
        held, 1.0, EaseSettings(regularization=20), max_songs=SONGS, keep=SONGS
    )
    assert power < 1


def test_learned_weights_are_no_worse_than_any_scorer_alone() -> None:
    """One scorer knows, another knows the opposite of the half: the mix keeps to the one that knows."""
    random = np.random.default_rng(0)
    knows = csr_matrix(np.kron(np.eye(2), np.ones((SONGS // 2, SONGS // 2))).astype(np.float32))
    noise = csr_matrix(random.random((SONGS, SONGS)).astype(np.float32))
    scorers: dict[str, Scorer] = {
        "ease": Neighbours(name="ease", matrix=noise),
        "rp3": Neighbours(name="rp3", matrix=knows),
        "recency": Same(name="recency", values=np.zeros(SONGS, np.float32)),
    }
    questions = [_half(random, member) for member in range(200)]
    weights, reached = choose_weights([(scorers, questions)])
    assert reached["3-9"] == pytest.approx(1.0)
    learned = weights.by_bucket["3-9"]
    assert learned["rp3"] == 1.0 > 5 * learned["ease"]
    assert "recency" not in learned  # says the same of every song


def test_what_few_members_choose_is_drawn_towards_a_mix() -> None:
    """The same answers, of 200 members or of 2 that were asked again and again."""
    random = np.random.default_rng(0)
    scorers: dict[str, Scorer] = {
        "rp3": Neighbours(name="rp3", matrix=csr_matrix(np.kron(np.eye(2), np.ones((20, 20))))),
        "standing": Same(name="standing", values=np.arange(SONGS, dtype=np.float32)),
    }
    many = [_half(random, member) for member in range(200)]
    few = [replace(question, member=question.member % 2) for question in many]
    sure, unsure = (choose_weights([(scorers, asked)])[0].of(4) for asked in (many, few))
    # 200² / (200² + 25²) = 98 % and 2² / (2² + 25²) = 1 % are trusted; the mix holds as much of both
    assert sure["standing"] < 0.05
    assert unsure["standing"] > 0.8


def _half(random: np.random.Generator, member: int) -> HeldOutQuestion:
    """Members of even number like the first half of the songs, the others the second."""
    songs = member % 2 * (SONGS // 2) + random.permutation(SONGS // 2)
    return HeldOutQuestion(
        known=KnownSongs.liked(songs[:4].astype(np.int32)),
        wanted=songs[4:].astype(np.int32),
        member=member,
    )


def test_the_same_data_and_seed_choose_the_same() -> None:
    settings = TrainSettings(als_factors=4, als_rounds=2)
    first, second = (Model.train(corpus(), settings=settings, seed=4) for _ in range(2))
    assert first.version == second.version
    assert first.weights == second.weights
