"""Decides which rows of the catalog are versions of one song."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.arrays import Rows
from engine.catalog import text
from engine.catalog.building import SongColumns
from engine.catalog.text_columns import TITLES

#: Titles of this length or longer are distinctive: the same title by another artist is a cover.
_COVER_LENGTH_CJK = 8
_COVER_LENGTH_LATIN = 18


def same_song(columns: SongColumns) -> Rows:
    """(n,) the smallest row of the same song; a song without a title is only itself."""
    sets = _UnionFind(len(columns.song_ids))
    terms = columns.terms
    artists, anime = terms["artist"].leading.tolist(), terms["anime"].leading.tolist()
    titles = _leading_title_keys(columns)
    covers = _rows_titled_as_covers(columns)
    for row, title in enumerate(titles):
        if not title:
            continue
        sets.join(row, (title, "artist", artists[row]))
        if anime[row] >= 0:
            sets.join(row, (title, "anime", anime[row]))
        if row in covers or _is_distinctive(title):
            sets.join(row, (title, "any"))
    _join_hangul_titles(sets, columns, artists)
    covered = {titles[row] for row in covers}
    for row, title in enumerate(titles):
        if title and title in covered and row not in covers:
            sets.join(row, (title, "any"))
    return sets.roots()


def _leading_title_keys(columns: SongColumns) -> list[str]:
    """(n,) key of the song's leading title without its version."""
    lead = columns.column("title_jp").copy()
    for name in ("title_en", "title_kr"):
        lead = np.where(lead == 0, columns.column(name), lead)
    return _title_keys(columns, lead)


def _title_keys(columns: SongColumns, numbers: npt.NDArray[np.int32]) -> list[str]:
    used, places = np.unique(numbers, return_inverse=True)
    keys = text.match_keys([text.song_title(columns.strings[n]) for n in used.tolist()])
    return [keys[place] for place in places.tolist()]


def _join_hangul_titles(sets: _UnionFind, columns: SongColumns, artists: list[int]) -> None:
    """Join a row that has only a Hangul title (a duplicate of one karaoke machine) to the fuller row."""
    titles_kr = _title_keys(columns, columns.column("title_kr"))
    has_jp = (columns.column("title_jp") != 0).tolist()
    for row, title_kr in enumerate(titles_kr):
        if title_kr and has_jp[row]:
            sets.first.setdefault((title_kr, "kr", artists[row]), row)
    for row, title_kr in enumerate(titles_kr):
        if title_kr and not has_jp[row]:
            sets.join(row, (title_kr, "kr", artists[row]))


def _rows_titled_as_covers(columns: SongColumns) -> set[int]:
    """Rows with a title that says that the song is a cover."""
    marked = {n for n, string in enumerate(columns.strings) if text.is_cover(string)}
    if not marked:
        return set()
    titled = columns.numbers[:, : len(TITLES)]
    return set(np.flatnonzero(np.isin(titled, list(marked)).any(axis=1)).tolist())


def _is_distinctive(title_key: str) -> bool:
    """Tell whether only covers share the title; a short one ("桜") belongs to many different songs."""
    min_length = _COVER_LENGTH_LATIN if title_key.isascii() else _COVER_LENGTH_CJK
    return len(title_key) >= min_length


class _UnionFind:
    """Sets of rows, joined by equal keys."""

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
