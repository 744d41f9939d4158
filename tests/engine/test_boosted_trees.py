"""Boosted trees find what they were given to find."""

from __future__ import annotations

import numpy as np

from engine.training import boosted_trees
from engine.training.boosted_trees import Forest, ForestSettings


def test_a_forest_is_walked_by_hand() -> None:
    """One tree of depth 2: feature 0 > 5 goes right; there feature 1 > 1 goes right again."""
    forest = Forest(
        feature=np.array([[0, 1, 1]], np.int32),
        threshold=np.array([[5.0, np.inf, 1.0]], np.float32),
        leaf=np.array([[1.0, 2.0, 3.0, 4.0]], np.float32),
    )
    values = np.array([[5.0, 9.0], [6.0, 1.0], [6.0, 1.5]], np.float32)
    assert forest.predict(values).tolist() == [1.0, 3.0, 4.0]


def test_an_interaction_of_two_features_is_learned() -> None:
    random = np.random.default_rng(0)
    values = random.random((4000, 4)).astype(np.float32)
    wanted = (values[:, 0] > 0.5) & (values[:, 2] < 0.3)
    settings = ForestSettings(trees=40, learning_rate=0.3, features=1.0)
    odds = boosted_trees.fit(values, wanted, settings=settings, seed=1).predict(values)
    assert ((odds > 0) == wanted).mean() > 0.98


def test_the_same_seed_grows_the_same_forest() -> None:
    random = np.random.default_rng(0)
    values = random.random((500, 3)).astype(np.float32)
    wanted = values[:, 1] > 0.7
    first, second = (
        boosted_trees.fit(values, wanted, settings=ForestSettings(trees=5), seed=4)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.leaf, second.leaf)
    np.testing.assert_array_equal(first.threshold, second.threshold)


def test_nothing_to_learn_gives_the_same_odds_to_all() -> None:
    values = np.ones((200, 2), np.float32)
    wanted = np.arange(200) % 2 == 0
    odds = boosted_trees.fit(values, wanted, settings=ForestSettings(trees=3), seed=0).predict(
        values
    )
    assert np.ptp(odds) == 0
