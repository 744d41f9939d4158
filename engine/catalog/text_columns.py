"""Stores the text columns of all songs: each distinct string once, in one block of UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from engine.types import SongView

TITLES = ("title_jp", "title_kr", "title_en", "title_yomi", "title_yomi_kr", "title_en_kr")
TEXTS = (*TITLES, "artist", "artist_kr", "genre", "mood", "anime", "anime_type", "lang")
#: {name: column of `Catalog.text_numbers`}
COLUMN = {name: place for place, name in enumerate(TEXTS)}


@dataclass(frozen=True)
class Texts:
    """Distinct strings in one UTF-8 block; number 0 is ""."""

    blob: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]  #: (strings + 1,) string i is blob[ends[i]:ends[i + 1]]

    def __getitem__(self, number: int) -> str:
        return str(self._bytes[self._ends[number] : self._ends[number + 1]], "utf-8")

    def many(self, numbers: Iterable[int]) -> list[str]:
        """Decode many strings; faster than one by one."""
        block, ends = self._bytes, self._ends
        return [str(block[ends[number] : ends[number + 1]], "utf-8") for number in numbers]

    @cached_property
    def _bytes(self) -> memoryview:
        return np.ascontiguousarray(self.blob).data

    @cached_property
    def _ends(self) -> memoryview:
        """A memoryview: reading one element costs a tenth of NumPy's."""
        return np.ascontiguousarray(self.ends).data

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def pack(cls, strings: Iterable[str]) -> Texts:
        encoded = [string.encode("utf-8", "replace") for string in strings]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)


def number_texts(songs: Sequence[SongView]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """(n, len(TEXTS)) numbers and the distinct strings they stand for; number 0 is ""."""
    values = list(chain.from_iterable(map(attrgetter(*TEXTS), songs)))
    strings = list(dict.fromkeys(chain(("",), values)))
    number_of = {string: number for number, string in enumerate(strings)}
    numbers = np.fromiter(map(number_of.__getitem__, values), np.int32, len(values))
    return numbers.reshape(len(songs), len(TEXTS)), strings
