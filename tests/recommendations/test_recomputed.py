"""Every figure of `manage.py evaluate` can be computed again from the files it writes.

Nothing of the engine is used here: plain Python over train.csv, test.csv and the lists.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

Row = dict[str, str]
DAY_S = 86_400
FIRST_DAY_S = 1_767_225_600  # 2026-01-01T00:00:00Z
MEMBERS, SITTINGS, SONGS_OF_A_SITTING = 25, 100, 8
#: The first sittings of day 80 and later are test; they hold songs that nobody sang before.
TEST_BEGINS, FIRST_TEST_DAY = "2026-03-22", 80
KS = (5, 10, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dated sittings of members of two tastes; songs come back, late ones are new to everybody."""
    folder = tmp_path_factory.mktemp("sung")
    draw = random.Random(4)
    with (folder / "interactions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("member_id", "song_id", "timestamp", "type", "weight", "session_id"))
        for day in range(SITTINGS):
            member = day % MEMBERS
            songs = [f"{'ab'[member % 2]}{n}" for n in draw.sample(range(30), SONGS_OF_A_SITTING)]
            songs[3] = songs[0]  # twice in one sitting
            if day >= FIRST_TEST_DAY:
                songs[-1] = f"new {day}"
            for place, song in enumerate(songs):
                at = FIRST_DAY_S + day * DAY_S + 240 * place
                writer.writerow((f"m, {member}", song, at, "sang", 1, f"evening {day}"))
    return folder


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("random", ("--seed", "3")),
        ("temporal", ("--holdout", "0.15")),
        ("session", ("--train-until", TEST_BEGINS)),
    ],
)
def test_every_figure_follows_from_the_split_and_the_lists(
    folder: Path, tmp_path: Path, protocol: str, options: tuple[str, ...]
) -> None:
    figures = _evaluated(folder, tmp_path, "--protocol", protocol, *options)
    train, test = (_read(tmp_path / f"{part}.csv") for part in ("train", "test"))
    questions = _sittings(test) if protocol == "session" else _members(train, test)
    listed = _lists(_read(tmp_path / "lists.csv"))
    # In sittings only what training saw is a candidate; elsewhere the songs of both parts are.
    songs = len(_songs(train) if protocol == "session" else _songs(train) | _songs(test))
    assert figures["lists"] == len(questions) > 0
    assert figures["songs"] == songs
    for model, told in figures["models"].items():
        again = _recomputed(questions, listed[model], songs)
        assert {name: told[name] for name in again} == pytest.approx(again), model


@pytest.mark.parametrize("protocol", ["random", "temporal"])
def test_no_song_is_in_both_parts_of_a_member_and_none_is_listed_again(
    folder: Path, tmp_path: Path, protocol: str
) -> None:
    _evaluated(folder, tmp_path, "--protocol", protocol)
    train, test, lists = (_read(tmp_path / f"{part}.csv") for part in ("train", "test", "lists"))
    known = _pairs(train)
    assert not known & _pairs(test)
    assert not known & _pairs(lists)


def _evaluated(folder: Path, out: Path, *options: str) -> dict[str, Any]:
    """The figures; train.csv, test.csv and lists.csv are left in `out`."""
    files = ("--split-out", str(out), "--rankings-out", str(out / "lists.csv"))
    depths = ("--k", ",".join(map(str, KS)), "--known", "")
    printed = io.StringIO()
    arguments = (str(folder), "--json", *depths, *files, *options)
    call_command("evaluate", *arguments, stdout=printed, stderr=io.StringIO())
    return dict(json.loads(printed.getvalue()))


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _songs(rows: Iterable[Row]) -> set[str]:
    return {row["song_id"] for row in rows}


def _pairs(rows: Iterable[Row]) -> set[tuple[str, str]]:
    return {(row["member_id"], row["song_id"]) for row in rows}


def _members(train: list[Row], test: list[Row]) -> dict[str, set[str]]:
    """{member: songs to be found}, of those that training knows."""
    wanted = defaultdict(set)
    for member, song in _pairs(test):
        wanted[member].add(song)
    known = {row["member_id"] for row in train}
    return {member: songs for member, songs in wanted.items() if member in known}


def _sittings(test: list[Row]) -> dict[str, set[str]]:
    """{session: the second half of its songs}, of sessions with at least six."""
    order = defaultdict(list)
    for row in sorted(test, key=lambda row: float(row["timestamp"])):
        if row["song_id"] not in order[row["session_id"]]:
            order[row["session_id"]].append(row["song_id"])
    long = {session: songs for session, songs in order.items() if len(songs) >= 6}
    return {session: set(songs[len(songs) // 2 :]) for session, songs in long.items()}


def _lists(rows: list[Row]) -> dict[str, dict[str, list[str]]]:
    """{model: {member, or session where there are sessions: songs, best first}}"""
    listed: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: int(row["rank"])):
        listed[row["model"]][row.get("session_id", row["member_id"])].append(row["song_id"])
    return listed


def _recomputed(
    questions: Mapping[str, set[str]], lists: Mapping[str, list[str]], songs: int
) -> dict[str, float]:
    figures = {}
    for k in KS:
        tops = {who: lists[who][:k] for who in questions}
        hits = {who: [song in questions[who] for song in top] for who, top in tops.items()}
        found = {who: min(k, len(wanted)) for who, wanted in questions.items()}
        figures |= {
            f"ndcg@{k}": _mean(_gain(hits[who]) / _gain([True] * found[who]) for who in questions),
            f"recall@{k}": _mean(sum(hits[who]) / found[who] for who in questions),
            f"hit_rate@{k}": _mean(any(hits[who]) for who in questions),
            f"coverage@{k}": len({song for top in tops.values() for song in top}) / songs,
        }
    return figures


def _gain(hits: list[bool]) -> float:
    return sum(hit / math.log2(place + 1) for place, hit in enumerate(hits, start=1))


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)
