"""Finds the songs a typed text means, and the song a title and artist name, in any script and with typos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from rapidfuzz import fuzz

from engine.catalog import text
from engine.catalog.search.fuzzy_budget import FuzzyBudget
from engine.catalog.search.index import POPULARITY_WEIGHT, SearchIndex
from engine.catalog.search.keys import FIELDS, MIN_SOUND_LENGTH, FieldKind, columns_of

#: Songs that are compared letter by letter. More cost time, fewer miss a typo in a common word.
_MAX_COMPARED = 80
_MIN_SCORE = 0.55

_MACHINES = {"tj": "tj", "태진": "tj", "ky": "ky", "금영": "ky"}
_NUMBER = re.compile(rf"(?P<machine>{'|'.join(_MACHINES)})?[\s.:#-]*(?P<number>[0-9]{{1,9}}) ?번?")

#: Minimum likeness of title and artist to recognise a named song.
_MIN_TITLE = 0.86
_MIN_ARTIST = 0.75
#: Without an artist the title must be almost exact …
_MIN_TITLE_ALONE = 0.93
#: … and, where several songs carry it, one of them so many times more popular than the next.
_MIN_POPULARITY_RATIO = 3.0
#: Songs that come close are suggested: at most so many, with at least this likeness of title.
_MAX_NEAR = 5
_MIN_NEAR_TITLE = 0.6

_TITLE_COLUMNS = columns_of(FieldKind.TITLE)
_ARTIST_COLUMNS = columns_of(FieldKind.ARTIST)


class Named(Protocol):
    """A song named by text; artist and genre may be ""."""

    @property
    def title(self) -> str: ...
    @property
    def artist(self) -> str: ...
    @property
    def genre(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Which song a name stands for."""

    row: int | None  #: None: no song is certain
    near: tuple[int, ...] = ()  #: rows that come closest, best first, without `row`
    score: float = 0.0


def find_songs(index: SearchIndex, query: str, limit: int = 20) -> list[tuple[int, float]]:
    """(row, 0..1) of active songs, best first; nothing where nothing comes close.

    Understands every title and artist column, karaoke numbers, initial consonants ("ㅇㄴㅈ"), several
    words in any order ("요네즈 lemon"), and typos.
    """
    words = [key for word in text.fold(query).split() if (key := text.match_key(word))]
    if not words or not index.catalog.n or limit < 1:
        return []
    if text.is_initials(query.strip()):
        found = index.rows_by_initials(query)
    else:
        typed = _TypedText.of(words)
        most = max(_MAX_COMPARED, 2 * limit)
        rows = index.rows_alike("".join(words), [*words, *typed.sounds], most)
        scored = ((row, typed.score(index.keys_of(row))) for row in rows)
        found = {row: score for row, score in scored if score >= _MIN_SCORE}
        found |= dict.fromkeys(_rows_by_number(index, query), 1.0)
    rank = index.catalog.popularity_rank
    best = sorted(found, key=lambda row: (-found[row] - POPULARITY_WEIGHT * float(rank[row]), row))
    active = [row for row in best if index.catalog.active[row]]
    return [(row, round(found[row], 4)) for row in active[:limit]]


def _rows_by_number(index: SearchIndex, query: str) -> list[int]:
    """Rows with that karaoke number: "28873", "TJ 28873", "금영 44266번"."""
    match = _NUMBER.fullmatch(text.fold(query))
    number = int(match["number"]) if match else 0
    if not match or not number:
        return []
    machine = _MACHINES.get(match["machine"] or "")
    catalog = index.catalog
    found = [
        numbers == number
        for name, numbers in (("tj", catalog.tj_numbers), ("ky", catalog.ky_numbers))
        if machine in (None, name)
    ]
    return np.flatnonzero(np.logical_or.reduce(found)).tolist()


