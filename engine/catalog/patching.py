"""Puts a few changed songs into a large catalog without building it anew.

All fields that are shown or filtered by are exact. Likeness is approximate until the next build:
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

#: Songs sampled per value when the content of a patched song is estimated.
_SAMPLED_SONGS = 50
_ESTIMATED_BY = ("artist", "anime", "genre", "mood")


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
    created_s = _with_values(
        catalog.created_s, rows, [created_second(song) for song in songs], size
    )
    terms = {
        kind: _patched_terms(catalog.terms[kind], rows, songs, split) for kind, split in _SPLIT
    }
    texts, numbers = _texts(catalog, rows, songs, size)
    corpus = catalog.corpus
    likes = corpus.interactions
    interactions = csr_matrix(
        (likes.data, likes.indices, likes.indptr), shape=(likes.shape[0], size), copy=False
    )
    return replace(
        catalog,
        version=_version(catalog, songs, hidden),
        song_ids=ids,
        texts=texts,
        text_numbers=numbers,
        tj_numbers=_with_values(
            catalog.tj_numbers, rows, [song.tj_number or 0 for song in songs], size
        ),
        ky_numbers=_with_values(
            catalog.ky_numbers, rows, [song.ky_number or 0 for song in songs], size
        ),
        created_s=created_s,
        active=~np.isin(ids, hidden),
        same_song=_with_values(catalog.same_song, rows[added], range(catalog.n, size), size),
        terms=terms,
        corpus=replace(
            corpus,
            song_ids=ids,
            interactions=interactions,
            features=_features(catalog, rows, terms, size),
            popularity=_with_values(corpus.popularity, rows[:0], [], size),
            trend=_with_values(corpus.trend, rows[:0], [], size),
            recency=recency_of(created_s, now),
            artist_code=terms["artist"].leading,
        ),
    )


def _with_values(column: np.ndarray, rows: Rows, values: Iterable[int], size: int) -> np.ndarray:
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
    added = len(held) + np.arange(len(strings), dtype=np.int32)
    empty = np.array([not string for string in strings], bool)
    numbers[rows] = np.where(empty, 0, added).reshape(len(songs), len(TEXTS))
    return Texts(blob, ends), numbers


def _patched_terms(
    terms: Terms, rows: Rows, songs: Sequence[SongView], split: Callable[[SongView], list[str]]
) -> Terms:
    """The terms with these songs' values; a new value gets a code of its own."""
    names, by_key = list(terms.names), dict(terms.codes_by_key)

    def code(name: str) -> int:
        found = by_key.setdefault(text.match_key(name), len(names))
        if found == len(names):
            names.append(name)
        return found

    coded = [list(dict.fromkeys(code(name) for name in split(song))) for song in songs]
    size = max(len(terms.ptr) - 1, int(rows.max(initial=-1)) + 1)
    kept = np.setdiff1d(np.arange(len(terms.ptr) - 1), rows)
    codes, owners = terms.gather(kept)
    all_codes = np.concatenate([codes, *(np.array(one, np.int32) for one in coded)])
    all_rows = np.concatenate([kept[owners], np.repeat(rows, [len(one) for one in coded])])
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
    """(size, f) the known songs' features, and estimates for the patched ones."""
    features = catalog.corpus.features
    estimated = [_estimate(catalog, row, terms) for row in rows.tolist()]
    if not estimated:
        return features
    stacked = vstack([features, *estimated], format="csr")
    pick = np.arange(size)
    pick[rows] = catalog.n + np.arange(len(rows))
    return csr_matrix(stacked[pick], dtype=np.float32)


def _estimate(catalog: Catalog, row: int, terms: dict[str, Terms]) -> csr_matrix:
    """(1, f) of length 1, or 0 for a song that shares nothing with any other."""
    features = catalog.corpus.features
    total = csr_matrix((1, features.shape[1]), dtype=np.float32)
    for kind in _ESTIMATED_BY:
        known = catalog.terms[kind]
        for code in terms[kind].of(row).tolist():
            if code < len(known.names) and len(like := known.rows_of(code)[:_SAMPLED_SONGS]):
                total = total + csr_matrix(features[like].mean(axis=0), dtype=np.float32)
    return unit_rows(total)


def _version(catalog: Catalog, songs: Sequence[SongView], hidden: Ids) -> str:
    """Another one for other songs; never that of a catalog built as a whole."""
    digest = hashlib.blake2b(digest_size=6, key=catalog.version.encode()[:64])
    digest.update(repr((songs, np.sort(hidden).tolist())).encode("utf-8", "replace"))
    behaviour = catalog.version.partition("-")[2]
    return f"{digest.hexdigest()}-{behaviour}"
