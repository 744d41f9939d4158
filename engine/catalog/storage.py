"""Writes arrays and their manifest into a directory and maps them back into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from engine.arrays import Array

MANIFEST = "manifest.json"


class CatalogDamaged(ValueError):
    """The stored catalog is incomplete or of another format; build it anew."""


def write_arrays(directory: Path, arrays: Mapping[str, Array], manifest: dict[str, Any]) -> None:
    """Write one file per array and, last, the manifest with their shapes and types."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)
    (directory / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")


def shapes(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """What the manifest records of each array: {name: [shape, dtype]}."""
    return {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()}


def read_manifest(directory: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text("utf-8"))
    return manifest


def read_arrays(directory: Path, manifest: Mapping[str, Any], *, mmap: bool) -> dict[str, Array]:
    """The arrays the manifest lists; raises CatalogDamaged for one that differs from it."""
    return {
        name: _load_array(directory / f"{name}.npy", shape, dtype, mmap=mmap)
        for name, (shape, dtype) in manifest["arrays"].items()
    }


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Raise CatalogDamaged for any error of reading or laying out the files of a directory."""
    try:
        yield
    except CatalogDamaged:
        raise
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogDamaged(f"{directory}: {error}") from error


def sparse_matrix(arrays: dict[str, Array], name: str, shape: tuple[int, int]) -> csr_matrix:
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=shape, copy=False)


def _load_array(path: Path, shape: list[int], dtype: str, *, mmap: bool) -> Array:
    """Map one array file; raises CatalogDamaged unless it is what the manifest says."""
    try:
        # An empty array cannot be mapped.
        mapped = mmap and 0 not in shape
        array: Array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except ValueError as error:
        raise CatalogDamaged(f"{path.name}: {error}") from error
    if list(array.shape) != shape or array.dtype.str != dtype:
        raise CatalogDamaged(f"{path.name}: {array.shape} {array.dtype}, expected {shape} {dtype}")
    # Still mapped; a plain array costs a tenth of np.memmap per look-up.
    return array.view(np.ndarray)
