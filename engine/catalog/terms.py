"""Stores which songs hold which artist, anime, genre, mood or language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Mask, Rows
from engine.catalog import text

#: What songs are filtered, counted and labelled by.
KINDS = ("artist", "anime", "genre", "mood", "language")


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


class TermCoder:
    """Assigns codes to names; spellings with the same key share one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.by_key: dict[str, int] = {}

    def codes(self, names: Iterable[str]) -> list[int]:
        found: dict[int, None] = {}
        for name in names:
            code = self.by_key.setdefault(text.match_key(name), len(self.names))
            if code == len(self.names):
                self.names.append(name)
            found[code] = None
        return list(found)

    def add_spellings(self, names: Iterable[str], codes: Iterable[int]) -> None:
        """Record further spellings of coded names; a spelling keeps its first code."""
        for name, code in zip(names, codes, strict=True):
            self.by_key.setdefault(text.match_key(name), code)

    def terms(self, coded: list[list[int]]) -> Terms:
        ptr = np.cumsum([0, *map(len, coded)], dtype=np.int64)
        return Terms(self.names, self.by_key, ptr, np.fromiter(chain(*coded), np.int32))


def words_of(terms: Terms) -> Terms:
    """The single words of values that have several ("J-pop 서정 팝")."""
    pool = TermCoder()
    words = [pool.codes(name.split()) if " " in name else [] for name in terms.names]
    coded = [
        list(chain.from_iterable(words[code] for code in terms.of(row)))
        for row in range(len(terms.ptr) - 1)
    ]
    return pool.terms(coded)
