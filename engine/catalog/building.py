"""Lays songs out as columns and computes their content features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Array
from engine.catalog import text
from engine.catalog.terms import TermCoder, Terms, words_of
from engine.catalog.text_columns import COLUMN, number_texts
from engine.types import SongView

#: `created_s` of a song without a date.
NO_DATE = np.iinfo(np.int64).min
#: Weight of a shared word by its field; artist and anime decide most about karaoke taste.
_FEATURE_WEIGHTS = {"artist": 1.0, "anime": 0.9, "genre": 0.9, "mood": 0.8, "language": 0.3}
_WORD_WEIGHT = 0.5  # one word of a genre or mood of several words
_TITLE_WORD_WEIGHT = 0.3
_TYPE_WEIGHT = 0.3
_TAG_WEIGHT = 1.0


def created_second(song: SongView) -> int:
    """Epoch seconds, or `NO_DATE`."""
    return int(song.created_at.timestamp()) if song.created_at else NO_DATE


class SongColumns:
    """The columns of the songs while a catalog is built. Each distinct string is processed once."""

    def __init__(self, songs: Sequence[SongView]) -> None:
        self.numbers, self.strings = number_texts(songs)
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

    def column(self, name: str) -> npt.NDArray[np.int32]:
        """(n,) numbers into `strings`."""
        return self.numbers[:, COLUMN[name]]

    def _values(self, column: str, split: Callable[[str], list[str]]) -> Terms:
        """Terms of a column; a value is named as its first spelling."""
        coder = TermCoder()
        numbers = self.column(column)
        codes = {n: coder.codes(split(self.strings[n])) for n in np.unique(numbers).tolist()}
        return coder.terms([codes[number] for number in numbers.tolist()])

    def _artists(self) -> Terms:
        """Artists by their own name; the Hangul name is another spelling, or stands in for a missing one."""
        coder = TermCoder()
        pairs = list(
            zip(self.column("artist").tolist(), self.column("artist_kr").tolist(), strict=True)
        )
        codes: dict[tuple[int, int], list[int]] = {}
        for named_first in (True, False):
            for pair in dict.fromkeys(pairs):
                if bool(pair[0]) != named_first:
                    continue
                names, names_kr = (text.split_artists(self.strings[n]) for n in pair)
                codes[pair] = coder.codes(names or names_kr)
                if names and len(names) == len(names_kr):
                    coder.add_spellings(names_kr, codes[pair])
        return coder.terms([codes[pair] for pair in pairs])

    def features(self, tags: Mapping[int, Sequence[str]]) -> csr_matrix:
        """(n, f) TF-IDF over what describes a song, rows of length 1."""
        words = _WeightedWords(len(self.song_ids))
        for kind, weight in _FEATURE_WEIGHTS.items():
            words.add(self.terms[kind], weight)
            if kind in ("genre", "mood"):
                words.add(words_of(self.terms[kind]), _WORD_WEIGHT)
        words.add(self._values("anime_type", text.split_terms), _TYPE_WEIGHT)
        words.add(self._title_words(), _TITLE_WORD_WEIGHT)
        if tags:
            coder = TermCoder()
            coded = [coder.codes(tags.get(song_id, ())) for song_id in self.song_ids.tolist()]
            words.add(coder.terms(coded), _TAG_WEIGHT)
        return words.tfidf()

    def _title_words(self) -> Terms:
        """Words of two letters or more of the Japanese, Korean and English titles."""
        titled = self.numbers[:, [COLUMN[name] for name in ("title_jp", "title_kr", "title_en")]]
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


class _WeightedWords:
    """Collects weighted words of songs, field by field."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.width = 0
        self.parts: list[tuple[Array, Array, Array]] = []

    def add(self, terms: Terms, weight: float) -> None:
        rows = np.repeat(np.arange(self.n, dtype=np.int32), np.diff(terms.ptr))
        used = np.full(len(rows), weight, np.float32)
        self.parts.append((rows, terms.codes + self.width, used))
        self.width += len(terms.names)

    def tfidf(self) -> csr_matrix:
        """(n, f) rows of length 1; words of a single song are dropped, they make no songs alike."""
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
    """Scale each row to length 1, in place; empty rows stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(np.maximum(norms, 1e-9), np.diff(matrix.indptr)).astype(np.float32)
    return matrix
