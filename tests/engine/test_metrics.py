"""Every figure against a sum done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from engine.evaluation import metrics

#: Places 1 and 3 of the first list were wanted; nothing of the second.
HITS = np.array([[True, False, True, False], [False, False, False, False]])
WANTED = np.array([3, 1])


def lists(*rows: list[int]) -> list[np.ndarray]:
    return [np.array(row, np.int32) for row in rows]


def test_ndcg() -> None:
    # found 1/log2(2) + 1/log2(4) = 1.5; the best list of 3 wanted: 1 + 1/log2(3) + 1/log2(4) = 2.1309
    assert metrics.ndcg(HITS, WANTED, 4).tolist() == pytest.approx([1.5 / 2.13093, 0], abs=1e-5)
    # at 2: found 1, best 1 + 0.63093
    assert metrics.ndcg(HITS, WANTED, 2)[0] == pytest.approx(1 / 1.63093, abs=1e-5)


def test_a_list_shorter_than_k_still_counts() -> None:
    assert metrics.ndcg(HITS[:, :1], WANTED, 2)[0] == pytest.approx(1 / 1.63093, abs=1e-5)


def test_recall_is_over_what_fits_into_the_list() -> None:
    assert metrics.recall(HITS, WANTED, 4).tolist() == pytest.approx([2 / 3, 0])
    assert metrics.recall(HITS, WANTED, 2).tolist() == pytest.approx([1 / 2, 0])


def test_hit_rate() -> None:
    assert metrics.hit_rate(HITS, WANTED, 4).tolist() == [1, 0]
    assert metrics.hit_rate(~HITS, WANTED, 1).tolist() == [0, 1]


def test_coverage_counts_distinct_songs() -> None:
    # songs 1, 2, 3 of 10 in the first two places
    assert metrics.coverage(lists([1, 2, 9], [2, 3]), 10, 2) == pytest.approx(0.3)


def test_novelty_is_surprise_in_bits() -> None:
    # likes 6, 0 over two songs, one added to each: shares 7/8 and 1/8 → 0.19265 and 3 bits
    likes = np.array([6, 0], np.float32)
    found = metrics.novelty(lists([0], [1], [0, 1]), likes, 20)
    assert found.tolist() == pytest.approx([0.19265, 3.0, (0.19265 + 3) / 2], abs=1e-4)


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    features = csr_matrix(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    # pairs of 0, 1, 2: cosines 1, 0, 0
    found = metrics.diversity(lists([0, 1, 2], [0, 1], [2]), features, 20)
    assert found.tolist() == pytest.approx([2 / 3, 0, 0])


def test_calibration_is_zero_for_the_members_own_mix_and_grows_with_distance() -> None:
    features = csr_matrix(np.array([[1, 0], [0, 1]], np.float32))
    own = lists([0, 1], [0, 1])
    same, lopsided = metrics.calibration(lists([0, 1], [0]), own, features, 20)
    assert same == pytest.approx(0, abs=1e-9)
    # own (.5, .5), shown (1, 0) smoothed with .01: (.995, .005)
    assert lopsided == pytest.approx(0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005))


def test_an_interval_holds_the_mean_and_narrows_with_more_lists() -> None:
    random = np.random.default_rng(0)
    few, many = random.random(50), random.random(5000)
    low, high = metrics.interval(few, seed=1)
    assert low < few.mean() < high
    narrow_low, narrow_high = metrics.interval(many, seed=1)
    assert narrow_high - narrow_low < (high - low) / 5
    assert metrics.interval(few, seed=1) == (low, high)
