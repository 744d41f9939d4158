"""Reads a catalog file (CSV), checks its rows, and writes what they change in our tables."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, cast

from django.db import router, transaction
from django.utils import timezone

from catalog.models import Anime, Song

NUMBERS = ("tj_number", "ky_number")
TITLES = ("title_jp", "title_kr", "title_en")
TEXTS = (
    *TITLES,
    "title_en_kr",
    "title_yomi",
    "title_yomi_kr",
    "lang",
    "genre",
    "mood",
    "artist",
    "artist_kr",
)
REQUIRED = ("tj_number", "ky_number", "title_jp", "artist")
#: What the columns of the shared tables hold.
TEXT_MAX, ANIME_MAX = 255, 200
#: Karaoke numbers go into 32-bit fields of the app.
NUMBER_MAX = 2**31 - 1
#: Genre of songs that have none yet; it never replaces one set by hand.
GENRE_OF_CATEGORY = {"jpop": "J-pop", "anime": "애니송", "vocaloid": "보컬로이드"}
ANIME_TYPES = ("OP", "ED", "INSERT", "OST")
#: Words of a work note ("進撃の巨人 OP") that tell how the work uses the song.
ANIME_TYPE_WORDS = (
    ("OP", re.compile(r"\bOP\d*\b|オープニング|오프닝", re.I)),
    ("ED", re.compile(r"\bED\d*\b|エンディング|엔딩", re.I)),
    ("INSERT", re.compile(r"挿入歌|삽입곡", re.I)),
    ("OST", re.compile(r"OST|主題歌|テーマ|주제가", re.I)),
)
#: Prefix of the source of machine translations: they fill gaps and never replace a text.
MACHINE_SOURCE = "llm-"
PROGRESS_EVERY = 1_000
BATCH_ROWS = 500
WRITTEN = (*NUMBERS, *TEXTS, "anime_type", "anime", "modified_at")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Progress = Callable[[str], None]


class FileRefused(ValueError):
    """The file as a whole can't be read as a catalog."""


@dataclass(frozen=True, kw_only=True, order=True)
class RowError:
    """What is wrong with one row; `line` counts the header as 1, as an editor shows it."""

    line: int
    column: str
    problem: str

    def __str__(self) -> str:
        where = f", {self.column}" if self.column else ""
        return f"line {self.line}{where}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class SongRow:
    """One checked row."""

    line: int
    tj_number: int | None
    ky_number: int | None
    #: Column → text; an empty cell means "not known" and is left out.
    texts: dict[str, str]
    #: The same, but only good enough where the song has nothing yet.
    guesses: dict[str, str]
    anime: str
    added_at: datetime | None

    @property
    def name(self) -> tuple[str, str]:
        """What a song without a karaoke number is recognised by: exact title and artist."""
        title = next((self.texts[column] for column in TITLES if column in self.texts), "")
        return title, self.texts.get("artist", "")


@dataclass(kw_only=True)
class ImportPlan:
    """What a file changes."""

    new: list[Song] = field(default_factory=list)
    #: By song id: two rows of a file may speak of one song, once by each number.
    changed: dict[int, Song] = field(default_factory=dict)
    unchanged: int = 0
    animes: list[Anime] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


