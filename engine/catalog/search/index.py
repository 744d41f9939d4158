"""Keeps the search keys of all songs, and finds the songs that hold some of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.arrays import Array, Rows
from engine.catalog import storage
from engine.catalog.catalog import Catalog
from engine.catalog.search.keys import (
    letter_pairs,
    packed_initials,
    pairs_of,
    song_initials,
    song_keys,
    songs_by_key,
)
from engine.catalog.text_columns import Texts

#: Goes up with every change of the stored layout.
FORMAT = 2
#: Popularity decides between equal hits and never outweighs a better one.
POPULARITY_WEIGHT = 0.03
#: Hits of initial consonants that are looked at: a few letters match thousands of songs.
_MAX_INITIALS = 2000
#: A pair of letters in more songs than this share is left out of the search.
_MAX_PAIR_SHARE = 0.2
_ARRAYS = (
    "song_keys",
    "key_ptr",
    "key_songs",
    "grams",
    "gram_ptr",
    "gram_songs",
    "initials",
    "initials_ends",
)


@dataclass(frozen=True, kw_only=True)
class SearchIndex:
    """Keys of all names, the pairs of letters in them, and which songs hold those."""

    catalog: Catalog = field(repr=False)
    keys: Texts  #: distinct `text.match_key`s in ascending order
    song_keys: npt.NDArray[np.int32]  #: (n, len(FIELDS)) numbers into `keys`
    key_ptr: Array  #: songs of key i: key_songs[key_ptr[i]:key_ptr[i + 1]]
    key_songs: Rows
    grams: npt.NDArray[np.uint64]  #: (g,) ascending: two letters of a key, or 0 and its first one
    gram_ptr: Array
    gram_songs: Rows
    initials: npt.NDArray[np.uint8]  #: initial consonants of all songs, one byte each
    initials_ends: Array  #: (n + 1,)

    @classmethod
    def build(cls, catalog: Catalog) -> SearchIndex:
        keys, keys_of_songs = song_keys(catalog)
        by_key = songs_by_key(keys_of_songs, len(keys))
        grams, key_grams = letter_pairs(keys)
        by_gram = (by_key.T @ key_grams).T.tocsr()
        packed, ends = song_initials(catalog)
        return cls(
            catalog=catalog,
            keys=Texts.pack(keys),
            song_keys=keys_of_songs,
            key_ptr=by_key.indptr,
            key_songs=by_key.indices,
            grams=grams,
            gram_ptr=by_gram.indptr,
            gram_songs=by_gram.indices,
            initials=packed,
            initials_ends=ends,
        )

    def serving(self, catalog: Catalog) -> SearchIndex:
        """The same index over a catalog whose first songs are these (`patching.patched`)."""
        return replace(self, catalog=catalog)

    def save(self, directory: Path) -> None:
        arrays: dict[str, Array] = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {"keys_blob": self.keys.blob, "keys_ends": self.keys.ends}
        manifest = {
            "format": FORMAT,
            "songs": self.catalog.songs_version,
            "arrays": storage.shapes(arrays),
        }
        storage.write_arrays(directory, arrays, manifest)

    @classmethod
    def load(cls, directory: Path, catalog: Catalog, *, mmap: bool = True) -> SearchIndex:
        """Map what `save` wrote. Raises storage.CatalogDamaged unless it is whole and of the same songs.

        An index of the same songs serves a catalog with newer likes (`Catalog.with_behaviour`).
        """
        with storage.reading(directory):
            manifest = storage.read_manifest(directory)
            if (manifest["format"], manifest["songs"]) != (FORMAT, catalog.songs_version):
                raise storage.CatalogDamaged(
                    f"{directory}: of another format or catalog; build it anew"
                )
            arrays = storage.read_arrays(directory, manifest, mmap=mmap)
            keys = Texts(arrays.pop("keys_blob"), arrays.pop("keys_ends"))
            return cls(catalog=catalog, keys=keys, **arrays)

    def keys_of(self, row: int) -> list[str]:
        """The keys of one song, in the order of `FIELDS`."""
        return [self.keys[number] for number in self.song_keys[row].tolist()]

    def rows_named(self, keys: Iterable[str]) -> list[int]:
        """Rows of songs that hold exactly one of the keys."""
        rows: list[int] = []
        for key in keys:
            number = bisect_left(range(len(self.keys)), key, key=self.keys.__getitem__)
            if number < len(self.keys) and self.keys[number] == key:
                rows += self.key_songs[self.key_ptr[number] : self.key_ptr[number + 1]].tolist()
        return list(dict.fromkeys(rows))

    def rows_alike(self, whole: str, words: Iterable[str], limit: int) -> list[int]:
        """Rows that share the rarest pairs of letters, the most alike first."""
        shared = np.zeros(self.catalog.n, np.float32)
        for songs in self._songs_of_pairs(
            {*pairs_of(whole), *(p for word in words for p in pairs_of(word))}
        ):
            rarity = np.float32(np.log1p(self.catalog.n / len(songs)))
            shared[songs] += rarity
        if len(whole) == 1:  # one letter alone: the pairs that begin with it
            low = np.searchsorted(self.grams, np.uint64(ord(whole) << 21))
            high = np.searchsorted(self.grams, np.uint64((ord(whole) + 1) << 21))
            shared[self.gram_songs[self.gram_ptr[low] : self.gram_ptr[high]]] += 1
        hit = np.flatnonzero(shared)
        strength = shared[hit] * (1 + POPULARITY_WEIGHT * self.catalog.popularity_rank[hit])
        if len(hit) > limit:
            best = np.argpartition(strength, len(hit) - limit)[-limit:]
            hit, strength = hit[best], strength[best]
        return [int(row) for row in hit[np.argsort(-strength, kind="stable")]]

    def _songs_of_pairs(self, pairs: set[int]) -> list[Rows]:
        """Songs of each pair that exists; very common pairs are left out if rarer ones remain."""
        if not len(self.grams):
            return []
        codes = np.array(sorted(pairs), np.uint64)
        place = np.searchsorted(self.grams, codes).clip(max=len(self.grams) - 1)
        found = place[self.grams[place] == codes]
        lists = [self.gram_songs[self.gram_ptr[p] : self.gram_ptr[p + 1]] for p in found.tolist()]
        lists = [songs for songs in lists if len(songs)]  # a name no song is searched by
        rare = [songs for songs in lists if len(songs) <= _MAX_PAIR_SHARE * self.catalog.n]
        return rare or lists

    def rows_by_initials(self, query: str) -> dict[int, float]:
        """{row: score} of songs of which a Hangul name holds these initials in a row; whole names first."""
        blob = self.initials.tobytes()
        found = self._rows_holding(blob, packed_initials([query])[0])
        parts = packed_initials(query.split())
        if not found and len(parts) > 1:
            hits = [self._rows_holding(blob, part) for part in parts]
            found = {row: 0.9 * hits[0][row] for row in set.intersection(*map(set, hits))}
        return found

    def _rows_holding(self, blob: bytes, initials: bytes) -> dict[int, float]:
        """{row: 1.0 for a whole name, .95 for its beginning, .85 for a part}"""
        if len(initials) == 1:  # one letter alone: only names that begin with it
            places = list(islice(_places(blob, b"|" + initials), _MAX_INITIALS))
            rows = np.searchsorted(self.initials_ends, places, side="right") - 1
            return dict.fromkeys(rows.tolist(), 0.95)
        found: dict[int, float] = {}
        for place in _places(blob, initials):
            if len(found) == _MAX_INITIALS:
                break
            row = int(np.searchsorted(self.initials_ends, place, side="right")) - 1
            begins = blob[place - 1 : place] == b"|"
            ends = blob[place + len(initials) : place + len(initials) + 1] == b"|"
            score = 1.0 if begins and ends else 0.95 if begins else 0.85
            found[row] = max(found.get(row, 0.0), score)
        return found


def _places(blob: bytes, part: bytes) -> Iterator[int]:
    """Where the part stands in the blob, ascending."""
    place = blob.find(part)
    while place >= 0:
        yield place
        place = blob.find(part, place + 1)