class _Word(NamedTuple):
    """Typed text in the forms it is compared in."""

    key: str
    jamo: str
    sound: str  #: "" when it is too short to tell names apart

    @classmethod
    def of(cls, key: str) -> _Word:
        sound = text.sound(key)
        return cls(key, text.jamo(key), sound if len(sound) >= MIN_SOUND_LENGTH else "")


class _Name(NamedTuple):
    """One name of a song, ready to be compared."""

    key: str
    letters: str  #: taken apart; the sound itself where `by_sound`
    weight: float
    by_sound: bool

    def score(self, typed: _Word) -> float:
        """1 = the name itself; its beginning, a part of it, and likeness come after."""
        word, letters = (typed.sound, typed.sound) if self.by_sound else (typed.key, typed.jamo)
        if word == self.key:
            return 1.0
        covered = len(word) / len(self.key)
        if self.letters.startswith(letters):
            return 0.85 + 0.1 * min(covered, 1.0)
        if len(word) > 1 and word in self.key:
            return 0.75 + 0.1 * covered
        return 0.9 * fuzz.ratio(letters, self.letters, score_cutoff=50) / 100


class _TypedText(NamedTuple):
    """A query as a whole and, when there are several, word by word."""

    whole: _Word
    words: tuple[_Word, ...]

    @classmethod
    def of(cls, words: list[str]) -> _TypedText:
        several = tuple(map(_Word.of, words)) if len(words) > 1 else ()
        return cls(_Word.of("".join(words)), several)

    @property
    def sounds(self) -> list[str]:
        return [word.sound for word in (self.whole, *self.words) if word.sound]

    def score(self, keys: list[str]) -> float:
        """0..1 how well the names of one song answer the query. keys: in the order of `FIELDS`."""
        names = [
            _Name(key, key if field.by_sound else text.jamo(key), field.weight, field.by_sound)
            for key, field in zip(keys, FIELDS, strict=True)
            if key
        ]
        best = _best_score(self.whole, names)
        if not self.words or best >= 0.95:
            return best
        per_word = [_best_score(word, names) for word in self.words]
        return max(best, 0.98 * sum(per_word) / len(per_word))


def _best_score(typed: _Word, names: list[_Name]) -> float:
    """Of the name that matches best, each compared by letters or by sound."""
    comparable = (name for name in names if typed.sound or not name.by_sound)
    return max((name.weight * name.score(typed) for name in comparable), default=0.0)


class _Match(NamedTuple):
    """A song with its likeness to a named one, 0..1 each."""

    row: int
    title: float
    artist: float

    @property
    def likeness(self) -> float:
        return self.title + self.artist


def resolve_names(
    index: SearchIndex, named: Sequence[Named], *, budget: FuzzyBudget | None = None
) -> list[Resolved]:
    """Which song each name stands for, in their order; None with suggestions where none is certain.

    budget: an exact name takes nothing from it; of the others the shortest take first, and those it
    does not cover are not found.
    """
    budget = budget or FuzzyBudget()
    shortest_first = sorted(
        range(len(named)), key=lambda place: len(named[place].title) + len(named[place].artist)
    )
    found = {place: _resolve(index, named[place], budget) for place in shortest_first}
    return [found[place] for place in range(len(named))]


def _resolve(index: SearchIndex, song: Named, budget: FuzzyBudget) -> Resolved:
    titles = {text.match_key(song.title), text.match_key(text.song_title(song.title))} - {""}
    if not titles or not index.catalog.n:
        return Resolved(row=None)
    artist = text.match_key((text.split_artists(song.artist) or [""])[0])
    rows = index.rows_named(titles)
    if len(rows) > _MAX_COMPARED and not budget.take([*titles, artist]):
        rows = rows[:_MAX_COMPARED]  # the name of an artist with many songs, for a title
    if not rows and budget.take([*titles, artist]):
        rows = index.rows_alike(min(titles, key=len), [*titles, artist], _MAX_COMPARED)
    found = _matches(index, rows, titles, artist)
    certain = [match for match in found if _is_certain(match, artist)]
    if not certain and artist and budget.take([*titles, artist]):
        # The catalog may write the title in another script: search among the artist's songs.
        rows = index.rows_alike(artist, [artist, *titles], _MAX_COMPARED)
        matches = _matches(index, rows, titles, artist)
        certain = [match for match in matches if _is_certain(match, artist)]
    return _chosen(index, certain, found, song, artist)


