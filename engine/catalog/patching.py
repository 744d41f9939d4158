"""Puts a few changed songs into a large catalog at once; the whole is built anew behind it.

Everything shown, filtered and excluded by is exact. Only likeness is approximate until the next build:
a patched song has the content of the songs that share its artist, work, genres and moods, is no
version of another song, and is found by search under its old names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from scipy.sparse import csr_matrix, vstack

from engine.arrays import Ids, Rows
from engine.catalog import text
from engine.catalog.behaviour import recency_of
from engine.catalog.building import created_second, unit_rows
from engine.catalog.catalog import Catalog
from engine.catalog.terms import Terms
from engine.catalog.text_columns import TEXTS, Texts
from engine.types import SongView

#: Songs of one value that stand for all of them when a patched song's content is guessed.
_STAND_FOR = 50
_GUESSED_BY = ("artist", "anime", "genre", "mood")


class CannotPatch(ValueError):
    """The change moves rows of other songs; build the catalog anew."""


def patched(
    catalog: Catalog, songs: Sequence[SongView], *, inactive: Iterable[int], now: datetime
) -> Catalog:
    """The catalog with these songs in their new form and at most `inactive` hidden.

    songs: edited ones, and new ones whose ids are above all known. A song that is gone is named in
    `inactive`. Raises CannotPatch for a new id among the known ones.
    """
    songs = sorted(songs, key=lambda song: song.song_id)
    rows = catalog.rows_of(song.song_id for song in songs)
    new = [song for song, row in zip(songs, rows.tolist(), strict=True) if row < 0]
    if new and catalog.n and new[0].song_id < catalog.song_ids[-1]:
        raise CannotPatch(f"song {new[0].song_id} lies among the known ones")
    added = slice(len(songs) - len(new), None)  # new ids are above all others
    rows[added] = catalog.n + np.arange(len(new))
    size = catalog.n + len(new)
    ids = np.concatenate([catalog.song_ids, [song.song_id for song in new]]).astype(np.int64)
    hidden = np.fromiter(inactive, np.int64)
    created_s = _set(catalog.created_s, rows, [created_second(song) for song in songs], size)
    terms = {kind: _retold(catalog.terms[kind], rows, songs, split) for kind, split in _SPLIT}
    texts, numbers = _texts(catalog, rows, songs, size)
    corpus = catalog.corpus
    return replace(
        catalog,
        version=_version(catalog, songs, hidden),
        song_ids=ids,
        texts=texts,
        text_numbers=numbers,
        tj_numbers=_set(catalog.tj_numbers, rows, [song.tj_number or 0 for song in songs], size),
        ky_numbers=_set(catalog.ky_numbers, rows, [song.ky_number or 0 for song in songs], size),
        created_s=created_s,
        active=~np.isin(ids, hidden),
        same_song=_set(catalog.same_song, rows[added], range(catalog.n, size), size),
        terms=terms,
        corpus=replace(
            corpus,
            song_ids=ids,
            interactions=_widened(corpus.interactions, size),
            features=_features(catalog, rows, terms, size),
            popularity=_set(corpus.popularity, rows[:0], [], size),
            trend=_set(corpus.trend, rows[:0], [], size),
            recency=recency_of(created_s, now),
            artist_code=terms["artist"].leading,
        ),
    )


def _set(column: np.ndarray, rows: Rows, values: Iterable[int], size: int) -> np.ndarray:
    """A copy of a column, zero where it grew, with these values in these rows."""
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    grown[rows] = list(values)
    return grown


def _texts(
    catalog: Catalog, rows: Rows, songs: Sequence[SongView], size: int
) -> tuple[Texts, np.ndarray]:
    """The strings with those of the songs behind them, and every song's numbers."""
    held = catalog.texts
    strings = [getattr(song, name) for song in songs for name in TEXTS]
    more = Texts.pack(strings)
    ends = np.concatenate([held.ends, more.ends[1:] + held.ends[-1]])
    blob = np.concatenate([held.blob, more.blob])
    numbers = np.zeros((size, len(TEXTS)), np.int32)
    numbers[: catalog.n] = catalog.text_numbers
    made = len(held) + np.arange(len(strings), dtype=np.int32)
    empty = np.array([not string for string in strings], bool)
    numbers[rows] = np.where(empty, 0, made).reshape(len(songs), len(TEXTS))
    return Texts(blob, ends), numbers


