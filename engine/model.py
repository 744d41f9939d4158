"""The trained part of the engine: made in a job, kept in plain array files, mapped by every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine import fitting
from engine.scorers import (
    Content,
    Corpus,
    Dislike,
    Factors,
    Floats,
    Neighbours,
    Repeat,
    Same,
    Scorer,
    Walk,
)

FORMAT = "songs-ai-model/1"
MANIFEST = "manifest.json"
Progress = Callable[[str, float], None]


class ModelFileInvalid(ValueError):
    """A model on disk is truncated, foreign, or of another format; the one in use stays."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What training may cost and how hard it regularises."""

    #: EASE inverts a dense (s, s) matrix: s songs most active in feedback; 10 000 are 400 MB.
    ease_max_songs: int = 10_000
    ease_regularization: float = 100.0
    ease_neighbours: int = 200
    rp3_alpha: float = 0.8
    rp3_beta: float = 0.4
    rp3_neighbours: int = 100
    als_factors: int = 64
    als_regularization: float = 0.05
    als_alpha: float = 10.0
    als_rounds: int = 12


@dataclass(frozen=True, kw_only=True)
class Model:
    """Trained scorers over `song_ids`; None where nothing was trained."""

    song_ids: npt.NDArray[np.int64]
    ease: csr_matrix | None = None
    rp3: csr_matrix | None = None
    als: Floats | None = None
    #: (d, d) of the songs it was fitted on; stays when songs leave the catalog.
    als_gram: Floats | None = None
    settings: TrainSettings = field(default_factory=TrainSettings)
    #: Free facts of the training: times, sizes, validation figures. JSON-able.
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
        """Fits every scorer. Minutes and up to 2 GiB at the largest size; see `TrainSettings`."""
        chosen = settings or TrainSettings()
        tell = progress or _silent
        liked = corpus.liked_binary
        tell("ease", 0.0)
        ease = fitting.ease(
            liked,
            regularization=chosen.ease_regularization,
            max_songs=chosen.ease_max_songs,
            keep=chosen.ease_neighbours,
        )
        tell("rp3", 0.4)
        rp3 = fitting.rp3(
            liked, alpha=chosen.rp3_alpha, beta=chosen.rp3_beta, keep=chosen.rp3_neighbours
        )
        tell("als", 0.6)
        als = fitting.als(
            liked,
            factors=chosen.als_factors,
            regularization=chosen.als_regularization,
            alpha=chosen.als_alpha,
            rounds=chosen.als_rounds,
            seed=seed,
        )
        tell("done", 1.0)
        made = cls(
            song_ids=corpus.song_ids,
            ease=ease,
            rp3=rp3,
            als=als,
            als_gram=np.asarray(als.T @ als, np.float32),
            settings=chosen,
        )
        return replace(made, version=_digest(made._arrays()))

    def scorers(self, corpus: Corpus) -> dict[str, Scorer]:
        """By name, over the rows of `corpus`, which must be those of the model (`realigned`)."""
        if not np.array_equal(self.song_ids, corpus.song_ids):
            raise ValueError("model and catalog differ: call realigned(corpus.song_ids) first")
        return {scorer.name: scorer for scorer in (*self._trained(corpus), *_untrained(corpus))}

    def _trained(self, corpus: Corpus) -> tuple[Scorer, ...]:
        found: list[Scorer] = []
        if self.ease is not None:
            found.append(Neighbours(name="ease", matrix=self.ease))
        if self.rp3 is not None:
            found.append(Neighbours(name="rp3", matrix=self.rp3))
        else:
            found.append(
                Walk(corpus=corpus, alpha=self.settings.rp3_alpha, beta=self.settings.rp3_beta)
            )
        if self.als is not None and self.als_gram is not None:
            found.append(
                Factors(
                    songs=self.als,
                    gram=self.als_gram,
                    regularization=self.settings.als_regularization,
                    alpha=self.settings.als_alpha,
                )
            )
        return tuple(found)

    def coverage(self) -> dict[str, int]:
        """How many songs each trained scorer can score."""
        covered = {
            name: len(np.unique(matrix.indices))
            for name, matrix in (("ease", self.ease), ("rp3", self.rp3))
            if matrix is not None
        }
        if self.als is not None:
            covered["als"] = int(self.als.any(axis=1).sum())
        return covered

    def realigned(self, song_ids: npt.NDArray[np.int64]) -> Model:
        """The same model over another catalog: gone songs are dropped, new ones have no trained score."""
        if np.array_equal(self.song_ids, song_ids):
            return self
        place = {int(song): row for row, song in enumerate(song_ids)}
        new_row = np.array([place.get(int(song), -1) for song in self.song_ids], np.int64)
        size = len(song_ids)
        return replace(
            self,
            song_ids=song_ids,
            ease=None if self.ease is None else _moved(self.ease, new_row, size),
            rp3=None if self.rp3 is None else _moved(self.rp3, new_row, size),
            als=None if self.als is None else _moved_rows(self.als, new_row, size),
        )

    def save(self, folder: Path) -> None:
        """Writes .npy files and, last, the manifest with their digests."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = self._arrays()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        manifest = {
            "format": FORMAT,
            "version": self.version,
            "settings": asdict(self.settings),
            "facts": dict(self.facts),
            "files": {name: _file_digest(folder / f"{name}.npy") for name in arrays},
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Memory-mapped. Raises ModelFileInvalid when anything is missing, altered or of another format."""
        manifest = _read_manifest(folder)
        try:
            arrays = {
                name: _map(folder, name, digest) for name, digest in manifest["files"].items()
            }
            return cls(
                song_ids=arrays["song_ids"],
                ease=_csr(arrays, "ease"),
                rp3=_csr(arrays, "rp3"),
                als=arrays.get("als"),
                als_gram=arrays.get("als_gram"),
                settings=TrainSettings(**manifest["settings"]),
                facts=manifest["facts"],
                version=manifest["version"],
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, ModelFileInvalid):
                raise
            raise ModelFileInvalid(f"{folder}: {error}. Train again or roll back.") from error

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {"song_ids": self.song_ids}
        for name, matrix in (("ease", self.ease), ("rp3", self.rp3)):
            if matrix is not None:
                arrays[f"{name}_data"] = matrix.data
                arrays[f"{name}_indices"] = matrix.indices.astype(np.int32)
                arrays[f"{name}_indptr"] = matrix.indptr.astype(np.int32)
        for name, array in (("als", self.als), ("als_gram", self.als_gram)):
            if array is not None:
                arrays[name] = array
        return arrays


