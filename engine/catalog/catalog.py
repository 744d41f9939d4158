"""Holds every song as columns: small in memory, shared between processes, decoded only when shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.catalog import text
from engine.scoring.scorers import Corpus, Floats, Rows
from engine.types import SongView

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

#: Raised when the stored layout changes; a directory of another number is refused.
FORMAT = 1

TITLES = ("title_jp", "title_kr", "title_en", "title_yomi", "title_yomi_kr", "title_en_kr")
TEXTS = (*TITLES, "artist", "artist_kr", "genre", "mood", "anime", "anime_type", "lang")
_COLUMN = {name: place for place, name in enumerate(TEXTS)}
#: What songs are filtered, counted and labelled by.
KINDS = ("artist", "anime", "genre", "mood", "language")

#: `Corpus.recency` of a song that was added three months ago.
FRESH_RECENCY = 0.35
#: A like loses half of its weight in popularity in a quarter: charts of karaoke move that fast.
POPULARITY_HALF_LIFE_DAYS = 90.0
#: A like still tells of taste after years, so it fades slowly and never below the floor.
LIKE_HALF_LIFE_DAYS = 730.0
LIKE_FLOOR = 0.3
#: A playlist song says a little less than a like; later places say less than the first ones.
PLAYLIST_WEIGHT = 0.7
PLAYLIST_STEP = 0.01
TREND_DAYS = 14.0
TREND_BASE_DAYS = 90.0
RECENCY_HALF_LIFE_DAYS = 60.0
_DAY_S = 86_400.0
_NO_DATE = np.iinfo(np.int64).min

#: Weight of a matching word by where it stands; artist and anime decide most about karaoke taste.
_FEATURE_WEIGHTS = {"artist": 1.0, "anime": 0.9, "genre": 0.9, "mood": 0.8, "language": 0.3}
_WORD_WEIGHT = 0.5  # one word of a genre or mood of several words
_TITLE_WORD_WEIGHT = 0.3
_TYPE_WEIGHT = 0.3
_TAG_WEIGHT = 1.0
#: From this length on the same title by another artist is a cover, not chance.
_COVER_LENGTH_CJK = 8
_COVER_LENGTH_LATIN = 18
#: Decoded songs that are remembered, about 1 kB each: what is recommended now is soon recommended again.
_MOST_VIEWS = 4096


class CatalogDamaged(ValueError):
    """The stored catalog is incomplete or of another format; build it anew."""


@dataclass(frozen=True)
class Texts:
    """Distinct strings in one UTF-8 block; number 0 is ""."""

    blob: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]  #: (strings + 1,) string i is blob[ends[i]:ends[i + 1]]

    def __getitem__(self, number: int) -> str:
        return str(self._bytes[self._ends[number] : self._ends[number + 1]], "utf-8")

    def many(self, numbers: Iterable[int]) -> list[str]:
        """Faster than one by one."""
        block, ends = self._bytes, self._ends
        return [str(block[ends[number] : ends[number + 1]], "utf-8") for number in numbers]

    @cached_property
    def _bytes(self) -> memoryview:
        return np.ascontiguousarray(self.blob).data

    @cached_property
    def _ends(self) -> memoryview:
        """Without NumPy's cost per element: a look-up is a few hundred nanoseconds."""
        return np.ascontiguousarray(self.ends).data

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def pack(cls, strings: Iterable[str]) -> Texts:
        encoded = [string.encode("utf-8", "replace") for string in strings]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)


