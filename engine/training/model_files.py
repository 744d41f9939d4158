"""Writes the arrays of a model with their digests, and maps them back after checking every one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.arrays import Array

FORMAT = "songs-ai-model/2"
MANIFEST = "manifest.json"


class ModelFileInvalid(ValueError):
    """A model on disk is truncated, foreign, or of another format; the one in use stays."""


def write_model(folder: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write one .npy file per array and, last, the manifest: format, facts, digests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    digests = {name: _file_digest(folder / f"{name}.npy") for name in arrays}
    manifest = {"format": FORMAT, **facts, "files": digests}
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The manifest, and the arrays mapped into memory. Raises ModelFileInvalid for anything else than `write_model` left."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileInvalid(f"{folder}: no readable {MANIFEST} ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFileInvalid(f"{folder}: not a model of format {FORMAT}. Train again.")
    arrays: dict[str, Array] = {}
    for name, digest in manifest["files"].items():
        path = folder / f"{name}.npy"
        if _file_digest(path) != digest:
            raise ModelFileInvalid(
                f"{path}: not the file the manifest names. Train again or roll back."
            )
        arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    return manifest, arrays


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