def _retold(
    terms: Terms, rows: Rows, songs: Sequence[SongView], split: Callable[[SongView], list[str]]
) -> Terms:
    """The terms with these songs' values; a value never seen before gets a code of its own."""
    names, by_key = list(terms.names), dict(terms.codes_by_key)

    def code(name: str) -> int:
        found = by_key.setdefault(text.match_key(name), len(names))
        if found == len(names):
            names.append(name)
        return found

    told = [list(dict.fromkeys(code(name) for name in split(song))) for song in songs]
    size = max(len(terms.ptr) - 1, int(rows.max(initial=-1)) + 1)
    kept = np.setdiff1d(np.arange(len(terms.ptr) - 1), rows)
    codes, owners = terms.gather(kept)
    all_codes = np.concatenate([codes, *(np.array(one, np.int32) for one in told)])
    all_rows = np.concatenate([kept[owners], np.repeat(rows, [len(one) for one in told])])
    order = np.argsort(all_rows, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(all_rows, minlength=size))])
    return Terms(names, by_key, ptr.astype(np.int64), all_codes[order].astype(np.int32))


def _artists(song: SongView) -> list[str]:
    return text.split_artists(song.artist) or text.split_artists(song.artist_kr)


_SPLIT: tuple[tuple[str, Callable[[SongView], list[str]]], ...] = (
    ("artist", _artists),
    ("anime", lambda song: [song.anime] if song.anime else []),
    ("genre", lambda song: text.split_terms(song.genre)),
    ("mood", lambda song: text.split_terms(song.mood)),
    ("language", lambda song: text.split_terms(song.lang)),
)


def _features(catalog: Catalog, rows: Rows, terms: dict[str, Terms], size: int) -> csr_matrix:
    """(size, f) the known songs' features, and for the patched ones what their like have in common."""
    features = catalog.corpus.features
    guessed = [_guess(catalog, row, terms) for row in rows.tolist()]
    if not guessed:
        return features
    stacked = vstack([features, *guessed], format="csr")
    pick = np.arange(size)
    pick[rows] = catalog.n + np.arange(len(rows))
    return csr_matrix(stacked[pick], dtype=np.float32)


def _guess(catalog: Catalog, row: int, terms: dict[str, Terms]) -> csr_matrix:
    """(1, f) of length 1, or 0 for a song that shares nothing with any other."""
    features = catalog.corpus.features
    total = csr_matrix((1, features.shape[1]), dtype=np.float32)
    for kind in _GUESSED_BY:
        known = catalog.terms[kind]
        for code in terms[kind].of(row).tolist():
            if code < len(known.names) and len(like := known.rows_of(code)[:_STAND_FOR]):
                total = total + csr_matrix(features[like].mean(axis=0), dtype=np.float32)
    return unit_rows(total)


def _widened(matrix: csr_matrix, width: int) -> csr_matrix:
    parts = (matrix.data, matrix.indices, matrix.indptr)
    return csr_matrix(parts, shape=(matrix.shape[0], width), copy=False)


def _version(catalog: Catalog, songs: Sequence[SongView], hidden: Ids) -> str:
    """Another one for other songs; never that of a catalog built as a whole."""
    digest = hashlib.blake2b(digest_size=6, key=catalog.version.encode()[:64])
    digest.update(repr((songs, np.sort(hidden).tolist())).encode("utf-8", "replace"))
    behaviour = catalog.version.partition("-")[2]
    return f"{digest.hexdigest()}-{behaviour}"
