"""Holds the trained part of the engine; a job trains it, every process maps its array files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows
from engine.catalog.corpus import Corpus
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
from engine.training import fitting, session_ranker, tuning
from engine.training.boosted_trees import Forest
from engine.training.fitting import EaseSettings
from engine.training.model_files import ModelFileInvalid, read_model, write_model
from engine.training.session_ranker import Opinions, SessionRanker
from engine.weights import BlendWeights, ScorerName

#: Starting point of tuning; good on every data set tried.
_EASE = EaseSettings(regularization=30.0, flattening=0.2, content=3.0)
_FOREST = ("feature", "threshold", "leaf")
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What training may cost and how hard it regularises."""

    #: EASE inverts a dense (s, s) matrix: s songs most active in feedback; 10 000 are 400 MB.
    ease_max_songs: int = 10_000
    ease: EaseSettings = _EASE
    ease_neighbours: int = 200
    #: The power of a like's strength that counts: 1 = in full, 0 = every like the same.
    strength: float = 1.0
    rp3_alpha: float = 0.8
    rp3_beta: float = 0.4
    rp3_neighbours: int = 100
    knn_shrinkage: float = 10.0
    knn_neighbours: int = 100
    als_factors: int = 64
    als_regularization: float = 30.0
    als_alpha: float = 10.0
    als_rounds: int = 12
    #: Choose `strength`, `ease` and the blend's weights on held back rows; about doubles the time.
    tune: bool = True


