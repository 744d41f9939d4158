"""Gradient boosted trees as plain arrays: fitted in a training job, read in a request.

All trees are complete and of one depth, so a forest is three arrays and needs no pickle.
Source: Friedman, "Greedy function approximation" (2001); histograms and second-order gains as in
Ke et al., "LightGBM" (NeurIPS 2017), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats

Ints = npt.NDArray[np.int32]
_BINS = 48


@dataclass(frozen=True, kw_only=True)
class Forest:
    """t trees of depth d. Node 0 is the root, the children of node i are 2i + 1 and 2i + 2."""

    feature: Ints  #: (t, 2^d - 1)
    threshold: Floats  #: (t, 2^d - 1); a row goes right when its value is larger
    leaf: Floats  #: (t, 2^d)

    def predict(self, values: Floats) -> Floats:
        """(r,) log-odds for (r, f) feature values."""
        inner = self.feature.shape[1]
        trees = np.arange(len(self.feature))
        node = np.zeros((len(values), len(trees)), np.int32)
        rows = np.arange(len(values))[:, None]
        for _ in range(inner.bit_length()):
            right = values[rows, self.feature[trees, node]] > self.threshold[trees, node]
            node = 2 * node + 1 + right
        total: Floats = self.leaf[trees, node - inner].sum(axis=1, dtype=np.float32)
        return total


@dataclass(frozen=True, kw_only=True)
class ForestSettings:
    trees: int = 250
    depth: int = 3
    learning_rate: float = 0.06
    #: Added to the curvature of a leaf, so that small leaves get small values.
    l2_regularization: float = 10.0
    #: Minimum curvature on either side of a split.
    min_child_weight: float = 1.5
    #: Share of rows and of features that each tree sees.
    rows: float = 0.7
    features: float = 0.5


def fit(
    values: Floats, labels: npt.NDArray[np.bool_], *, settings: ForestSettings, seed: int
) -> Forest:
    """Logistic boosting of (r, f) feature values towards (r,) labels."""
    return _Booster(values, labels, settings, seed).forest()


class _Tree(NamedTuple):
    """One tree; `cut` is the bin of each inner node, `threshold` the value at its upper end."""

    feature: Ints
    cut: Ints
    threshold: Floats
    leaf: Floats


class _Booster:
    """The state of one fit."""

    def __init__(
        self,
        values: Floats,
        labels: npt.NDArray[np.bool_],
        settings: ForestSettings,
        seed: int,
    ) -> None:
        self.settings = settings
        self.random = np.random.default_rng(seed)
        self.labels = labels.astype(np.float32)
        self.edges = [_edges(values[:, f]) for f in range(values.shape[1])]
        binned = [np.searchsorted(e, values[:, f]) for f, e in enumerate(self.edges)]
        self.binned = np.stack(binned, axis=1).astype(np.int32)

    def forest(self) -> Forest:
        rate = float(np.clip(self.labels.mean(), 1e-6, 1 - 1e-6))
        odds = np.full(len(self.labels), np.log(rate / (1 - rate)), np.float32)
        trees = []
        for _ in range(self.settings.trees):
            chance = (1 / (1 + np.exp(-odds))).astype(np.float32)
            tree = self._tree(chance - self.labels, chance * (1 - chance))
            trees.append(tree)
            odds += self._leaf_values(tree)
        return Forest(
            feature=np.stack([tree.feature for tree in trees]).astype(np.int32),
            threshold=np.stack([tree.threshold for tree in trees]).astype(np.float32),
            leaf=np.stack([tree.leaf for tree in trees]).astype(np.float32),
        )

    def _tree(self, gradient: Floats, curvature: Floats) -> _Tree:
        inner = 2**self.settings.depth - 1
        feature, cut = np.zeros(inner, np.int32), np.full(inner, _BINS, np.int32)
        rows = np.flatnonzero(self.random.random(len(gradient)) < self.settings.rows)
        count = self.binned.shape[1]
        share = max(1, round(self.settings.features * count))
        some = np.sort(self.random.choice(count, share, replace=False))
        binned = self.binned[np.ix_(rows, some)]
        node = np.zeros(len(rows), np.int32)
        for depth in range(self.settings.depth):
            first, nodes = 2**depth - 1, 2**depth
            best, bins = self._splits(binned, node - first, nodes, gradient[rows], curvature[rows])
            feature[first : first + nodes], cut[first : first + nodes] = some[best], bins
            went = binned[np.arange(len(rows)), best[node - first]]
            node = 2 * node + 1 + (went > cut[node])
        g = np.bincount(node - inner, gradient[rows], minlength=inner + 1)
        h = np.bincount(node - inner, curvature[rows], minlength=inner + 1)
        step = -self.settings.learning_rate * g / (h + self.settings.l2_regularization)
        leaf = np.asarray(step, np.float32)
        thresholds = [
            float(self.edges[f][c]) if c < len(self.edges[f]) else np.inf
            for f, c in zip(feature, cut, strict=True)
        ]
        return _Tree(feature, cut, np.array(thresholds, np.float32), leaf)

    def _splits(
        self, binned: Ints, node: Ints, nodes: int, gradient: Floats, curvature: Floats
    ) -> tuple[Ints, Ints]:
        """Best feature (index into the columns of `binned`) and bin of each node; no gain: all go left."""
        width = binned.shape[1]
        cell = (node[:, None] * width + np.arange(width)) * (_BINS + 1) + binned
        shape = (nodes, width, _BINS + 1)
        size = int(np.prod(shape))
        flat = cell.ravel()
        g, h = (
            np.bincount(flat, np.repeat(part, width), minlength=size).reshape(shape)
            for part in (gradient, curvature)
        )
        gain = self._gains(g.cumsum(axis=2), h.cumsum(axis=2))
        best = gain.reshape(nodes, -1).argmax(axis=1)
        bins = np.where(gain.reshape(nodes, -1).max(axis=1) > 0, best % (_BINS + 1), _BINS)
        return (best // (_BINS + 1)).astype(np.int32), bins.astype(np.int32)

    def _gains(
        self, g: npt.NDArray[np.float64], h: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """(nodes, features, bins) gain of sending bins up to this one left."""
        ridge = self.settings.l2_regularization
        all_g, all_h = g[..., -1:], h[..., -1:]
        gain = g**2 / (h + ridge) + (all_g - g) ** 2 / (all_h - h + ridge)
        gain -= all_g**2 / (all_h + ridge)
        small = np.minimum(h, all_h - h) < self.settings.min_child_weight
        gain[small] = 0
        return gain

    def _leaf_values(self, tree: _Tree) -> Floats:
        """(r,) what the tree adds to the log-odds of each training row."""
        node = np.zeros(len(self.binned), np.int32)
        rows = np.arange(len(node))
        for _ in range(self.settings.depth):
            node = 2 * node + 1 + (self.binned[rows, tree.feature[node]] > tree.cut[node])
        values: Floats = tree.leaf[node - len(tree.feature)]
        return values


def _edges(column: Floats) -> Floats:
    """Upper ends of all bins but the last: quantiles of the distinct values."""
    distinct = np.unique(column)
    if len(distinct) <= _BINS:
        return distinct[:-1]
    at = np.quantile(column, np.linspace(0, 1, 34)[1:-1], method="lower")
    spread = distinct[np.linspace(0, len(distinct) - 1, 16).astype(int)[:-1]]
    edges: Floats = np.unique(np.concatenate([at, spread])).astype(np.float32)
    return edges[:_BINS]
