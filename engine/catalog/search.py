"""Decides which songs a piece of typed text means, in whatever script and with slips."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz
from scipy.sparse import csr_matrix

from engine.catalog import text
from engine.catalog.catalog import Catalog, CatalogDamaged, Texts, load_array
from engine.catalog.fuzzy_budget import FuzzyBudget
from engine.scoring.scorers import Rows

Array = npt.NDArray[Any]

FORMAT = 2
#: Columns a query may mean, and how much a hit there counts.
_FIELDS: tuple[tuple[str, float], ...] = (
    ("title_jp", 1.0),
    ("title_kr", 1.0),
    ("title_en", 1.0),
    ("title_yomi", 0.98),
    ("title_yomi_kr", 0.98),
    ("title_en_kr", 0.98),
    ("romaji", 0.96),
    ("artist", 0.95),
    ("artist_kr", 0.95),
    ("anime", 0.85),
    ("title_sound", 0.9),  # `text.sound`: yonezu for 요네즈, レモン for Lemon
    ("artist_sound", 0.88),
)
_MADE = ("romaji", "title_sound", "artist_sound")  # not columns of the catalog
_SOUNDS = 10  # the fields from here on are compared by sound
#: A sound of fewer letters is shared by too much.
_LEAST_SOUND = 3
_TITLES = 7  # the first so many fields
_ARTISTS = (7, 8)
#: Hangul columns that are searched by initial consonants.
_SPELLED = ("title_kr", "title_yomi_kr", "title_en_kr", "artist_kr", "anime")
#: Songs looked at closely. More cost time, fewer lose a typo in a common word.
_LOOKED_AT = 80
_LEAST_SCORE = 0.55
#: Hits of initial consonants looked at: a few letters fit thousands of songs.
_MOST_INITIALS = 2000
#: Popularity decides between equal hits and never outweighs a better one.
_POPULARITY = 0.03
#: A part of the query common to more songs than this share narrows nothing down.
_TOO_COMMON = 0.2

_MACHINES = {"tj": "tj", "태진": "tj", "ky": "ky", "금영": "ky"}
_NUMBER = re.compile(rf"(?P<machine>{'|'.join(_MACHINES)})?[\s.:#-]*(?P<number>[0-9]{{1,9}}) ?번?")

#: Similarity of title and artist from which a song is the one that was named.
_TITLE_SURE = 0.86
_ARTIST_SURE = 0.75
#: Without an artist the title must be all but exact …
_TITLE_ALONE = 0.93
#: … and, where several songs carry it, one of them liked so many times more than the next.
_CLEARLY_KNOWN = 3.0
_NEAR = 5
#: What resembles a title less than this is not worth asking back about.
_NEAR_TITLE = 0.6


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
    """What a named song was found to be."""

    row: int | None  #: None: nothing is surely meant.
    near: tuple[int, ...] = ()  #: rows that come closest, best first, without `row`
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SearchIndex:
    """Keys of all names, the pairs of letters in them, and which songs hold those."""

    catalog: Catalog = field(repr=False)
    keys: Texts  #: distinct `text.match_key`s in ascending order
    song_keys: npt.NDArray[np.int32]  #: (n, fields) numbers into `keys`
    key_ptr: Array  #: songs of key i: key_songs[key_ptr[i]:key_ptr[i + 1]]
    key_songs: Rows
    grams: npt.NDArray[np.uint64]  #: (g,) ascending: two letters of a key, or 0 and its first one
    gram_ptr: Array
    gram_songs: Rows
    initials: npt.NDArray[np.uint8]  #: initial consonants of all songs, one byte each
    initials_ends: Array  #: (n + 1,)

    @classmethod
    def build(cls, catalog: Catalog) -> SearchIndex:
        keys, song_keys = _keys(catalog)
        songs_by_key = _incidence(song_keys, len(keys))
        grams, key_grams = _grams(keys)
        by_gram = (songs_by_key.T @ key_grams).T.tocsr()
        packed, ends = _initials(catalog)
        return cls(
            catalog=catalog,
            keys=Texts.pack(keys),
            song_keys=song_keys,
            key_ptr=songs_by_key.indptr,
            key_songs=songs_by_key.indices,
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
        directory.mkdir(parents=True, exist_ok=True)
        arrays = self._arrays()
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array, allow_pickle=False)
        shapes = {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()}
        manifest = {"format": FORMAT, "songs": self.catalog.songs_version, "arrays": shapes}
        (directory / "manifest.json").write_text(json.dumps(manifest), "utf-8")

    @classmethod
    def load(cls, directory: Path, catalog: Catalog, *, mmap: bool = True) -> SearchIndex:
        """Map what `save` wrote. Raises CatalogDamaged unless it is whole and of the same songs.

        An index of the same songs serves a catalog with newer likes (`Catalog.with_behaviour`).
        """
        try:
            manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
            if (manifest["format"], manifest["songs"]) != (FORMAT, catalog.songs_version):
                raise CatalogDamaged(f"{directory}: of another format or catalog; build it anew")
            arrays = {
                name: load_array(directory / f"{name}.npy", shape, dtype, mmap=mmap)
                for name, (shape, dtype) in manifest["arrays"].items()
            }
            keys = Texts(arrays.pop("keys_blob"), arrays.pop("keys_ends"))
            return cls(catalog=catalog, keys=keys, **arrays)
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, CatalogDamaged):
                raise
            raise CatalogDamaged(f"{directory}: {error}") from error

    def _arrays(self) -> dict[str, Array]:
        names = ("song_keys", "key_ptr", "key_songs", "grams", "gram_ptr", "gram_songs")
        arrays: dict[str, Array] = {name: getattr(self, name) for name in names}
        arrays |= {"initials": self.initials, "initials_ends": self.initials_ends}
        return arrays | {"keys_blob": self.keys.blob, "keys_ends": self.keys.ends}

    # --- searching ---------------------------------------------------------------------------

    def search(self, query: str, limit: int = 20) -> list[tuple[int, float]]:
        """(row, 0..1) of active songs, best first; nothing where nothing comes close.

        Understands every title and artist column, karaoke numbers, initial consonants ("ㅇㄴㅈ"), several
        words in any order ("요네즈 lemon"), and slips.
        """
        words = [key for word in text.fold(query).split() if (key := text.match_key(word))]
        if not words or not self.catalog.n or limit < 1:
            return []
        if text.is_initials(query.strip()):
            found = self._by_initials(query)
        else:
            found = self._by_text(words, max(_LOOKED_AT, 2 * limit))
            found |= dict.fromkeys(self._by_number(query), 1.0)
        rank = self.catalog.popularity_rank
        best = sorted(found, key=lambda row: (-found[row] - _POPULARITY * float(rank[row]), row))
        active = [row for row in best if self.catalog.active[row]]
        return [(row, round(found[row], 4)) for row in active[:limit]]

    def _by_number(self, query: str) -> list[int]:
        """Rows with that karaoke number: "28873", "TJ 28873", "금영 44266번"."""
        said = _NUMBER.fullmatch(text.fold(query))
        number = int(said["number"]) if said else 0
        if not said or not number:
            return []
        machine = _MACHINES.get(said["machine"] or "")
        found = [
            numbers == number
            for name, numbers in (("tj", self.catalog.tj_numbers), ("ky", self.catalog.ky_numbers))
            if machine in (None, name)
        ]
        return np.flatnonzero(np.logical_or.reduce(found)).tolist()

    def _by_text(self, words: list[str], looked_at: int) -> dict[int, float]:
        wanted = _Wanted.of(words)
        rows = self._alike("".join(words), [*words, *wanted.sounds], looked_at)
        scored = ((row, wanted.score(self._keys_of(row))) for row in rows)
        return {row: score for row, score in scored if score >= _LEAST_SCORE}

    def _alike(self, whole: str, words: Iterable[str], wanted: int) -> list[int]:
        """Rows that share the rarest pairs of letters, the most alike first."""
        shared = np.zeros(self.catalog.n, np.float32)
        for lists in self._postings({*_pairs(whole), *(p for word in words for p in _pairs(word))}):
            rarity = np.float32(np.log1p(self.catalog.n / len(lists)))
            shared[lists] += rarity
        if len(whole) == 1:
            self._add_single(whole, shared)
        hit = np.flatnonzero(shared)
        strength = shared[hit] * (1 + _POPULARITY * self.catalog.popularity_rank[hit])
        if len(hit) > wanted:
            best = np.argpartition(strength, len(hit) - wanted)[-wanted:]
            hit, strength = hit[best], strength[best]
        return [int(row) for row in hit[np.argsort(-strength, kind="stable")]]

    def _postings(self, pairs: set[int]) -> list[Rows]:
        """Songs of each pair that exists; pairs nearly every song has are left out if others remain."""
        codes = np.array(sorted(pairs), np.uint64)
        place = np.searchsorted(self.grams, codes).clip(max=max(len(self.grams) - 1, 0))
        if not len(self.grams):
            return []
        found = place[self.grams[place] == codes]
        lists = [self.gram_songs[self.gram_ptr[p] : self.gram_ptr[p + 1]] for p in found.tolist()]
        lists = [songs for songs in lists if len(songs)]  # a name no song is searched by
        rare = [songs for songs in lists if len(songs) <= _TOO_COMMON * self.catalog.n]
        return rare or lists

    def _add_single(self, letter: str, shared: npt.NDArray[np.float32]) -> None:
        """One letter alone: the pairs that begin with it."""
        low = np.searchsorted(self.grams, np.uint64(ord(letter) << 21))
        high = np.searchsorted(self.grams, np.uint64((ord(letter) + 1) << 21))
        shared[self.gram_songs[self.gram_ptr[low] : self.gram_ptr[high]]] += 1

    def _keys_of(self, row: int) -> list[str]:
        return [self.keys[number] for number in self.song_keys[row].tolist()]

    def _by_initials(self, query: str) -> dict[int, float]:
        """Songs of which a Hangul name holds these initials in a row; whole names first."""
        blob = self.initials.tobytes()
        whole = _packed_initials([query])[0]
        found = self._holding(blob, whole)
        parts = _packed_initials(query.split())
        if not found and len(parts) > 1:
            hits = [self._holding(blob, part) for part in parts]
            found = {row: 0.9 * hits[0][row] for row in set.intersection(*map(set, hits))}
        return found

    def _holding(self, blob: bytes, wanted: bytes) -> dict[int, float]:
        """{row: 1.0 for a whole name, .95 for its beginning, .85 for a part}"""
        found: dict[int, float] = {}
        if len(wanted) == 1:  # one letter alone: only names that begin with it
            return dict.fromkeys(self._beginning(blob, b"|" + wanted), 0.95)
        place = blob.find(wanted)
        while place >= 0 and len(found) < _MOST_INITIALS:
            row = int(np.searchsorted(self.initials_ends, place, side="right")) - 1
            starts = blob[place - 1 : place] == b"|"
            ends = blob[place + len(wanted) : place + len(wanted) + 1] == b"|"
            score = 1.0 if starts and ends else 0.95 if starts else 0.85
            found[row] = max(found.get(row, 0.0), score)
            place = blob.find(wanted, place + 1)
        return found

    def _beginning(self, blob: bytes, wanted: bytes) -> list[int]:
        places: list[int] = []
        place = blob.find(wanted)
        while place >= 0 and len(places) < _MOST_INITIALS:
            places.append(place)
            place = blob.find(wanted, place + 1)
        rows: list[int] = (np.searchsorted(self.initials_ends, places, side="right") - 1).tolist()
        return rows

    # --- naming ------------------------------------------------------------------------------

    def resolve(
        self, named: Sequence[Named], *, budget: FuzzyBudget | None = None
    ) -> list[Resolved]:
        """What each named song is, in their order. Unsure is None with what comes near, never a guess.

        budget: an exact name takes nothing from it; of the others the shortest take first, and those it does
        not cover are not found.
        """
        budget = budget or FuzzyBudget()
        shortest_first = sorted(
            range(len(named)), key=lambda place: len(named[place].title) + len(named[place].artist)
        )
        found = {place: self._resolved(named[place], budget) for place in shortest_first}
        return [found[place] for place in range(len(named))]

    def _resolved(self, song: Named, budget: FuzzyBudget) -> Resolved:
        titles = {text.match_key(song.title), text.match_key(text.song_title(song.title))} - {""}
        if not titles or not self.catalog.n:
            return Resolved(row=None)
        artist = text.match_key((text.split_artists(song.artist) or [""])[0])
        rows = self._exact(titles)
        if not rows and budget.take([*titles, artist]):
            rows = self._alike(min(titles, key=len), [*titles, artist], _LOOKED_AT)
        scored = [
            (self._title_score(row, titles), self._artist_score(row, artist), row) for row in rows
        ]
        sure = [hit for hit in scored if _is_sure(hit, artist)]
        if not sure and artist and budget.take([*titles, artist]):
            # The title may be written in another script than the catalog's: the artist's songs decide.
            sure = [hit for hit in self._of_artist(titles, artist) if _is_sure(hit, artist)]
        return self._decided(sure, scored, song, artist)

    def _exact(self, titles: set[str]) -> list[int]:
        rows: list[int] = []
        for key in titles:
            number = bisect_left(range(len(self.keys)), key, key=self.keys.__getitem__)
            if number < len(self.keys) and self.keys[number] == key:
                rows += self.key_songs[self.key_ptr[number] : self.key_ptr[number + 1]].tolist()
        return list(dict.fromkeys(rows))

    def _of_artist(self, titles: set[str], artist: str) -> list[tuple[float, float, int]]:
        rows = self._alike(artist, [artist, *titles], _LOOKED_AT)
        return [
            (self._title_score(row, titles), self._artist_score(row, artist), row) for row in rows
        ]

    def _title_score(self, row: int, titles: set[str]) -> float:
        keys = {self.keys[number] for number in self.song_keys[row, :_TITLES].tolist()} - {""}
        return max((_likeness(title, key) for title in titles for key in keys), default=0.0)

    def _artist_score(self, row: int, artist: str) -> float:
        if not artist:
            return 0.0
        keys = {self.keys[int(self.song_keys[row, place])] for place in _ARTISTS} - {""}
        return max((_artist_likeness(artist, key) for key in keys), default=0.0)

    def _decided(
        self,
        sure: list[tuple[float, float, int]],
        scored: list[tuple[float, float, int]],
        song: Named,
        artist: str,
    ) -> Resolved:
        """The best sure one; without an artist only when no other song could be meant as well."""
        by_worth = sorted(scored, key=lambda hit: (-(hit[0] + hit[1]), hit[2]))
        near = [row for title, _, row in by_worth if title >= _NEAR_TITLE][: _NEAR + 1]
        if not sure:
            return Resolved(row=None, near=tuple(near[:_NEAR]))
        best = self._preferred(sure, song)
        meant = self.catalog.same_song[[row for _, _, row in sure]]
        if not artist and len(np.unique(meant)) > 1 and not self._clearly_known(best, sure):
            return Resolved(row=None, near=tuple(near[:_NEAR]))
        others = [row for row in near if row != best[2]]
        return Resolved(
            row=best[2],
            near=tuple(others[:_NEAR]),
            score=round(min(best[:2]) if artist else best[0], 4),
        )

    def _preferred(
        self, sure: list[tuple[float, float, int]], song: Named
    ) -> tuple[float, float, int]:
        """By likeness; between equals by genre, then by popularity, then the older row."""
        popularity = self.catalog.corpus.popularity
        genres = set(self.catalog.terms["genre"].lookup(text.split_terms(song.genre)).tolist())

        def worth(hit: tuple[float, float, int]) -> tuple[float, bool, float, int]:
            row = hit[2]
            same_genre = bool(genres & set(self.catalog.terms["genre"].of(row).tolist()))
            return (round(hit[0] + hit[1], 2), same_genre, float(popularity[row]), -row)

        return max(sure, key=worth)

    def _clearly_known(
        self, best: tuple[float, float, int], sure: list[tuple[float, float, int]]
    ) -> bool:
        popularity, same = self.catalog.corpus.popularity, self.catalog.same_song
        others = [float(popularity[r]) for _, _, r in sure if same[r] != same[best[2]]]
        return float(popularity[best[2]]) > _CLEARLY_KNOWN * max(others, default=0.0)


def _is_sure(hit: tuple[float, float, int], artist: str) -> bool:
    title, by, _ = hit
    return (title >= _TITLE_SURE and by >= _ARTIST_SURE) if artist else title >= _TITLE_ALONE


def _likeness(one: str, other: str) -> float:
    """0..1 over letters taken apart; short names must agree exactly, one slip is another word there."""
    if one == other:
        return 1.0
    if min(len(one), len(other)) <= 2:
        return 0.0
    return fuzz.ratio(text.jamo(one), text.jamo(other)) / 100


def _artist_likeness(one: str, other: str) -> float:
    """Like `_likeness`; a credit that holds the whole name ("Ado" in "Ado, 初音ミク") counts as his."""
    if len(one) >= 2 and len(other) >= 2 and (other.startswith(one) or one.startswith(other)):
        return 0.95 if one != other else 1.0
    if len(one) > 3 and sorted(one) == sorted(other):  # "Kenshi Yonezu", "Yonezu Kenshi"
        return 0.9
    return _likeness(one, other)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A query in the forms it is compared in."""

    whole: str
    whole_jamo: str
    whole_sound: str
    words: tuple[
        tuple[str, str, str], ...
    ]  #: (key, jamo, sound) of each word, when there are several

    @classmethod
    def of(cls, words: list[str]) -> _Wanted:
        whole = "".join(words)
        several = tuple((word, text.jamo(word), _sound(word)) for word in words)
        return cls(
            whole=whole,
            whole_jamo=text.jamo(whole),
            whole_sound=_sound(whole),
            words=several if len(words) > 1 else (),
        )

    @property
    def sounds(self) -> list[str]:
        return [sound for sound in (self.whole_sound, *(word[2] for word in self.words)) if sound]

    def score(self, keys: list[str]) -> float:
        """0..1 how well the names of one song answer the query."""
        forms = [
            (key, key if place >= _SOUNDS else text.jamo(key), weight, place >= _SOUNDS)
            for place, (key, (_, weight)) in enumerate(zip(keys, _FIELDS, strict=True))
            if key
        ]
        best = _best(self.whole, self.whole_jamo, self.whole_sound, forms)
        if not self.words or best >= 0.95:
            return best
        per_word = [_best(word, jamo, sound, forms) for word, jamo, sound in self.words]
        return max(best, 0.98 * sum(per_word) / len(per_word))