@dataclass(frozen=True)
class Terms:
    """Values of one kind (artists, genres …) and which songs hold them.

    ptr (n + 1,), codes: song i holds codes[ptr[i]:ptr[i + 1]], its leading value first.
    """

    names: list[str]  #: As written in the database.
    codes_by_key: dict[str, int]  #: `text.match_key` of every known spelling → code
    ptr: npt.NDArray[np.int64]
    codes: Rows

    def of(self, row: int) -> Rows:
        return self.codes[self.ptr[row] : self.ptr[row + 1]]

    def names_of(self, row: int) -> list[str]:
        return [self.names[code] for code in self.of(row)]

    def lookup(self, names: Iterable[str]) -> Rows:
        """(≤ len(names),) codes of the names that are known, whatever their spelling."""
        found = (self.codes_by_key.get(text.term_key(name), -1) for name in names)
        return np.array(sorted({code for code in found if code >= 0}), np.int32)

    @cached_property
    def leading(self) -> Rows:
        """(n,) the first code of each song, -1 without any."""
        lead = np.full(len(self.ptr) - 1, -1, np.int32)
        held = self.ptr[1:] > self.ptr[:-1]
        lead[held] = self.codes[self.ptr[:-1][held]]
        return lead

    def gather(self, rows: Rows) -> tuple[Rows, Rows]:
        """All values of the given songs: codes, and for each the place in `rows` it belongs to."""
        starts = self.ptr[rows]
        sizes = self.ptr[rows + 1] - starts
        owners = np.repeat(np.arange(len(rows), dtype=np.int32), sizes)
        first = np.cumsum(sizes) - sizes
        places = np.arange(len(owners)) + np.repeat(starts - first, sizes)
        return self.codes[places], owners

    def counts(self, rows: Rows, weights: Floats | None = None) -> Floats:
        """(values,) songs (or their weights) among `rows` that hold each value."""
        codes, owners = self.gather(rows)
        used = None if weights is None else weights[owners]
        return np.bincount(codes, used, minlength=len(self.names)).astype(np.float32)

    def holding(self, rows: Rows, code: int) -> Rows:
        """Those of `rows` that hold the value, in their order."""
        codes, owners = self.gather(rows)
        held: Rows = rows[owners[codes == code]]
        return held

    @cached_property
    def matrix(self) -> csr_matrix:
        """(n, values) 1 where the song holds the value."""
        shape = (len(self.ptr) - 1, len(self.names))
        ones = np.ones(len(self.codes), np.float32)
        return csr_matrix((ones, self.codes, self.ptr.astype(np.int32)), shape=shape)

    @cached_property
    def _songs(self) -> csr_matrix:
        return self.matrix.T.tocsr()

    def rows_of(self, code: int) -> Rows:
        """(songs of the value,) ascending."""
        songs: Rows = self._songs.indices[self._songs.indptr[code] : self._songs.indptr[code + 1]]
        return songs

    def mask(self, codes: Iterable[int]) -> Mask:
        """(n,) True where the song holds any of the values."""
        mask = np.zeros(len(self.ptr) - 1, bool)
        for code in codes:
            mask[self.rows_of(int(code))] = True
        return mask


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All songs of one moment, with what members did to them. Row i is `song_ids[i]` everywhere."""

    version: str
    song_ids: Ids  #: (n,) ascending
    texts: Texts
    text_numbers: npt.NDArray[np.int32]  #: (n, len(TEXTS)) numbers into `texts`
    tj_numbers: npt.NDArray[np.int32]  #: (n,) 0 = none
    ky_numbers: npt.NDArray[np.int32]  #: (n,) 0 = none
    created_s: Ids  #: (n,) epoch seconds, the least int64 = no date
    active: Mask  #: (n,) False: counts as taste, is never shown
    same_song: Rows  #: (n,) the least row among the versions of one song
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
        columns = _Columns(ordered)
        ids = columns.song_ids
        behaviour = _behaviour(ids, _like_events(likes), _playlist_events(playlist_songs), now)
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
            same_song=columns.same_song(),
            terms=columns.terms,
            corpus=corpus,
            member_ids=behaviour.member_ids,
        )

    def with_behaviour(self, *, likes: Likes, playlist_songs: Likes = (), now: datetime) -> Catalog:
        """The same songs after members did more: a fraction of the cost of building anew."""
        behaviour = _behaviour(
            self.song_ids, _like_events(likes), _playlist_events(playlist_songs), now
        )
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
        """One song, decoded; songs asked for lately are remembered."""
        known = self._views.get(row)
        if known is None:
            if len(self._views) >= _MOST_VIEWS:
                self._views.clear()
            known = self._views[row] = self._decoded(row)
        return known

    @cached_property
    def _views(self) -> dict[int, SongView]:
        return {}

    def _decoded(self, row: int) -> SongView:
        texts = self.texts
        values = {
            name: texts[number] if number else ""
            for name, number in zip(TEXTS, self.text_numbers[row].tolist(), strict=True)
        }
        seconds = int(self.created_s[row])
        return SongView(
            song_id=int(self.song_ids[row]),
            tj_number=int(self.tj_numbers[row]) or None,
            ky_number=int(self.ky_numbers[row]) or None,
            created_at=None if seconds == _NO_DATE else datetime.fromtimestamp(seconds, UTC),
            **values,
        )

    def column(self, name: str) -> npt.NDArray[np.int32]:
        """(n,) numbers into `texts`."""
        return self.text_numbers[:, _COLUMN[name]]

    def text(self, row: int, column: str) -> str:
        """One column of one song."""
        return self.texts[int(self.text_numbers[row, _COLUMN[column]])]

    def versions_of(self, rows: Rows) -> Rows:
        """The given songs and every other version of them, ascending."""
        roots = np.unique(self.same_song[rows])
        more = [self._versions[root] for root in roots.tolist() if root in self._versions]
        return np.unique(np.concatenate([rows, *more])).astype(np.int32)

    @cached_property
    def _versions(self) -> dict[int, Rows]:
        """{least row: rows of the song}, for the songs that have several versions."""
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
        """Whether most songs were added in the last three months: then being new says nothing."""
        return 2 * int(np.count_nonzero(self.corpus.recency >= FRESH_RECENCY)) > self.n

    @cached_property
    def liked_by_count(self) -> Rows:
        """(n,) members who ever liked the song or keep it on a playlist."""
        counts: Rows = np.diff(self.corpus.liked_by.indptr).astype(np.int32)
        return counts

    @cached_property
    def fame_rank(self) -> Floats:
        """(n,) 0 … 1: share of the songs anybody likes that fewer members like; 0 where nobody does."""
        return _share_below(self.liked_by_count, self.liked_by_count)

    @cached_property
    def artist_fame_rank(self) -> Floats:
        """(n,) the same of a song's leading artist among artists, by his likes in all; 0 without one."""
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
        directory.mkdir(parents=True, exist_ok=True)
        arrays = self._arrays()
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array, allow_pickle=False)
        manifest = {
            "format": FORMAT,
            "version": self.version,
            "arrays": {name: [list(a.shape), a.dtype.str] for name, a in arrays.items()},
            "n_features": self.corpus.features.shape[1],
            "names": {kind: terms.names for kind, terms in self.terms.items()},
            "keys": {kind: terms.codes_by_key for kind, terms in self.terms.items()},
        }
        (directory / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, directory: Path, *, mmap: bool = True) -> Catalog:
        """Read what `save` wrote.

        Raises CatalogDamaged when a file is missing, cut short, or of another format.
        """
        try:
            manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
            if manifest["format"] != FORMAT:
                raise CatalogDamaged(f"format {manifest['format']}, expected {FORMAT}")
            arrays = {
                name: load_array(directory / f"{name}.npy", shape, dtype, mmap=mmap)
                for name, (shape, dtype) in manifest["arrays"].items()
            }
            return cls._from_arrays(manifest, arrays)
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            AttributeError,
            json.JSONDecodeError,
        ) as error:
            raise CatalogDamaged(f"{directory}: {error}") from error

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
            interactions=_sparse(arrays, "interactions", (len(arrays["member_ids"]), n)),
            features=_sparse(arrays, "features", (n, manifest["n_features"])),
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