# --- From the file to checked rows ----------------------------------------------------------------
def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, cells) of a CSV file in UTF-8, gzipped if its name ends in .gz.

    Raises FileRefused with the remedy when the file can't be opened, decoded or split into columns.
    """
    line = 1
    try:
        with _open(path) as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(reader.fieldnames)
            line = reader.line_num + 1
            for cells in reader:
                yield line, cells
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise FileRefused(
            f"{path.name} is not UTF-8 (near line {line:,}). "
            "Save it as “CSV UTF-8”; spreadsheets often write CP949 or Shift-JIS."
        ) from error
    except csv.Error as error:
        raise FileRefused(
            f"{path.name}, line {line:,}: {error}. Is a quotation mark left open?"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileRefused(f"{path.name} is not a whole gzip file: {error}.") from error
    except OSError as error:
        raise FileRefused(f"{path} can't be read: {error.strerror or error}.") from error


def _open(path: Path) -> TextIO:
    # utf-8-sig: spreadsheets begin their UTF-8 with a byte order mark.
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _check_header(names: Sequence[str] | None) -> None:
    if not names:
        raise FileRefused(f"The file is empty. It needs a header with: {', '.join(REQUIRED)}.")
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise FileRefused(
            f"Missing columns: {', '.join(missing)}. The header has: {', '.join(names)[:500]}."
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise FileRefused(f"The header names a column twice: {', '.join(twice)}.")


def check_rows(
    rows: Iterable[tuple[int, dict[str, Any]]], *, say: Progress
) -> tuple[list[SongRow], list[RowError]]:
    """Check every row; the errors of all rows come back, not only the first."""
    good: list[SongRow] = []
    errors: list[RowError] = []
    first_seen: dict[tuple[str, Any], int] = {}
    count = 0
    for line, cells in rows:
        count += 1
        check = _RowCheck(line, cells)
        row = check.row()
        # A row that is wrong anyway has no key to compare.
        problems = check.errors or _repeats(row, first_seen)
        errors += problems
        if not problems:
            good.append(row)
        if count % PROGRESS_EVERY == 0:
            say(f"  {count:,} rows checked")
    if not count:
        raise FileRefused("The file has a header but no rows.")
    return good, errors


class _RowCheck:
    """Turns one row's cells into a SongRow and collects everything that is wrong with it."""

    def __init__(self, line: int, cells: dict[Any, Any]) -> None:
        self.line = line
        self.errors: list[RowError] = []
        surplus = cells.pop(None, ())  # where csv puts cells beyond the header
        if surplus:
            self._wrong("", f"{len(surplus)} cells too many; put cells with commas in quotes")
        short = [name for name, value in cells.items() if value is None]
        if short:
            self._wrong("", f"the row ends before column {short[0]}")
        self.texts = {name: (value or "").strip() for name, value in cells.items()}

    def row(self) -> SongRow:
        anime = self.texts.get("anime_kr") or self.texts.get("anime") or ""
        self._check_texts(anime)
        return SongRow(
            line=self.line,
            tj_number=self._number("tj_number"),
            ky_number=self._number("ky_number"),
            texts=_certain(self.texts, anime),
            guesses=_guesses(self.texts),
            anime=anime,
            added_at=self._day("tj_publish_date"),
        )

    def _wrong(self, column: str, problem: str) -> None:
        self.errors.append(RowError(line=self.line, column=column, problem=problem))

    def _check_texts(self, anime: str) -> None:
        limits = [(name, self.texts.get(name, ""), TEXT_MAX) for name in TEXTS]
        for name, text, most in [*limits, ("anime", anime, ANIME_MAX)]:
            if len(text) > most:
                self._wrong(name, f"{len(text)} characters; at most {most} fit")
            if CONTROL.search(text):
                self._wrong(name, "holds a control character (a pasted line break or tab?)")
        if not any(self.texts.get(name) for name in TITLES):
            self._wrong("title_jp", "a song needs a title")
        kind = self.texts.get("anime_type", "")
        if kind not in ("", *ANIME_TYPES):
            self._wrong("anime_type", f"{kind[:40]!r}: use {', '.join(ANIME_TYPES)} or nothing")

    def _number(self, column: str) -> int | None:
        text = self.texts.get(column, "")
        if not text:
            return None
        # int() alone would also take "1_000" and full-width digits.
        if re.fullmatch(r"[0-9]{1,10}", text) and 0 < int(text) <= NUMBER_MAX:
            return int(text)
        self._wrong(column, f"{text[:40]!r} is not a karaoke number (digits, above 0, or empty)")
        return None

    def _day(self, column: str) -> datetime | None:
        text = self.texts.get(column, "")
        if not text:
            return None
        try:
            return timezone.make_aware(datetime.fromisoformat(text))
        except ValueError:
            self._wrong(column, f"{text[:40]!r} is not a date (YYYY-MM-DD)")
            return None


def _certain(texts: Mapping[str, str], anime: str) -> dict[str, str]:
    certain = {name: texts[name] for name in TEXTS if texts.get(name)}
    if texts.get("title_kr_source", "").startswith(MACHINE_SOURCE):
        certain.pop("title_kr", None)
    kind = texts.get("anime_type", "")
    if anime and not kind:
        note = f"{texts.get('media_context_jp', '')} {texts.get('media_context_kr', '')}"
        kind = next((kind for kind, words in ANIME_TYPE_WORDS if words.search(note)), "")
    return certain | ({"anime_type": kind} if kind else {})


def _guesses(texts: Mapping[str, str]) -> dict[str, str]:
    guesses = {"lang": "ja", "genre": GENRE_OF_CATEGORY.get(texts.get("category", ""), "")}
    if texts.get("title_kr_source", "").startswith(MACHINE_SOURCE):
        guesses["title_kr"] = texts.get("title_kr", "")
    return {name: value for name, value in guesses.items() if value}


