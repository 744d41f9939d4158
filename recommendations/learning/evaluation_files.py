"""Reads and writes the neutral files of `manage.py evaluate`: interactions.csv, songs.csv, rankings."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from engine.evaluation.world import Dataset
from engine.training.train_test_split import Interactions, TrainTestSplit
from infrastructure.time import SEOUL

COLUMNS = ("member_id", "song_id", "timestamp", "type", "weight", "session_id")
RANKING_COLUMNS = ("member_id", "song_id", "rank", "model")
#: Bounds of Unix seconds, within the years of the calendar; milliseconds are beyond them.
_MIN_S, _MAX_S = -62_000_000_000, 60_000_000_000


class DatasetInvalid(ValueError):
    """A file of a data set cannot be read; the text names file, line and remedy."""


@dataclass
class _Codes:
    """Numbers for names, in order of first appearance."""

    names: list[str] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> int:
        code = self.by_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code


class Reader:
    """Reads several files of interactions with the same numbers for the same names."""

    def __init__(self) -> None:
        self.members, self.songs, self.kinds, self.sessions = (_Codes() for _ in range(4))

    def interactions(self, path: Path) -> Interactions:
        """Raises DatasetInvalid, naming file and line, for what cannot be read."""
        rows = [self._row(path, line, row) for line, row in _lines(path, COLUMNS[:2])]
        if not rows:
            raise DatasetInvalid(f"{path}: no row below the header")
        columns = np.array(rows, np.float64).reshape(-1, len(COLUMNS)).T
        member, song, at, kind, weight, session = columns
        return Interactions(
            member=member.astype(np.int64),
            song=song.astype(np.int64),
            at=at,
            kind=kind.astype(np.int64),
            weight=weight,
            session=session.astype(np.int64),
        )

    def _row(self, path: Path, line: int, row: dict[str, str]) -> tuple[float, ...]:
        member, song = (row.get(name) or "" for name in COLUMNS[:2])
        if not member or not song:
            raise DatasetInvalid(f"{path}:{line}: member_id and song_id must not be empty")
        session = row.get("session_id") or ""
        try:
            return (
                self.members.of(member),
                self.songs.of(song),
                seconds(row.get("timestamp") or ""),
                self.kinds.of(row.get("type") or "play"),
                _number(row.get("weight") or "1"),
                self.sessions.of(session) if session else -1,
            )
        except ValueError as error:
            raise DatasetInvalid(f"{path}:{line}: {error}") from error

    def dataset(self, data: Interactions, songs: Path | None) -> Dataset:
        """`data` with the names read so far, and the columns of songs.csv, if there is one."""
        about: dict[str, dict[str, str]] = {}
        if songs is not None and songs.exists():
            rows = (row for _line, row in _lines(songs, ("song_id",)))
            about = {row["song_id"]: {k: v or "" for k, v in row.items() if k} for row in rows}
        return Dataset(
            data=data,
            members=self.members.names,
            songs=self.songs.names,
            kinds=self.kinds.names,
            sessions=self.sessions.names,
            about=about,
        )


def _lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and columns of each row. Raises DatasetInvalid where there is no such file or column."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in needed if name not in reader.fieldnames]
            if missing:
                raise DatasetInvalid(f"{path}:1: the header must name {', '.join(missing)}")
            for row in reader:
                line = reader.line_num
                yield line, row
    except OSError as error:
        raise DatasetInvalid(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetInvalid(f"{path}: not UTF-8 ({error.reason})") from error
    except csv.Error as error:
        raise DatasetInvalid(f"{path}:{line + 1}: {error}") from error


def seconds(text: str) -> float:
    """Unix seconds of an ISO-8601 time, of a number, or NaN for "". Raises ValueError."""
    if not text:
        return math.nan
    try:
        number = _unix_seconds(text)
    except ValueError:
        number = math.nan
    if not _MIN_S <= number <= _MAX_S:
        raise ValueError(f"timestamp {text!r}: expected ISO-8601 or Unix seconds")
    return number


def _unix_seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=SEOUL)).timestamp()


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"weight {text!r}: expected a number")
    return number


def write_split(folder: Path, dataset: Dataset, split: TrainTestSplit) -> None:
    """train.csv and test.csv in the form that --train and --test read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("train", split.train), ("test", split.test)):
        _write(folder / f"{name}.csv", COLUMNS, _named(dataset, data))


def _named(dataset: Dataset, data: Interactions) -> Iterable[tuple[Any, ...]]:
    columns = (data.member, data.song, data.at, data.kind, data.weight, data.session)
    for member, song, at, kind, weight, session in zip(*(c.tolist() for c in columns), strict=True):
        yield (
            dataset.members[member],
            dataset.songs[song],
            "" if math.isnan(at) else f"{at:.6f}".rstrip("0").rstrip("."),
            dataset.kinds[kind],
            f"{weight:g}",
            dataset.sessions[session] if session >= 0 else "",
        )


def write_rankings(path: Path, rankings: Sequence[tuple[str, str, str, int, str]]) -> None:
    """member_id, song_id, rank, model; and session_id last where lists belong to sessions."""
    with_session = any(session for _, session, _, _, _ in rankings)
    header = (*RANKING_COLUMNS, "session_id") if with_session else RANKING_COLUMNS
    rows = (
        (member, song, place, model, session)[: len(header)]
        for member, session, song, place, model in rankings
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, header, rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