#: Rows of tuples, or one array per column.
Likes = Iterable[tuple[Any, ...]] | tuple[Array, ...]

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


def wire_song(view: SongView) -> SongView:
    """The song as the app must get it: it shows `title_jp || title_en`, never `title_kr`."""
    if view.title_jp or view.title_en:
        return view
    return replace(view, title_en=view.title_kr or view.title_yomi or view.title_yomi_kr)


def load_array(path: Path, shape: list[int], dtype: str, *, mmap: bool) -> Array:
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


def _sparse(arrays: dict[str, Array], name: str, shape: tuple[int, int]) -> csr_matrix:
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=shape, copy=False)


def created_second(song: SongView) -> int:
    """Epoch seconds; the least int64 without a date."""
    return int(song.created_at.timestamp()) if song.created_at else _NO_DATE


class _Columns:
    """The songs' own columns while a catalog is built. Each distinct string is looked at once."""

    def __init__(self, songs: Sequence[SongView]) -> None:
        self.numbers, self.strings = _number_texts(songs)
        self.song_ids = np.array([song.song_id for song in songs], np.int64)
        self.tj_numbers = np.array([song.tj_number or 0 for song in songs], np.int32)
        self.ky_numbers = np.array([song.ky_number or 0 for song in songs], np.int32)
        self.created_s = np.array([created_second(song) for song in songs], np.int64)
        self.terms = {
            "artist": self._artists(),
            "anime": self._values("anime", lambda value: [value] if value else []),
            "genre": self._values("genre", text.split_terms),
            "mood": self._values("mood", text.split_terms),
            "language": self._values("lang", text.split_terms),
        }

    def _column(self, name: str) -> npt.NDArray[np.int32]:
        return self.numbers[:, _COLUMN[name]]

    def _values(self, column: str, split: Any) -> Terms:
        """Terms of a column; a value is named as its first spelling."""
        pool = _Pool()
        numbers = self._column(column)
        codes = {n: pool.codes(split(self.strings[n])) for n in np.unique(numbers).tolist()}
        return pool.terms([codes[number] for number in numbers.tolist()])

    def _artists(self) -> Terms:
        """Artists by their own name; the Hangul name is another spelling, or stands in for a missing one."""
        pool = _Pool()
        pairs = list(
            zip(self._column("artist").tolist(), self._column("artist_kr").tolist(), strict=True)
        )
        codes: dict[tuple[int, int], list[int]] = {}
        for named_first in (True, False):
            for pair in dict.fromkeys(pairs):
                if bool(pair[0]) == named_first:
                    codes[pair] = self._credit(pool, *pair)
        return pool.terms([codes[pair] for pair in pairs])

    def _credit(self, pool: _Pool, artist: int, artist_kr: int) -> list[int]:
        names = text.split_artists(self.strings[artist])
        names_kr = text.split_artists(self.strings[artist_kr])
        codes = pool.codes(names or names_kr)
        if names and len(names) == len(names_kr):
            pool.also(names_kr, codes)
        return codes

    def title_keys(self) -> list[str]:
        """(n,) key of the song's leading title without its version."""
        lead = self._column("title_jp").copy()
        for column in ("title_en", "title_kr"):
            lead = np.where(lead == 0, self._column(column), lead)
        return self._keys(lead)

    def _keys(self, numbers: npt.NDArray[np.int32]) -> list[str]:
        used, places = np.unique(numbers, return_inverse=True)
        keys = text.match_keys([text.song_title(self.strings[n]) for n in used.tolist()])
        return [keys[place] for place in places.tolist()]

    def same_song(self) -> Rows:
        """(n,) the least row of the same song; a song without a title is only itself."""
        merged = _Merged(len(self.song_ids))
        artists, anime = self.terms["artist"].leading.tolist(), self.terms["anime"].leading.tolist()
        titles, titles_kr = self.title_keys(), self._keys(self._column("title_kr"))
        has_jp = (self._column("title_jp") != 0).tolist()
        covers = self._covers()
        for row, title in enumerate(titles):
            if not title:
                continue
            merged.join(row, (title, "artist", artists[row]))
            if anime[row] >= 0:
                merged.join(row, (title, "anime", anime[row]))
            if row in covers or _is_distinctive(title):
                merged.join(row, (title, "any"))
        # A row known only by its Hangul title (one machine's duplicate) joins the fuller one.
        for row, title_kr in enumerate(titles_kr):
            if title_kr and has_jp[row]:
                merged.first.setdefault((title_kr, "kr", artists[row]), row)
        for row, title_kr in enumerate(titles_kr):
            if title_kr and not has_jp[row]:
                merged.join(row, (title_kr, "kr", artists[row]))
        self._join_covers(merged, covers, titles)
        return merged.roots()

    def _covers(self) -> set[int]:
        """Rows whose own title says that they are covers."""
        marked = {n for n, string in enumerate(self.strings) if text.is_cover(string)}
        if not marked:
            return set()
        titled = self.numbers[:, : len(TITLES)]
        return set(np.flatnonzero(np.isin(titled, list(marked)).any(axis=1)).tolist())

    def _join_covers(self, merged: _Merged, covers: set[int], titles: list[str]) -> None:
        """A cover joins the first other song of its title."""
        wanted = {titles[row] for row in covers}
        for row, title in enumerate(titles):
            if title in wanted and title and row not in covers:
                merged.join(row, (title, "any"))

    def features(self, tags: Mapping[int, Sequence[str]]) -> csr_matrix:
        """(n, f) TF-IDF over what describes a song, rows of length 1."""
        bag = _Bag(len(self.song_ids))
        for kind, weight in _FEATURE_WEIGHTS.items():
            bag.add_terms(kind, self.terms[kind], weight)
            if kind in ("genre", "mood"):
                bag.add_terms(f"{kind} word", _words_of(self.terms[kind]), _WORD_WEIGHT)
        bag.add_terms("type", self._values("anime_type", text.split_terms), _TYPE_WEIGHT)
        bag.add_terms("title", self._title_words(), _TITLE_WORD_WEIGHT)
        if tags:
            pool = _Pool()
            coded = [pool.codes(tags.get(song_id, ())) for song_id in self.song_ids.tolist()]
            bag.add_terms("tag", pool.terms(coded), _TAG_WEIGHT)
        return bag.tfidf()

    def _title_words(self) -> Terms:
        """Words of the Japanese, Korean and English titles; one letter says nothing."""
        titled = self.numbers[:, [_COLUMN[name] for name in ("title_jp", "title_kr", "title_en")]]
        used, places = np.unique(titled, return_inverse=True)
        folded = text.fold_many([self.strings[n] for n in used.tolist()])
        code_of: dict[str, int] = {}
        codes = [
            [code_of.setdefault(word, len(code_of)) for word in title.split() if len(word) > 1]
            for title in folded
        ]
        titles: Array = places.reshape(titled.shape)
        coded = [
            list(dict.fromkeys(chain.from_iterable(codes[n] for n in row)))
            for row in titles.tolist()
        ]
        ptr = np.cumsum([0, *map(len, coded)], dtype=np.int64)
        return Terms(list(code_of), code_of, ptr, np.fromiter(chain(*coded), np.int32))


