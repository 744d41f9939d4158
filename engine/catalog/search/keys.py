"""Turns the names of songs into search keys: letters, romaji, sounds, pairs of letters, initial consonants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Array
from engine.catalog import text
from engine.catalog.catalog import Catalog


class FieldKind(Enum):
    """What a search field names."""

    TITLE = auto()
    ARTIST = auto()
    ANIME = auto()


@dataclass(frozen=True, kw_only=True)
class SearchField:
    """One name of a song that a query may mean."""

    name: str
    kind: FieldKind
    weight: float  #: of a hit in this field
    by_sound: bool = False  #: compared by `text.sound`: yonezu for 요네즈, レモン for Lemon
    is_column: bool = True  #: False: computed from columns of the catalog


def _title(name: str, weight: float, *, is_column: bool = True) -> SearchField:
    return SearchField(name=name, kind=FieldKind.TITLE, weight=weight, is_column=is_column)


def _sound_field(name: str, kind: FieldKind, weight: float) -> SearchField:
    return SearchField(name=name, kind=kind, weight=weight, by_sound=True, is_column=False)


#: In the order of the columns of `SearchIndex.song_keys`, which are stored: append only.
FIELDS = (
    _title("title_jp", 1.0),
    _title("title_kr", 1.0),
    _title("title_en", 1.0),
    _title("title_yomi", 0.98),
    _title("title_yomi_kr", 0.98),
    _title("title_en_kr", 0.98),
    _title("romaji", 0.96, is_column=False),
    SearchField(name="artist", kind=FieldKind.ARTIST, weight=0.95),
    SearchField(name="artist_kr", kind=FieldKind.ARTIST, weight=0.95),
    SearchField(name="anime", kind=FieldKind.ANIME, weight=0.85),
    _sound_field("title_sound", FieldKind.TITLE, 0.9),
    _sound_field("artist_sound", FieldKind.ARTIST, 0.88),
)
#: Shorter sounds belong to too many names.
MIN_SOUND_LENGTH = 3
#: Hangul columns that are searched by initial consonants.
_SPELLED = ("title_kr", "title_yomi_kr", "title_en_kr", "artist_kr", "anime")


def columns_of(kind: FieldKind) -> list[int]:
    """Columns of `SearchIndex.song_keys` that hold the spelled names of a kind."""
    return [
        place for place, field in enumerate(FIELDS) if field.kind is kind and not field.by_sound
    ]


def song_keys(catalog: Catalog) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Distinct keys in ascending order, and (n, fields) which song holds which."""
    columns = [field.name for field in FIELDS if field.is_column]
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
    keys_of_columns = coded[places.reshape(numbers.shape)]
    column: dict[str, Array] = {name: keys_of_columns[:, columns.index(name)] for name in columns}
    roman, spoken = _derived_numbers(romaji_of, number_of), _derived_numbers(sound_of, number_of)
    column["romaji"] = _first(roman, column["title_yomi"], column["title_jp"])
    column["title_sound"] = _first(
        spoken, column["title_kr"], column["title_yomi"], column["title_jp"]
    )
    column["artist_sound"] = _first(spoken, column["artist_kr"], column["artist"])
    return distinct, np.column_stack([column[field.name] for field in FIELDS]).astype(np.int32)


def _sounds_of(found: list[str], places: Array, columns: list[str]) -> dict[str, str]:
    """{key: its sound} of the titles and artists."""
    spoken = [
        columns.index(name)
        for name in ("title_kr", "title_yomi", "title_jp", "artist_kr", "artist")
    ]
    keys = list({found[place]: None for place in np.unique(places[:, spoken]).tolist()})
    sounds = zip(keys, text.sounds(keys), strict=bool(keys))
    return {key: sound for key, sound in sounds if len(sound) >= MIN_SOUND_LENGTH}


def _derived_numbers(derived: dict[str, str], number_of: dict[str, int]) -> npt.NDArray[np.int32]:
    """(keys,) number of the key derived from each key, 0 without one."""
    numbers = np.zeros(len(number_of), np.int32)
    numbers[[number_of[key] for key in derived]] = [number_of[value] for value in derived.values()]
    return numbers


def _first(derived: npt.NDArray[np.int32], *columns: Array) -> npt.NDArray[np.int32]:
    """(n,) the derived key of the first column that has one."""
    chosen = derived[columns[0]]
    for column in columns[1:]:
        chosen = np.where(chosen > 0, chosen, derived[column])
    return chosen


def songs_by_key(song_keys: npt.NDArray[np.int32], n_keys: int) -> csr_matrix:
    """(keys, n) 1 where the song holds the key; the empty key is held by none."""
    songs, places = np.nonzero(song_keys)
    held = song_keys[songs, places]
    ones = np.ones(len(held), np.int8)
    matrix = csr_matrix((ones, (held, songs)), shape=(n_keys, len(song_keys)))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def letter_pairs(keys: list[str]) -> tuple[npt.NDArray[np.uint64], csr_matrix]:
    """The distinct pairs of letters, and (keys, g) which key holds which."""
    letters = np.frombuffer(("\0" + "\0".join(keys) + "\0").encode("utf-32-le"), np.uint32)
    owner = np.cumsum(letters == 0) - 1
    inside = letters[1:] != 0
    pairs = (letters[:-1].astype(np.uint64) << np.uint64(21)) | letters[1:]
    grams, columns = np.unique(pairs[inside], return_inverse=True)
    ones = np.ones(len(columns), np.int8)
    rows = owner[:-1][inside]
    return grams, csr_matrix((ones, (rows, columns)), shape=(len(keys), len(grams)), dtype=np.int8)


def pairs_of(key: str) -> list[int]:
    """Codes of the pairs of letters of a key, its beginning included."""
    letters = [0, *map(ord, key)]
    return [(one << 21) | other for one, other in pairwise(letters)]


def song_initials(catalog: Catalog) -> tuple[npt.NDArray[np.uint8], Array]:
    """Initials of every song's Hangul names as "|…|…|", one byte each, and where each song begins."""
    columns: Array = np.stack([catalog.column(name) for name in _SPELLED], axis=1)
    used, places = np.unique(columns, return_inverse=True)
    packed = packed_initials(catalog.texts.many(used.tolist()))
    table: Array = places.reshape(columns.shape)
    lines = [
        b"|" + b"".join(packed[place] + b"|" for place in set(row.tolist()) if packed[place])
        for row in table
    ]
    ends = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    return np.frombuffer(b"".join(lines), np.uint8), ends


def packed_initials(names: Sequence[str]) -> list[bytes]:
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
