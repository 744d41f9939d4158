"""Holds every song as columns: small in memory, shared between processes, decoded only when shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Array, Floats, Ids, Mask, Rows
from engine.catalog import storage
from engine.catalog.behaviour import Behaviour, Likes, hash_arrays, recency_of
from engine.catalog.building import NO_DATE, SongColumns
from engine.catalog.corpus import Corpus
from engine.catalog.same_song import same_song
from engine.catalog.terms import KINDS, Terms
from engine.catalog.text_columns import COLUMN, TEXTS, Texts
from engine.types import SongView

#: Goes up with every change of the stored layout; a directory of another format is refused.
FORMAT = 1
#: `Corpus.recency` of a song that was added three months ago.
FRESH_RECENCY = 0.35
#: Size of the cache of decoded songs, about 1 kB each.
_MAX_VIEWS = 4096


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All songs of one moment, with what members did to them. Row i is `song_ids[i]` everywhere."""

    version: str
    song_ids: Ids  #: (n,) ascending
    texts: Texts
    text_numbers: npt.NDArray[np.int32]  #: (n, len(TEXTS)) numbers into `texts`
    tj_numbers: npt.NDArray[np.int32]  #: (n,) 0 = none
    ky_numbers: npt.NDArray[np.int32]  #: (n,) 0 = none
    created_s: Ids  #: (n,) epoch seconds, or `NO_DATE`
    active: Mask  #: (n,) False: counts as taste, is never shown
    same_song: Rows  #: (n,) the smallest row among the versions of one song
    terms: dict[str, Terms]  #: by KINDS
    corpus: Corpus
    member_ids: Ids  #: (m,) ascending; row of `corpus.interactions`

    @property
    def songs_version(self) -> str:
        """The part of the version that is about the songs alone, whatever members do."""
        return self.version.partition("-")[0]

    @property
    def n(self) -> int:
        return len(self.song_ids)

    @classmethod
    def build(
        cls,
        songs: Iterable[SongView],
        *,
        likes: Likes = (),
        playlist_songs: Likes = (),
        inactive: Iterable[int] = (),
        tags: Mapping[int, Sequence[str]] | None = None,
        now: datetime,
    ) -> Catalog:
        """Lay out the songs and what members did to them.

        likes: (member_id, song_id, datetime | None) each, or three arrays of that meaning with epoch
        seconds (NaN = no date). playlist_songs: the same with the place in the playlist third.
        tags: further words by song id that say what a song is like. inactive: ids never shown.
        """
        ordered = sorted({song.song_id: song for song in songs}.values(), key=lambda s: s.song_id)
        columns = SongColumns(ordered)
        ids = columns.song_ids
        behaviour = Behaviour.of(ids, likes=likes, playlist_songs=playlist_songs, now=now)
        features = columns.features(tags or {})
        active = ~np.isin(ids, np.fromiter(inactive, np.int64))
        corpus = Corpus(
            song_ids=ids,
            features=features,
            recency=recency_of(columns.created_s, now),
            artist_code=columns.terms["artist"].leading,
            **behaviour.corpus,
        )
        return cls(
            version=_digest(columns, active, behaviour, features),
            song_ids=ids,
            texts=Texts.pack(columns.strings),
            text_numbers=columns.numbers,
            tj_numbers=columns.tj_numbers,
            ky_numbers=columns.ky_numbers,
            created_s=columns.created_s,
            active=active,
            same_song=same_song(columns),
            terms=columns.terms,
            corpus=corpus,
            member_ids=behaviour.member_ids,
        )

    def with_behaviour(self, *, likes: Likes, playlist_songs: Likes = (), now: datetime) -> Catalog:
        """The same songs after members did more: a fraction of the cost of building anew."""
        behaviour = Behaviour.of(self.song_ids, likes=likes, playlist_songs=playlist_songs, now=now)
        recency = recency_of(self.created_s, now)
        corpus = replace(self.corpus, recency=recency, **behaviour.corpus)
        return replace(
            self,
            version=f"{self.songs_version}-{behaviour.digest()}",
            corpus=corpus,
            member_ids=behaviour.member_ids,
        )

    def rows_of(self, song_ids: Iterable[int]) -> Rows:
        """(len(song_ids),) rows, -1 for ids the catalog does not hold."""
        wanted = np.fromiter(song_ids, np.int64)
        if not self.n:
            return np.full(len(wanted), -1, np.int32)
        place = np.searchsorted(self.song_ids, wanted).clip(max=self.n - 1)
        return np.where(self.song_ids[place] == wanted, place, -1).astype(np.int32)

    def view(self, row: int) -> SongView:
        """One song, decoded; recently decoded songs are cached."""
        known = self._views.get(row)
        if known is not None:
            return known
        if len(self._views) >= _MAX_VIEWS:
            self._views.clear()
        texts = self.texts
        values = {
            name: texts[number] if number else ""
            for name, number in zip(TEXTS, self.text_numbers[row].tolist(), strict=True)
        }
        seconds = int(self.created_s[row])
        view = self._views[row] = SongView(
            song_id=int(self.song_ids[row]),
            tj_number=int(self.tj_numbers[row]) or None,
            ky_number=int(self.ky_numbers[row]) or None,
            created_at=None if seconds == NO_DATE else datetime.fromtimestamp(seconds, UTC),
            **values,
        )
        return view

    @cached_property
    def _views(self) -> dict[int, SongView]:
        return {}

    def column(self, name: str) -> npt.NDArray[np.int32]:
        """(n,) numbers into `texts`."""
        return self.text_numbers[:, COLUMN[name]]

    def text(self, row: int, column: str) -> str:
        """One column of one song."""
        return self.texts[int(self.text_numbers[row, COLUMN[column]])]

    def versions_of(self, rows: Rows) -> Rows:
        """The given songs and every other version of them, ascending."""
        roots = np.unique(self.same_song[rows])
        more = [self._versions[root] for root in roots.tolist() if root in self._versions]
        return np.unique(np.concatenate([rows, *more])).astype(np.int32)

    @cached_property
    def _versions(self) -> dict[int, Rows]:
        """{smallest row: rows of the song}, for the songs that have several versions."""
        roots, counts = np.unique(self.same_song, return_counts=True)
        several = np.isin(self.same_song, roots[counts > 1])
        rows = np.flatnonzero(several).astype(np.int32)
        rows = rows[np.argsort(self.same_song[rows], kind="stable")]
        ends = np.cumsum(counts[counts > 1]).tolist()
        starts = [0, *ends[:-1]]
        songs = (rows[start:end] for start, end in zip(starts, ends, strict=False))
        return dict(zip(roots[counts > 1].tolist(), songs, strict=True))

    @cached_property
    def inactive(self) -> Rows:
        """(songs,) that are never shown."""
        return np.flatnonzero(~self.active).astype(np.int32)

    @property
    def has_tj(self) -> Mask:
        return self.tj_numbers > 0

    @property
    def has_ky(self) -> Mask:
        return self.ky_numbers > 0

    @cached_property
    def popularity_rank(self) -> Floats:
        """(n,) 0 … 1 share of songs that are less popular; songs without any like have 0."""
        order = np.sort(self.corpus.popularity)
        return (np.searchsorted(order, self.corpus.popularity) / max(self.n, 1)).astype(np.float32)

    @cached_property
    def is_mostly_new(self) -> bool:
        """Whether most songs were added in the last three months: then being new is no distinction."""
        return 2 * int(np.count_nonzero(self.corpus.recency >= FRESH_RECENCY)) > self.n

    @cached_property
    def liked_by_count(self) -> Rows:
        """(n,) members who ever liked the song or keep it on a playlist."""
        counts: Rows = np.diff(self.corpus.liked_by.indptr).astype(np.int32)
        return counts

    @cached_property
    def fame_rank(self) -> Floats:
        """(n,) 0 … 1: share of the liked songs that fewer members like; 0 without likes."""
        return _share_below(self.liked_by_count, self.liked_by_count)

    @cached_property
    def artist_fame_rank(self) -> Floats:
        """(n,) the same of a song's leading artist among artists, by their total likes; 0 without an artist."""
        leading = self.terms["artist"].leading
        likes = np.bincount(
            leading[leading >= 0],
            self.liked_by_count[leading >= 0],
            minlength=len(self.terms["artist"].names),
        )
        return np.append(_share_below(likes, likes), 0).astype(np.float32)[leading]

    @cached_property
    def prior(self) -> dict[str, Floats]:
        """Share of each genre and mood among all songs, by kind: (values,) summing to 1."""
        shares = {}
        for kind in KINDS:
            counts = np.bincount(self.terms[kind].codes, minlength=len(self.terms[kind].names))
            shares[kind] = (counts / max(counts.sum(), 1)).astype(np.float32)
        return shares

    def save(self, directory: Path) -> None:
        """Write plain arrays and a manifest; `load` maps them into memory without copying."""
        arrays = self._arrays()
        manifest = {
            "format": FORMAT,
            "version": self.version,
            "arrays": storage.shapes(arrays),
            "n_features": self.corpus.features.shape[1],
            "names": {kind: terms.names for kind, terms in self.terms.items()},
            "keys": {kind: terms.codes_by_key for kind, terms in self.terms.items()},
        }
        storage.write_arrays(directory, arrays, manifest)

    @classmethod
    def load(cls, directory: Path, *, mmap: bool = True) -> Catalog:
        """Read what `save` wrote.

        Raises storage.CatalogDamaged when a file is missing, cut short, or of another format.
        """
        with storage.reading(directory):
            manifest = storage.read_manifest(directory)
            if manifest["format"] != FORMAT:
                raise storage.CatalogDamaged(f"format {manifest['format']}, expected {FORMAT}")
            arrays = storage.read_arrays(directory, manifest, mmap=mmap)
            return cls._from_arrays(manifest, arrays)

    def _arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {name: getattr(self, name) for name in _PLAIN_ARRAYS}
        arrays |= {name: getattr(self.corpus, name) for name in _CORPUS_ARRAYS}
        arrays |= {"texts_blob": self.texts.blob, "texts_ends": self.texts.ends}
        for kind, terms in self.terms.items():
            arrays |= {f"{kind}_ptr": terms.ptr, f"{kind}_codes": terms.codes}
        for name in ("interactions", "features"):
            matrix = getattr(self.corpus, name)
            for part in ("data", "indices", "indptr"):
                arrays[f"{name}_{part}"] = getattr(matrix, part)
        return arrays

    @classmethod
    def _from_arrays(cls, manifest: dict[str, Any], arrays: dict[str, Array]) -> Catalog:
        n = len(arrays["song_ids"])
        terms = {
            kind: Terms(
                manifest["names"][kind],
                manifest["keys"][kind],
                arrays[f"{kind}_ptr"],
                arrays[f"{kind}_codes"],
            )
            for kind in KINDS
        }
        corpus = Corpus(
            song_ids=arrays["song_ids"],
            interactions=storage.sparse_matrix(
                arrays, "interactions", (len(arrays["member_ids"]), n)
            ),
            features=storage.sparse_matrix(arrays, "features", (n, manifest["n_features"])),
            artist_code=terms["artist"].leading,
            popularity=arrays["popularity"],
            trend=arrays["trend"],
            recency=arrays["recency"],
        )
        return cls(
            version=manifest["version"],
            texts=Texts(arrays["texts_blob"], arrays["texts_ends"]),
            terms=terms,
            corpus=corpus,
            **{name: arrays[name] for name in _PLAIN_ARRAYS},
        )


_PLAIN_ARRAYS = (
    "song_ids",
    "text_numbers",
    "tj_numbers",
    "ky_numbers",
    "created_s",
    "active",
    "same_song",
    "member_ids",
)
_CORPUS_ARRAYS = ("popularity", "trend", "recency")


def _share_below(values: Array, among: Array) -> Floats:
    """(v,) share of the positive numbers among some that are smaller."""
    order = np.sort(among[among > 0])
    return (np.searchsorted(order, values) / max(len(order), 1)).astype(np.float32)


def _digest(columns: SongColumns, active: Mask, behaviour: Behaviour, features: csr_matrix) -> str:
    """Equal content, equal version; the part before "-" is about the songs alone."""
    words = hashlib.blake2b("\0".join(columns.strings).encode("utf-8", "replace"), digest_size=8)
    songs = [columns.song_ids, columns.numbers, columns.tj_numbers, columns.ky_numbers]
    packed = [
        *songs,
        columns.created_s,
        active,
        features.indices,
        np.frombuffer(words.digest(), np.uint8),
    ]
    return f"{hash_arrays(packed)}-{behaviour.digest()}"