def _number_texts(songs: Sequence[SongView]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """(n, len(TEXTS)) numbers and the distinct strings they stand for; number 0 is ""."""
    values = list(chain.from_iterable(map(attrgetter(*TEXTS), songs)))
    strings = list(dict.fromkeys(chain(("",), values)))
    number_of = {string: number for number, string in enumerate(strings)}
    numbers = np.fromiter(map(number_of.__getitem__, values), np.int32, len(values))
    return numbers.reshape(len(songs), len(TEXTS)), strings


def _is_distinctive(title_key: str) -> bool:
    """A short title ("桜") is shared by many different songs, a long one only by covers."""
    needed = _COVER_LENGTH_LATIN if title_key.isascii() else _COVER_LENGTH_CJK
    return len(title_key) >= needed


class _Pool:
    """Gives codes to names; spellings with the same key share one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.by_key: dict[str, int] = {}

    def codes(self, names: Iterable[str]) -> list[int]:
        return list(dict.fromkeys(self._code(name) for name in names))

    def _code(self, name: str) -> int:
        key = text.match_key(name)
        code = self.by_key.get(key)
        if code is None:
            code = self.by_key[key] = len(self.names)
            self.names.append(name)
        return code

    def also(self, names: Iterable[str], codes: Iterable[int]) -> None:
        """Record further spellings; a spelling keeps its first meaning."""
        for name, code in zip(names, codes, strict=True):
            self.by_key.setdefault(text.match_key(name), code)

    def terms(self, coded: list[list[int]]) -> Terms:
        ptr = np.cumsum([0, *map(len, coded)], dtype=np.int64)
        return Terms(self.names, self.by_key, ptr, np.fromiter(chain(*coded), np.int32))


def _words_of(terms: Terms) -> Terms:
    """The single words of values that have several ("J-pop 서정 팝")."""
    pool = _Pool()
    words = [pool.codes(name.split()) if " " in name else [] for name in terms.names]
    coded = [
        list(chain.from_iterable(words[code] for code in terms.of(row)))
        for row in range(len(terms.ptr) - 1)
    ]
    return pool.terms(coded)


class _Merged:
    """Union-find over rows, joined by equal keys."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))
        self.first: dict[tuple[Any, ...], int] = {}

    def root(self, row: int) -> int:
        while self.parent[row] != row:
            self.parent[row] = self.parent[self.parent[row]]
            row = self.parent[row]
        return row

    def join(self, row: int, key: tuple[Any, ...]) -> None:
        one, other = self.root(row), self.root(self.first.setdefault(key, row))
        self.parent[max(one, other)] = min(one, other)

    def roots(self) -> Rows:
        return np.array([self.root(row) for row in range(len(self.parent))], np.int32)


class _Bag:
    """Collects weighted words of songs, field by field."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.width = 0
        self.parts: list[tuple[Array, Array, Array]] = []

    def add_terms(self, _field: str, terms: Terms, weight: float) -> None:
        rows = np.repeat(np.arange(self.n, dtype=np.int32), np.diff(terms.ptr))
        used = np.full(len(rows), weight, np.float32)
        self.parts.append((rows, terms.codes + self.width, used))
        self.width += len(terms.names)

    def tfidf(self) -> csr_matrix:
        """Words of one song only say nothing about likeness and are dropped."""
        rows, columns, weights = (
            np.concatenate(column) for column in zip(*self.parts, strict=True)
        )
        df = np.bincount(columns, minlength=self.width)
        shared = df[columns] > 1
        rows, columns, weights = rows[shared], columns[shared], weights[shared]
        kept, columns = np.unique(columns, return_inverse=True)
        idf = np.log1p(self.n / np.maximum(df[kept], 1))
        data = (weights * idf[columns]).astype(np.float32)
        matrix = csr_matrix((data, (rows, columns)), shape=(self.n, len(kept)), dtype=np.float32)
        return unit_rows(matrix)


def unit_rows(matrix: csr_matrix) -> csr_matrix:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(np.maximum(norms, 1e-9), np.diff(matrix.indptr)).astype(np.float32)
    return matrix


@dataclass(frozen=True, kw_only=True)
class _Events:
    """Likes or playlist places as columns."""

    members: Ids
    songs: Ids
    at_s: npt.NDArray[np.float64]  #: NaN = no date
    weights: Floats


def _like_events(likes: Likes) -> _Events:
    members, songs, at_s = _as_columns(likes, 3)
    return _Events(
        members=members.astype(np.int64),
        songs=songs.astype(np.int64),
        at_s=_seconds(at_s),
        weights=np.ones(len(members), np.float32),
    )


def _playlist_events(places: Likes) -> _Events:
    members, songs, order, at_s = _as_columns(places, 4)
    later = np.clip(np.nan_to_num(order.astype(np.float64)), 0, 30)
    return _Events(
        members=members.astype(np.int64),
        songs=songs.astype(np.int64),
        at_s=_seconds(at_s),
        weights=(PLAYLIST_WEIGHT - PLAYLIST_STEP * later).astype(np.float32),
    )


def _as_columns(events: Likes, width: int) -> tuple[Array, ...]:
    if isinstance(events, tuple) and len(events) == width and isinstance(events[0], np.ndarray):
        return events
    rows = list(events)
    if not rows:
        return tuple(np.empty(0) for _ in range(width))
    return tuple(np.array(column, dtype=object) for column in zip(*rows, strict=True))


def _seconds(dates: Array) -> npt.NDArray[np.float64]:
    """Epoch seconds; datetimes must be timezone-aware."""
    if dates.dtype != object:
        return dates.astype(np.float64)
    seconds = (
        date.timestamp() if isinstance(date, datetime) else float("nan" if date is None else date)
        for date in dates
    )
    return np.fromiter(seconds, np.float64, len(dates))


@dataclass(frozen=True, kw_only=True)
class _Behaviour:
    member_ids: Ids
    corpus: dict[str, Any]  #: interactions, popularity, trend

    def digest(self) -> str:
        matrix = self.corpus["interactions"]
        return _hash([self.member_ids, matrix.indptr, matrix.indices])


def _behaviour(song_ids: Ids, likes: _Events, places: _Events, now: datetime) -> _Behaviour:
    members, rows, at_s, weights = _joined(song_ids, likes, places)
    age_days = _ages(at_s, now)
    member_ids, member_rows = np.unique(members, return_inverse=True)
    fade = np.maximum(np.exp2(-age_days / LIKE_HALF_LIFE_DAYS), LIKE_FLOOR)
    strength = (weights * fade).astype(np.float32)
    matrix, kept = _strongest(member_rows, rows, strength, (len(member_ids), len(song_ids)))
    decayed = np.exp2(-age_days[kept] / POPULARITY_HALF_LIFE_DAYS) * weights[kept]
    popularity = np.bincount(rows[kept], weights=decayed, minlength=len(song_ids))
    trend = _trend(rows[kept], age_days[kept], np.isnan(at_s[kept]), len(song_ids))
    return _Behaviour(
        member_ids=member_ids,
        corpus={
            "interactions": matrix,
            "popularity": popularity.astype(np.float32),
            "trend": trend,
        },
    )


def _joined(song_ids: Ids, likes: _Events, places: _Events) -> tuple[Array, Array, Array, Array]:
    """Events of songs the catalog holds: members, rows, seconds, weights."""
    members = np.concatenate([likes.members, places.members])
    songs = np.concatenate([likes.songs, places.songs])
    at_s = np.concatenate([likes.at_s, places.at_s])
    weights = np.concatenate([likes.weights, places.weights])
    if not len(song_ids):
        return members[:0], songs[:0], at_s[:0], weights[:0]
    rows = np.searchsorted(song_ids, songs).clip(max=len(song_ids) - 1)
    held = song_ids[rows] == songs
    return members[held], rows[held], at_s[held], weights[held]


def _ages(at_s: npt.NDArray[np.float64], now: datetime) -> npt.NDArray[np.float64]:
    """Days since each event; one without a date is as old as the oldest known."""
    ages = np.maximum((now.timestamp() - at_s) / _DAY_S, 0)
    known = ages[~np.isnan(ages)]
    return np.where(np.isnan(ages), known.max() if len(known) else 0.0, ages)


def _strongest(
    members: Array, rows: Array, strength: Floats, shape: tuple[int, int]
) -> tuple[csr_matrix, Array]:
    """One entry per member and song, the strongest; also which events those are."""
    order = np.lexsort((strength, rows, members))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(members[order]) != 0) | (np.diff(rows[order]) != 0)
    kept = order[last]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(members[kept], minlength=shape[0]))])
    parts = (strength[kept], rows[kept].astype(np.int32), indptr.astype(np.int32))
    return csr_matrix(parts, shape=shape), kept


def _share_below(values: Array, among: Array) -> Floats:
    """(v,) share of the positive numbers among some that are smaller."""
    order = np.sort(among[among > 0])
    return (np.searchsorted(order, values) / max(len(order), 1)).astype(np.float32)


def _trend(rows: Array, age_days: Array, undated: Mask, n: int) -> Floats:
    """(n,) log growth of the last two weeks over the last quarter; 0 = as always.

    One added like on both sides keeps a song's first like from looking like a boom.
    """
    recent = np.bincount(rows[(age_days <= TREND_DAYS) & ~undated], minlength=n)
    base = np.bincount(rows[(age_days <= TREND_BASE_DAYS) & ~undated], minlength=n)
    expected = base * (TREND_DAYS / TREND_BASE_DAYS)
    return np.log((recent + 1) / (expected + 1)).astype(np.float32)


def recency_of(created_s: Ids, now: datetime) -> Floats:
    """(n,) 1 = added today, halved every two months; 0 without a date."""
    age_days = np.maximum((now.timestamp() - created_s.astype(np.float64)) / _DAY_S, 0)
    fresh = np.exp2(-age_days / RECENCY_HALF_LIFE_DAYS)
    return np.where(created_s == _NO_DATE, 0, fresh).astype(np.float32)


def _digest(columns: _Columns, active: Mask, behaviour: _Behaviour, features: csr_matrix) -> str:
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
    return f"{_hash(packed)}-{behaviour.digest()}"


def _hash(arrays: Iterable[Array]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