def _best(wanted: str, jamo: str, sound: str, forms: list[tuple[str, str, float, bool]]) -> float:
    """The best of the names, each compared as it is kept: by letters or by sound."""
    return max(
        (
            weight
            * (_hit(sound, sound, key, taken) if by_sound else _hit(wanted, jamo, key, taken))
            for key, taken, weight, by_sound in forms
            if sound or not by_sound
        ),
        default=0.0,
    )


def _sound(key: str) -> str:
    """The sound of a key that is long enough to be told by it."""
    sound = text.sound(key)
    return sound if len(sound) >= _LEAST_SOUND else ""


def _hit(wanted: str, wanted_jamo: str, key: str, key_jamo: str) -> float:
    """1 = the name itself; its beginning, a part of it, and likeness come after."""
    if wanted == key:
        return 1.0
    covered = len(wanted) / len(key)
    if key_jamo.startswith(wanted_jamo):
        return 0.85 + 0.1 * min(covered, 1.0)
    if len(wanted) > 1 and wanted in key:
        return 0.75 + 0.1 * covered
    return 0.9 * fuzz.ratio(wanted_jamo, key_jamo, score_cutoff=50) / 100


def _keys(catalog: Catalog) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Distinct keys in ascending order, and (n, fields) which song holds which."""
    columns = [name for name, _ in _FIELDS if name not in _MADE]
    numbers = np.stack([catalog.column(name) for name in columns], axis=1)
    used, places = np.unique(numbers, return_inverse=True)
    found = text.match_keys(catalog.texts.many(used.tolist()))
    # Romaji comes from the kana reading; a title in kana only is its own reading.
    kana = list(dict.fromkeys(filter(text.is_kana, found)))
    romaji_of = dict(zip(kana, text.romaji("\n".join(kana)).split("\n"), strict=bool(kana)))
    sound_of = _sounds_of(found, places.reshape(numbers.shape), columns)
    distinct = sorted({"", *found, *romaji_of.values(), *sound_of.values()})
    number_of = {key: number for number, key in enumerate(distinct)}
    coded = np.array([number_of[key] for key in found], np.int32)
    song_keys = coded[places.reshape(numbers.shape)]
    column = {name: song_keys[:, columns.index(name)] for name in columns}
    roman, spoken = _table(romaji_of, number_of), _table(sound_of, number_of)
    spelled = _first(roman, column["title_yomi"], column["title_jp"])
    titles = _first(spoken, column["title_kr"], column["title_yomi"], column["title_jp"])
    artists = _first(spoken, column["artist_kr"], column["artist"])
    keys = np.insert(song_keys, _TITLES - 1, spelled, axis=1)
    return distinct, np.column_stack([keys, titles, artists]).astype(np.int32)


def _sounds_of(found: list[str], places: Array, columns: list[str]) -> dict[str, str]:
    """{key: its sound} of the names that are found by it."""
    spoken = [
        columns.index(name)
        for name in ("title_kr", "title_yomi", "title_jp", "artist_kr", "artist")
    ]
    keys = list({found[place]: None for place in np.unique(places[:, spoken]).tolist()})
    made = zip(keys, text.sounds(keys), strict=bool(keys))
    return {key: sound for key, sound in made if len(sound) >= _LEAST_SOUND}


def _table(made: dict[str, str], number_of: dict[str, int]) -> npt.NDArray[np.int32]:
    """(keys,) number of what was made of each key, 0 where nothing was."""
    numbers = np.zeros(len(number_of), np.int32)
    numbers[[number_of[key] for key in made]] = [number_of[value] for value in made.values()]
    return numbers


def _first(made: npt.NDArray[np.int32], *columns: Array) -> npt.NDArray[np.int32]:
    """(n,) what was made of the first column that anything was made of."""
    chosen = made[columns[0]]
    for column in columns[1:]:
        chosen = np.where(chosen > 0, chosen, made[column])
    return chosen


def _incidence(song_keys: npt.NDArray[np.int32], n_keys: int) -> csr_matrix:
    """(keys, n) 1 where the song holds the key; the empty key is held by none."""
    songs, places = np.nonzero(song_keys)
    held = song_keys[songs, places]
    ones = np.ones(len(held), np.int8)
    matrix = csr_matrix((ones, (held, songs)), shape=(n_keys, len(song_keys)))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _grams(keys: list[str]) -> tuple[npt.NDArray[np.uint64], csr_matrix]:
    """The distinct pairs of letters, and (keys, g) which key holds which."""
    letters = np.frombuffer(("\0" + "\0".join(keys) + "\0").encode("utf-32-le"), np.uint32)
    owner = np.cumsum(letters == 0) - 1
    inside = letters[1:] != 0
    pairs = (letters[:-1].astype(np.uint64) << np.uint64(21)) | letters[1:]
    grams, columns = np.unique(pairs[inside], return_inverse=True)
    ones = np.ones(len(columns), np.int8)
    rows = owner[:-1][inside]
    return grams, csr_matrix((ones, (rows, columns)), shape=(len(keys), len(grams)), dtype=np.int8)


def _pairs(key: str) -> list[int]:
    """Codes of the pairs of letters of a key, its beginning included."""
    letters = [0, *map(ord, key)]
    return [(one << 21) | other for one, other in pairwise(letters)]


def _initials(catalog: Catalog) -> tuple[npt.NDArray[np.uint8], Array]:
    """Initials of every song's Hangul names as "|…|…|", one byte each, and where each song begins."""
    columns: Array = np.stack([catalog.column(name) for name in _SPELLED], axis=1)
    used, places = np.unique(columns, return_inverse=True)
    packed = _packed_initials(catalog.texts.many(used.tolist()))
    table: Array = places.reshape(columns.shape)
    lines = [
        b"|" + b"".join(packed[place] + b"|" for place in set(row.tolist()) if packed[place])
        for row in table
    ]
    ends = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    return np.frombuffer(b"".join(lines), np.uint8), ends


def _packed_initials(names: Sequence[str]) -> list[bytes]:
    """`text.initials` of many names, one byte a letter."""
    joined = "\n".join(name.replace("\n", " ") for name in names)
    letters = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.int64)
    packed = np.zeros(len(letters), np.uint8)
    packed[letters == ord("\n")] = ord("\n")
    syllable = (letters >= 0xAC00) & (letters <= 0xD7A3)
    packed[syllable] = _INITIAL_BYTES[(letters[syllable] - 0xAC00) // 588]
    alone = np.isin(letters, _INITIAL_CODES)
    packed[alone] = _INITIAL_BYTES[np.searchsorted(_INITIAL_CODES, letters[alone])]
    return packed[packed > 0].tobytes().split(b"\n")


#: Initial consonants as code points, in ascending order like `text.INITIALS`.
_INITIAL_CODES = np.array([ord(letter) for letter in text.INITIALS], np.int64)
#: Bytes from 128 on: never the "|" between names. Doubled consonants are packed as the plain ones.
_INITIAL_BYTES = np.array(
    [128 + text.INITIALS.index(text.initials(letter)) for letter in text.INITIALS], np.uint8
)
