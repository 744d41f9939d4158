"""Computes how good ranked lists are, with intervals. One list per row, best first.

`hits` is (lists, depth) bool: whether the song at that place was to be found. `wanted` is (lists,) the
number of songs to be found, those that no list can hold included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Hits = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Lists = Sequence[npt.NDArray[np.int32]]

#: Steck, "Calibrated recommendations" (RecSys 2018), equation 7: keeps the divergence finite.
_SMOOTHING = 0.01


def ndcg(hits: Hits, wanted: npt.NDArray[np.int64], k: int) -> Values:
    """(lists,) gain 1 for a song to be found, discounted by log2 of the place, over that of the ideal list."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.clip(wanted, 1, k) - 1]
    found = hits[:, :k]
    gained: Values = found @ discount[: found.shape[1]] / ideal
    return gained


def recall(hits: Hits, wanted: npt.NDArray[np.int64], k: int) -> Values:
    """(lists,) share of what could be found: at most k songs fit into a list of k."""
    found: Values = hits[:, :k].sum(axis=1).astype(np.float64)
    found /= np.clip(wanted, 1, k)
    return found


def hit_rate(hits: Hits, wanted: npt.NDArray[np.int64], k: int) -> Values:
    """(lists,) 1 where any of the first k was wanted."""
    return np.asarray(hits[:, :k].any(axis=1), np.float64)


def coverage(lists: Lists, n_songs: int, k: int) -> float:
    """Distinct songs in the first k of any list, over all songs."""
    shown = {row for found in lists for row in found[:k].tolist()}
    return len(shown) / max(n_songs, 1)


def novelty(lists: Lists, likes: npt.NDArray[np.float32], k: int) -> Values:
    """(lists,) mean surprise in bits: -log2 of the share of all likes that a listed song has."""
    surprise = -np.log2((likes + 1) / (likes.sum() + len(likes)))
    return np.array([surprise[found[:k]].mean() if len(found) else 0.0 for found in lists])


def diversity(lists: Lists, features: csr_matrix, k: int) -> Values:
    """(lists,) 1 - mean cosine of the pairs of a list; rows of `features` have length 1 or 0."""
    return np.array([_spread(features[found[:k]]) for found in lists])


def _spread(vectors: csr_matrix) -> float:
    size = vectors.shape[0]
    if size < 2:
        return 0.0
    alike = (vectors @ vectors.T).toarray()
    return float(1 - (alike.sum() - np.trace(alike)) / (size * (size - 1)))


def calibration(
    lists: Lists, known: Sequence[npt.NDArray[np.int32]], features: csr_matrix, k: int
) -> Values:
    """(lists,) Kullback-Leibler divergence of the list's mix of content from the member's; 0 = the same."""
    return np.array(
        [
            _divergence(_mix(features[liked]), _mix(features[found[:k]]))
            for liked, found in zip(known, lists, strict=True)
        ]
    )


def _mix(vectors: csr_matrix) -> Values:
    """(f,) share of each feature, summing to 1 (or all 0)."""
    weights = np.asarray(vectors.sum(axis=0), np.float64).ravel()
    shares: Values = weights / max(float(weights.sum()), 1e-12)
    return shares


def _divergence(own: Values, shown: Values) -> float:
    if not own.any() or not shown.any():
        return 0.0
    smooth = (1 - _SMOOTHING) * shown + _SMOOTHING * own
    has = own > 0
    return float(np.sum(own[has] * np.log(own[has] / smooth[has])))


def interval(values: Values, *, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean over lists."""
    if not len(values):
        return (0.0, 0.0)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