def _repeats(row: SongRow, first_seen: dict[tuple[str, Any], int]) -> list[RowError]:
    """Errors for keys that an earlier row of the file already has."""
    keys = [(name, getattr(row, name)) for name in NUMBERS if getattr(row, name)]
    keys = keys or [("title and artist", row.name)]
    errors = []
    for key in keys:
        first = first_seen.setdefault(key, row.line)
        if first != row.line:
            problem = f"{key[1]} already stands in line {first}"
            errors.append(RowError(line=row.line, column=key[0], problem=problem))
    return errors


# --- From checked rows to changes -----------------------------------------------------------------
def plan_changes(rows: Sequence[SongRow], *, now: datetime) -> ImportPlan:
    """Compare with the songs that are there: by TJ number, then KY number, then title and artist."""
    planner = _ImportPlanner(now=now)
    for row in rows:
        planner.add(row)
    return planner.plan


class _ImportPlanner:
    """Finds each row's song and records what the row changes about it."""

    def __init__(self, *, now: datetime) -> None:
        self.now = now
        self.animes = {anime.title: anime for anime in Anime.objects.all()}
        self.songs: dict[tuple[str, Any], Song] = {}
        self.plan = ImportPlan()
        for song in Song.objects.all():
            self._remember(song)

    def add(self, row: SongRow) -> None:
        try:
            song = self._song_of(row)
        except _TwoSongs as two:
            self.plan.errors.append(RowError(line=row.line, column="ky_number", problem=str(two)))
            return
        if song is None:
            self.plan.new.append(self._filled(Song(created_at=row.added_at or self.now), row))
        elif self._differs(song, row):
            self.plan.changed[song.pk] = self._filled(song, row)
        else:
            self.plan.unchanged += 1

    def _remember(self, song: Song) -> None:
        numbers = [(name, getattr(song, name)) for name in NUMBERS if getattr(song, name)]
        title = song.title_jp or song.title_kr or song.title_en
        for key in numbers or [("name", (title, song.artist))]:
            self.songs.setdefault(key, song)

    def _song_of(self, row: SongRow) -> Song | None:
        by_tj = self.songs.get(("tj_number", row.tj_number))
        by_ky = self.songs.get(("ky_number", row.ky_number))
        if by_tj is not None and by_ky is not None and by_tj is not by_ky:
            raise _TwoSongs(f"belongs to song {by_ky.pk}, but the TJ number to song {by_tj.pk}")
        if row.tj_number or row.ky_number:
            return by_tj or by_ky
        return self.songs.get(("name", row.name))

    def _changes(self, song: Song, row: SongRow) -> dict[str, Any]:
        """Column → value. An empty cell never erases, a guess never replaces."""
        known = {name: getattr(row, name) for name in NUMBERS if getattr(row, name)} | row.texts
        gaps = {name: value for name, value in row.guesses.items() if not getattr(song, name)}
        wanted = gaps | known
        return {name: value for name, value in wanted.items() if getattr(song, name) != value}

    def _differs(self, song: Song, row: SongRow) -> bool:
        anime = self.animes.get(row.anime)
        other_anime = row.anime and (anime is None or anime.pk is None or anime.pk != song.anime_id)
        return bool(other_anime or self._changes(song, row))

    def _filled(self, song: Song, row: SongRow) -> Song:
        for name, value in self._changes(song, row).items():
            setattr(song, name, value)
        if row.anime:
            if row.anime not in self.animes:
                anime = Anime(title=row.anime, created_at=self.now, modified_at=self.now)
                self.animes[row.anime] = anime
                self.plan.animes.append(anime)
            song.anime = self.animes[row.anime]
        song.modified_at = self.now
        return song


class _TwoSongs(ValueError):
    """The two numbers of one row belong to two songs."""


def write(plan: ImportPlan, *, say: Progress) -> None:
    """Write a plan: all of it or nothing."""
    changed = list(plan.changed.values())
    total = len(plan.new) + len(changed)
    with transaction.atomic(using=router.db_for_write(Song)):
        # One by one: MySQL hands back no ids for rows written in bulk, and songs need them.
        for anime in plan.animes:
            anime.save()
        for song in (*plan.new, *changed):
            if song.anime is not None:
                song.anime_id = song.anime.pk
        for start in range(0, len(plan.new), BATCH_ROWS):
            Song.objects.bulk_create(plan.new[start : start + BATCH_ROWS])
            say(f"  {min(start + BATCH_ROWS, len(plan.new)):,} / {total:,} written")
        for start in range(0, len(changed), BATCH_ROWS):
            batch = changed[start : start + BATCH_ROWS]
            Song.objects.bulk_update(batch, WRITTEN)
            say(f"  {len(plan.new) + start + len(batch):,} / {total:,} written")