def _silent(stage: str, done: float) -> None:
    """Nobody watches this training."""


def _untrained(corpus: Corpus) -> tuple[Scorer, ...]:
    return (
        Content(corpus=corpus),
        Same(name="popularity", values=corpus.log_popularity),
        Same(name="trend", values=corpus.trend),
        Same(name="recency", values=corpus.recency),
        Repeat(n_songs=corpus.n_songs),
        Dislike(corpus=corpus),
    )


def _moved(matrix: csr_matrix, new_row: npt.NDArray[np.int64], size: int) -> csr_matrix:
    """Rows and columns to their new places; -1 drops one."""
    source = matrix.tocoo()
    row, col = new_row[source.row], new_row[source.col]
    stays = (row >= 0) & (col >= 0)
    return csr_matrix((source.data[stays], (row[stays], col[stays])), shape=(size, size))


def _moved_rows(factors: Floats, new_row: npt.NDArray[np.int64], size: int) -> Floats:
    moved = np.zeros((size, factors.shape[1]), np.float32)
    stays = new_row >= 0
    moved[new_row[stays]] = factors[stays]
    return moved


def _csr(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> csr_matrix | None:
    if f"{name}_data" not in arrays:
        return None
    size = len(arrays["song_ids"])
    parts = (arrays[f"{name}_data"], arrays[f"{name}_indices"], arrays[f"{name}_indptr"])
    return csr_matrix(parts, shape=(size, size), copy=False)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileInvalid(f"{folder}: no readable {MANIFEST} ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFileInvalid(f"{folder}: not a model of format {FORMAT}. Train again.")
    return manifest


def _map(folder: Path, name: str, digest: str) -> npt.NDArray[Any]:
    path = folder / f"{name}.npy"
    if _file_digest(path) != digest:
        raise ModelFileInvalid(
            f"{path}: not the file the manifest names. Train again or roll back."
        )
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """12 hex digits that name the content of a model."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode())
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()[:12]
