"""Trains the scorers: sparse interactions in, pruned neighbour matrices and factors out.

Everything here runs in a training job, never in a request.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack
from scipy.sparse import csr_matrix, diags, vstack

from engine.arrays import Floats
from engine.catalog.corpus import binary

Dense = npt.NDArray[np.float32]
#: Songs per block where a whole (n, n) temporary would not fit.
BLOCK = 2000


def prune(block: Dense, keep: int) -> csr_matrix:
    """The `keep` largest entries of each row of a dense block, by size whatever the sign."""
    width = block.shape[1]
    if keep < width:
        size = np.abs(block)
        threshold = np.partition(size, width - keep, axis=1)[:, width - keep, None]
        block = np.where(size >= threshold, block, 0)
    return csr_matrix(block, dtype=np.float32)


def strongest(matrix: csr_matrix, keep: int) -> csr_matrix:
    """The `keep` strongest entries of each row of a sparse matrix."""
    kept = []
    for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        if end - start <= keep:
            kept.append(np.arange(start, end))
        else:
            best = np.argpartition(matrix.data[start:end], end - start - keep)[-keep:]
            kept.append(start + np.sort(best))
    chosen = np.concatenate(kept) if kept else np.empty(0, np.int64)
    ends = np.cumsum([0, *(len(places) for places in kept)])
    return csr_matrix((matrix.data[chosen], matrix.indices[chosen], ends), shape=matrix.shape)


def most_active(interactions: csr_matrix, limit: int) -> npt.NDArray[np.int64]:
    """Rows of the songs with the most members, at most `limit`, none without any; in row order."""
    members = np.bincount(interactions.indices, minlength=interactions.shape[1])
    best = np.argsort(-members, kind="stable")[:limit]
    return np.sort(best[members[best] > 0])


@dataclass(frozen=True, kw_only=True)
class EaseSettings:
    """How EASE regularises. The plain one of the paper has flattening = content = 0."""

    regularization: float = 100.0
    #: 0..0.5: a song's column is divided by its (weighted) likes to this power before fitting, and
    #: the resulting weights as well, so that popular songs do not win by size.
    flattening: float = 0.0
    #: Weight of one shared content feature, in members who like both songs.
    content: float = 0.0


def ease(
    interactions: csr_matrix,
    settings: EaseSettings,
    *,
    features: csr_matrix | None = None,
    max_songs: int,
    keep: int,
    block: int = BLOCK,
) -> csr_matrix:
    """(n, n) song-to-song weights of EASE, the `keep` largest of each song.

    The one dense matrix is (s, s) float32 with s = min(max_songs, songs with members) and is
    inverted in place: 400 MB at 10 000 songs. features: (n, f), needed where content counts.
    block: songs whose products are computed at once.
    Sources: Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019); content as
    further rows of the data: Jeunen et al., "Closed-form models for collaborative filtering with
    side-information" (RecSys 2020), section 3.
    """
    songs = most_active(interactions, max_songs)
    fitted = interactions[:, songs]
    power = np.asarray(fitted.multiply(fitted).sum(axis=0), np.float64).ravel()
    flat = np.maximum(power, 1e-3) ** -settings.flattening
    gram = _gram((fitted @ diags(flat)).astype(np.float32), block)
    if settings.content and features is not None:
        _add_products(gram, features[songs], settings.content, block)
    gram[np.diag_indices_from(gram)] += np.float32(settings.regularization)
    inverse = _inverse(gram, block)
    scale = np.asarray(-1 / np.diag(inverse), np.float32)
    np.fill_diagonal(inverse, 0)
    rows = flat.astype(np.float32)[:, None]
    spans = _spans(len(songs), block)
    blocks = [prune(rows[start:end] * inverse[start:end] * scale, keep) for start, end in spans]
    return spread(_rows(blocks, len(songs)), songs, interactions.shape[1])


def _gram(matrix: csr_matrix, block: int) -> Dense:
    """matrixᵀ·matrix, dense and in Fortran order."""
    gram = np.zeros((matrix.shape[1], matrix.shape[1]), np.float32, order="F")
    _add_products(gram, matrix.T.tocsr(), 1.0, block)
    return gram


def _add_products(gram: Dense, vectors: csr_matrix, weight: float, block: int) -> None:
    """gram += weight · vectors·vectorsᵀ, block by block: the whole product may be as large as gram."""
    across = vectors.T.tocsr()
    for start, end in _spans(len(gram), block):
        products = (vectors[start:end] @ across).toarray()
        gram[:, start:end] += np.float32(weight) * products.T


def _inverse(gram: Dense, block: int) -> Dense:
    """Of a symmetric positive definite matrix in Fortran order, in its own memory."""
    if not len(gram):
        return gram
    factor, broken = lapack.spotrf(gram, lower=0, overwrite_a=1, clean=0)
    if broken:
        raise ArithmeticError(f"EASE: not positive definite at {broken}; raise the regularization")
    upper: Dense = lapack.spotri(factor, lower=0, overwrite_c=1)[0]
    # Copy the upper triangle down, block by block: whole index arrays would be gigabytes.
    for start, end in _spans(len(upper), block):
        corner = upper[start:end, start:end]
        below = np.tril_indices(end - start, -1)
        corner[below] = corner.T[below]
        upper[end:, start:end] = upper[start:end, end:].T
    return upper


def rp3(interactions: csr_matrix, *, alpha: float, beta: float, keep: int) -> csr_matrix:
    """(n, n) weights of RP3β: three-step walks song → member → song, damped by popularity.

    Source: Paudel et al. (TiiS 2017).
    """
    liked = binary(interactions)
    members = np.maximum(np.diff(liked.indptr), 1)
    songs = np.maximum(np.bincount(liked.indices, minlength=liked.shape[1]), 1)
    from_song = (diags(songs**-alpha) @ liked.T).tocsr().astype(np.float32)
    to_song = (diags(members**-alpha) @ liked @ diags(songs**-beta)).tocsr().astype(np.float32)
    # The product without its diagonal, pruned block by block.
    blocks = []
    for start, end in _spans(from_song.shape[0], BLOCK):
        block = (from_song[start:end] @ to_song).tocsr()
        rows = np.repeat(np.arange(start, end), np.diff(block.indptr))
        block.data[block.indices == rows] = 0
        block.eliminate_zeros()
        blocks.append(strongest(block, keep))
    return _rows(blocks, from_song.shape[0])


def cosine(interactions: csr_matrix, *, shrink: float, keep: int) -> csr_matrix:
    """(n, n) shrunk cosine of songs over their members: item-kNN."""
    liked = binary(interactions)
    norm = np.sqrt(np.bincount(liked.indices, minlength=liked.shape[1])).astype(np.float32)
    blocks = []
    by_song = liked.T.tocsr()
    for start, end in _spans(liked.shape[1], BLOCK):
        together = (by_song[start:end] @ liked).tocoo()
        left, right = norm[start + together.row], norm[together.col]
        together.data /= left * right + np.float32(shrink)
        together.data[together.col == start + together.row] = 0
        together = together.tocsr()
        together.eliminate_zeros()
        blocks.append(strongest(together, keep))
    return _rows(blocks, liked.shape[1])


def als(
    interactions: csr_matrix,
    *,
    factors: int,
    regularization: float,
    alpha: float,
    rounds: int,
    seed: int,
) -> Floats:
    """(n, d) song factors of weighted ALS. The members' factors are dropped: members are folded in per request."""
    if not interactions.nnz:
        return np.zeros((interactions.shape[1], factors), np.float32)
    library = importlib.import_module("implicit.cpu.als")  # 68 MB that no serving process needs
    confidence = interactions.astype(np.float32)
    confidence.data = 1 + np.float32(alpha) * confidence.data
    limits = importlib.import_module("threadpoolctl").threadpool_limits
    with limits(1, "blas"):  # implicit has its own threads; BLAS's would fight them for the cores
        model = library.AlternatingLeastSquares(
            factors=factors, regularization=regularization, iterations=rounds, random_state=seed
        )
        model.fit(confidence, show_progress=False)
    songs = np.ascontiguousarray(model.item_factors, np.float32)
    songs[np.bincount(interactions.indices, minlength=interactions.shape[1]) == 0] = 0
    return songs


def spread(small: csr_matrix, songs: npt.NDArray[np.int64], n_songs: int) -> csr_matrix:
    """Puts an (s, s) matrix over `songs` (ascending) into its places of an (n, n) one."""
    sizes = np.zeros(n_songs + 1, np.int64)
    sizes[songs + 1] = np.diff(small.indptr)
    columns = songs[small.indices].astype(np.int32)
    return csr_matrix((small.data, columns, np.cumsum(sizes)), shape=(n_songs, n_songs))


def _rows(blocks: list[csr_matrix], n_songs: int) -> csr_matrix:
    if not blocks:
        return csr_matrix((n_songs, n_songs), dtype=np.float32)
    return vstack(blocks, format="csr", dtype=np.float32)


def _spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, step):
        yield start, min(start + step, total)