@dataclass(frozen=True, kw_only=True)
class Model:
    """All trained scorers, as arrays over `song_ids`; an untrained model has none."""

    song_ids: npt.NDArray[np.int64]
    #: (n, n) neighbours by name.
    matrices: Mapping[str, csr_matrix] = field(default_factory=dict)
    #: (n, …) by name, one row per song.
    per_song: Mapping[str, Floats] = field(default_factory=dict)
    #: Whatever does not change with the catalog.
    fixed: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    #: Learned on rows held back from training; None where there were too few.
    weights: BlendWeights | None = None
    settings: TrainSettings = field(default_factory=TrainSettings)
    #: Facts about the training: sizes, validation figures. JSON-able.
    facts: Mapping[str, Any] = field(default_factory=dict)
    version: str = "untrained"

    @classmethod
    def untrained(cls, corpus: Corpus) -> Model:
        """A cold installation: RP3β walks at request time, content, popularity, recency."""
        return cls(song_ids=corpus.song_ids)

    @classmethod
    def train(
        cls,
        corpus: Corpus,
        *,
        settings: TrainSettings | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Model:
        """Tune and fit every scorer. Minutes and up to 2 GiB at the largest size; see `TrainSettings`."""
        report = progress or (lambda stage, share: None)
        chosen, weights = settings or TrainSettings(), None
        facts: dict[str, Any] = {}
        if chosen.tune:
            report("tuning", 0.0)
            chosen, weights, facts = _tuned(corpus, chosen, seed)
        report("fitting", 0.45)
        fitted = _fitted(corpus, chosen, seed)
        report("sittings", 0.75)
        ranker = session_ranker.train(corpus, seed=seed)
        if ranker is not None:
            fitted = _with_ranker(fitted, ranker)
        report("done", 1.0)
        facts["coverage"] = fitted.coverage()
        version = _digest(fitted._arrays(), weights)
        return replace(fitted, weights=weights, facts=facts, version=version)

    def scorers(self, corpus: Corpus) -> dict[str, Scorer]:
        """By name, over the rows of `corpus`, which must be those of the model (`realigned`)."""
        same = self.song_ids is corpus.song_ids or np.array_equal(self.song_ids, corpus.song_ids)
        if not same:
            raise ValueError("model and catalog differ: call realigned(corpus.song_ids) first")
        untrained: tuple[Scorer, ...] = (
            Content(corpus=corpus),
            Same(name=ScorerName.POPULARITY, values=corpus.log_popularity),
            Same(name=ScorerName.TREND, values=corpus.trend),
            Same(name=ScorerName.RECENCY, values=corpus.recency),
            Repeat(n_songs=corpus.n_songs),
            Dislike(corpus=corpus),
        )
        return {scorer.name: scorer for scorer in (*self._trained(corpus), *untrained)}

    def _trained(self, corpus: Corpus) -> tuple[Scorer, ...]:
        found: list[Scorer] = [
            Neighbours(name=name, matrix=self.matrices[name])
            for name in (ScorerName.EASE, ScorerName.KNN, ScorerName.RP3)
            if name in self.matrices
        ]
        if ScorerName.RP3 not in self.matrices:
            found.append(
                Walk(corpus=corpus, alpha=self.settings.rp3_alpha, beta=self.settings.rp3_beta)
            )
        if ScorerName.ALS in self.per_song:
            found.append(self._als)
        if ScorerName.STANDING in self.per_song:
            found.append(
                Same(name=ScorerName.STANDING, values=self.per_song[ScorerName.STANDING].ravel())
            )
        return tuple(found)

    @cached_property
    def _als(self) -> Factors:
        return Factors(
            songs=self.per_song[ScorerName.ALS],
            gram=self.fixed["als_gram"],
            regularization=self.settings.als_regularization,
            alpha=self.settings.als_alpha,
        )

    @cached_property
    def session(self) -> SessionRanker | None:
        """Orders songs in the middle of a sitting; None when there were too few sittings to learn from."""
        if "session_forest_leaf" not in self.fixed:
            return None
        opinions = Opinions(
            ease=self.matrices["session_ease"],
            knn=self.matrices["session_knn"],
            rp3=self.matrices["session_rp3"],
            als=self.per_song["session_als"],
            als_gram=self.fixed["session_als_gram"],
            stats=self.per_song["session_stats"],
        )
        parts = {name: self.fixed[f"session_forest_{name}"] for name in _FOREST}
        return SessionRanker(opinions=opinions, forest=Forest(**parts))

    def coverage(self) -> dict[str, int]:
        """How many songs each trained scorer can score."""
        covered = {name: len(np.unique(m.indices)) for name, m in self.matrices.items()}
        for name, factors in self.per_song.items():
            covered[name] = int(factors.any(axis=1).sum())
        counted = {"standing", "session_stats"}  # counts, not opinions
        return {str(name): count for name, count in covered.items() if name not in counted}

    def realigned(self, song_ids: npt.NDArray[np.int64]) -> Model:
        """The same model over another catalog: gone songs are dropped, new ones have no trained score."""
        if np.array_equal(self.song_ids, song_ids):
            return self
        place = {int(song): row for row, song in enumerate(song_ids)}
        moved = np.array([place.get(int(song), -1) for song in self.song_ids], np.int32)
        size = len(song_ids)
        return replace(
            self,
            song_ids=song_ids,
            matrices={name: _moved(m, moved, size) for name, m in self.matrices.items()},
            per_song={name: _moved_rows(a, moved, size) for name, a in self.per_song.items()},
        )

    def save(self, folder: Path) -> None:
        """Write the arrays and their manifest; `load` maps them into memory."""
        facts = {
            "version": self.version,
            "settings": asdict(self.settings),
            "weights": self.weights and self.weights.to_json(),
            "facts": dict(self.facts),
            "matrices": sorted(self.matrices),
            "per_song": sorted(self.per_song),
        }
        write_model(folder, self._arrays(), facts)

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Memory-mapped. Raises ModelFileInvalid when anything is missing, altered or of another format."""
        try:
            return cls._from_manifest(*read_model(folder))
        except ModelFileInvalid:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ModelFileInvalid(f"{folder}: {error}. Train again or roll back.") from error

    @classmethod
    def _from_manifest(cls, manifest: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Model:
        song_ids = arrays.pop("song_ids")
        matrices = {}
        for name in manifest["matrices"]:
            parts = tuple(arrays.pop(f"{name}_{part}") for part in ("data", "indices", "indptr"))
            matrices[name] = csr_matrix(parts, shape=(len(song_ids), len(song_ids)), copy=False)
        per_song = {name: arrays.pop(name) for name in manifest["per_song"]}
        ease = EaseSettings(**manifest["settings"].pop("ease"))
        learned = manifest["weights"]
        return cls(
            song_ids=song_ids,
            matrices=matrices,
            per_song=per_song,
            fixed=arrays,
            weights=learned and BlendWeights.from_json(learned, version="learned"),
            settings=TrainSettings(ease=ease, **manifest["settings"]),
            facts=manifest["facts"],
            version=manifest["version"],
        )

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything to be stored, by file name."""
        arrays: dict[str, npt.NDArray[Any]] = {"song_ids": self.song_ids}
        arrays |= {**self.per_song, **self.fixed}
        for name, matrix in self.matrices.items():
            arrays[f"{name}_data"] = matrix.data
            arrays[f"{name}_indices"] = matrix.indices.astype(np.int32)
            arrays[f"{name}_indptr"] = matrix.indptr.astype(np.int32)
        return arrays


def _tuned(
    corpus: Corpus, settings: TrainSettings, seed: int
) -> tuple[TrainSettings, BlendWeights | None, dict[str, Any]]:
    """Settings and weights with the best NDCG on held back rows, and the figures they reach."""
    cuts = tuning.cuts(corpus, seed=seed)
    questions = sum(len(held.questions) for held in cuts)
    if not questions:
        return settings, None, {}
    strength, ease = tuning.choose_ease(
        cuts,
        settings.strength,
        settings.ease,
        max_songs=settings.ease_max_songs,
        keep=settings.ease_neighbours,
    )
    chosen = replace(settings, strength=strength, ease=ease)
    trials = (
        (_fitted(held.corpus, chosen, seed).scorers(held.corpus), held.asked(strength))
        for held in cuts
    )
    weights, reached = tuning.choose_weights(trials)
    facts = {"validation_ndcg@20": reached, "validation_questions": questions}
    return chosen, weights if reached else None, facts


def _fitted(corpus: Corpus, settings: TrainSettings, seed: int) -> Model:
    normalized, liked = corpus.normalized(settings.strength), corpus.liked_binary
    ease = fitting.ease(
        normalized,
        settings.ease,
        features=corpus.features,
        max_songs=settings.ease_max_songs,
        keep=settings.ease_neighbours,
    )
    knn = fitting.cosine(liked, shrink=settings.knn_shrinkage, keep=settings.knn_neighbours)
    rp3 = fitting.rp3(
        liked,
        alpha=settings.rp3_alpha,
        beta=settings.rp3_beta,
        keep=settings.rp3_neighbours,
    )
    als = fitting.als(
        normalized,
        factors=settings.als_factors,
        regularization=settings.als_regularization,
        alpha=settings.als_alpha,
        rounds=settings.als_rounds,
        seed=seed,
    )
    standing = np.log1p(np.asarray(liked.sum(axis=0), np.float32)).reshape(-1, 1)
    return Model(
        song_ids=corpus.song_ids,
        matrices={ScorerName.EASE: ease, ScorerName.KNN: knn, ScorerName.RP3: rp3},
        per_song={ScorerName.ALS: als, ScorerName.STANDING: standing},
        fixed={"als_gram": np.asarray(als.T @ als, np.float32)},
        settings=settings,
    )


def _with_ranker(model: Model, ranker: SessionRanker) -> Model:
    opinions = ranker.opinions
    forest = {f"session_forest_{name}": getattr(ranker.forest, name) for name in _FOREST}
    return replace(
        model,
        matrices={
            **model.matrices,
            "session_ease": opinions.ease,
            "session_knn": opinions.knn,
            "session_rp3": opinions.rp3,
        },
        per_song={
            **model.per_song,
            "session_als": opinions.als,
            "session_stats": opinions.stats,
        },
        fixed={**model.fixed, "session_als_gram": opinions.als_gram, **forest},
    )


def _moved(matrix: csr_matrix, new_row: Rows, size: int) -> csr_matrix:
    """Rows and columns to their new places; -1 drops one.

    Where all stay and only new songs follow, which is usual, the entries stay those that the processes of a host share.
    """
    if np.array_equal(new_row, np.arange(len(new_row))):
        ends = np.full(size - len(new_row), matrix.indptr[-1], matrix.indptr.dtype)
        parts = (matrix.data, matrix.indices, np.concatenate([matrix.indptr, ends]))
        return csr_matrix(parts, shape=(size, size), copy=False)
    source = matrix.tocoo()
    row, col = new_row[source.row], new_row[source.col]
    stays = (row >= 0) & (col >= 0)
    return csr_matrix((source.data[stays], (row[stays], col[stays])), shape=(size, size))


def _moved_rows(factors: Floats, new_row: Rows, size: int) -> Floats:
    moved = np.zeros((size, factors.shape[1]), np.float32)
    stays = new_row >= 0
    moved[new_row[stays]] = factors[stays]
    return moved


def _digest(arrays: Mapping[str, npt.NDArray[Any]], weights: BlendWeights | None) -> str:
    """12 hex digits that name the content of a model."""
    total = hashlib.sha256(json.dumps(weights and weights.to_json(), sort_keys=True).encode())
    for name in sorted(arrays):
        total.update(name.encode())
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()[:12]