def _matches(index: SearchIndex, rows: list[int], titles: set[str], artist: str) -> list[_Match]:
    found = []
    for row in rows:
        own = {index.keys[n] for n in index.song_keys[row, _TITLE_COLUMNS].tolist()} - {""}
        by = {index.keys[n] for n in index.song_keys[row, _ARTIST_COLUMNS].tolist()} - {""}
        title_score = max((_likeness(title, key) for title in titles for key in own), default=0.0)
        artist_score = 0.0
        if artist:
            artist_score = max((_artist_likeness(artist, key) for key in by), default=0.0)
        found.append(_Match(row, title_score, artist_score))
    return found


def _chosen(
    index: SearchIndex, certain: list[_Match], found: list[_Match], song: Named, artist: str
) -> Resolved:
    """The best certain match; without an artist only when no other song could be meant as well."""
    by_likeness = sorted(found, key=lambda match: (-match.likeness, match.row))
    near = [m.row for m in by_likeness if m.title >= _MIN_NEAR_TITLE][: _MAX_NEAR + 1]
    unresolved = Resolved(row=None, near=tuple(near[:_MAX_NEAR]))
    if not certain:
        return unresolved
    best = _preferred(index, certain, song)
    songs = index.catalog.same_song[[match.row for match in certain]]
    if not artist and len(np.unique(songs)) > 1 and not _is_clearly_popular(index, best, certain):
        return unresolved
    others = [row for row in near if row != best.row]
    return Resolved(
        row=best.row,
        near=tuple(others[:_MAX_NEAR]),
        score=round(min(best.title, best.artist) if artist else best.title, 4),
    )


def _preferred(index: SearchIndex, certain: list[_Match], song: Named) -> _Match:
    """By likeness; between equals by genre, then by popularity, then the smaller row."""
    catalog = index.catalog
    popularity, terms = catalog.corpus.popularity, catalog.terms["genre"]
    genres = set(terms.lookup(text.split_terms(song.genre)).tolist())

    def worth(match: _Match) -> tuple[float, bool, float, int]:
        same_genre = bool(genres & set(terms.of(match.row).tolist()))
        return round(match.likeness, 2), same_genre, float(popularity[match.row]), -match.row

    return max(certain, key=worth)


def _is_clearly_popular(index: SearchIndex, best: _Match, certain: list[_Match]) -> bool:
    """Whether the best match is far more popular than any other song of that title."""
    popularity, same = index.catalog.corpus.popularity, index.catalog.same_song
    others = [float(popularity[m.row]) for m in certain if same[m.row] != same[best.row]]
    return float(popularity[best.row]) > _MIN_POPULARITY_RATIO * max(others, default=0.0)


def _is_certain(match: _Match, artist: str) -> bool:
    if artist:
        return match.title >= _MIN_TITLE and match.artist >= _MIN_ARTIST
    return match.title >= _MIN_TITLE_ALONE


def _likeness(one: str, other: str) -> float:
    """0..1 over letters taken apart; names of two letters or fewer must be equal."""
    if one == other:
        return 1.0
    if min(len(one), len(other)) <= 2:
        return 0.0
    return fuzz.ratio(text.jamo(one), text.jamo(other)) / 100


def _artist_likeness(one: str, other: str) -> float:
    """Like `_likeness`; a credit that holds the whole name ("Ado" in "Ado, 初音ミク") counts as theirs."""
    if len(one) >= 2 and len(other) >= 2 and (other.startswith(one) or one.startswith(other)):
        return 0.95 if one != other else 1.0
    if len(one) > 3 and sorted(one) == sorted(other):  # "Kenshi Yonezu", "Yonezu Kenshi"
        return 0.9
    return _likeness(one, other)
