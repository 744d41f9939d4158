"""Measures the recommender on a data set: the product's own recipe against the usual baselines."""

from __future__ import annotations

import json
import time
from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engine.evaluation.protocol import evaluate, split_of
from engine.evaluation.questions import KNOWN_COUNTS, EvaluationPlan
from engine.evaluation.world import Dataset
from engine.training.train_test_split import Interactions, TrainTestSplit
from infrastructure.time import SEOUL
from recommendations.learning.evaluation_files import (
    DatasetInvalid,
    Reader,
    write_rankings,
    write_split,
)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: expected numbers like 10,20") from error
    if any(number < 1 for number in numbers):
        raise ArgumentTypeError(f"{text!r}: numbers must be 1 or more")
    return numbers


def _depths(text: str) -> tuple[int, ...]:
    depths = _numbers(text)
    if not depths:
        raise ArgumentTypeError("expected at least one number, like 10,20")
    return depths


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r}: expected 0 or a positive whole number")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 < share < 1:
        raise ArgumentTypeError(f"{text}: expected a share between 0 and 1, like 0.2")
    return share


def _day(text: str) -> float:
    """Unix seconds of the beginning of a day in Seoul."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=SEOUL).timestamp()
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: expected a date like 2026-05-15") from error


class Command(BaseCommand):
    help = (
        "Splits DIR/interactions.csv (member_id,song_id,timestamp,type,weight,session_id; the last "
        "four optional; DIR/songs.csv optional), trains the product and the baselines on one part, "
        "ranks all songs for every member of the other, and prints how good the lists are."
    )
    requires_system_checks = ()  # reads files only: no database, no Redis

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dir", nargs="?", type=Path, metavar="DIR")
        parser.add_argument(
            "--protocol", choices=("random", "temporal", "session"), default="random"
        )
        parser.add_argument("--k", type=_depths, default=(10, 20), help="depths, e.g. 10,20")
        parser.add_argument(
            "--min-interactions",
            type=int,
            default=1,
            help="members and songs with at least so many, repeated until stable",
        )
        parser.add_argument("--holdout", type=_share, default=0.2, help="share of test rows")
        parser.add_argument(
            "--train-until",
            type=_day,
            help="session: sessions that begin on this day (Asia/Seoul) or later are test",
        )
        parser.add_argument(
            "--test-until", type=_day, help="session: … unless they begin on this day or later"
        )
        parser.add_argument("--seed", type=_seed, default=0)
        parser.add_argument(
            "--known",
            type=_numbers,
            default=KNOWN_COUNTS,
            help="numbers of known items to report by; empty = skip that part",
        )
        parser.add_argument("--train", type=Path, help="a given split: the training rows")
        parser.add_argument("--test", type=Path, help="a given split: the test rows")
        parser.add_argument("--split-out", type=Path, help="write train.csv and test.csv there")
        parser.add_argument("--rankings-out", type=Path, help="write every list there, as CSV")
        parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options)
        except (DatasetInvalid, ValueError) as error:
            raise CommandError(str(error)) from error

    def _run(self, options: dict[str, Any]) -> None:
        plan = _plan(options)
        dataset, split = _read(options, plan)
        if options["split_out"]:
            write_split(options["split_out"], dataset, split)
        report = evaluate(dataset, split, plan, clock=time.perf_counter, tell=self._tell(options))
        if options["rankings_out"]:
            write_rankings(options["rankings_out"], report.rankings)
        if options["json"]:
            self.stdout.write(json.dumps(report.figures, ensure_ascii=False, indent=1))
        else:
            self.stdout.write("\n".join(_table(report.figures)))

    def _tell(self, options: dict[str, Any]) -> Any:
        """Progress goes to stderr, so that stdout is the result."""
        return self.stderr.write if options["verbosity"] > 0 else lambda text: None


def _plan(options: dict[str, Any]) -> EvaluationPlan:
    if options["protocol"] == "session" and not options["train"] and options["train_until"] is None:
        raise CommandError("--protocol session needs --train-until DATE (or --train and --test)")
    return EvaluationPlan(
        protocol=options["protocol"],
        ks=options["k"],
        holdout=options["holdout"],
        min_interactions=options["min_interactions"],
        seed=options["seed"],
        since=options["train_until"] or 0.0,
        until=options["test_until"],
        known_counts=options["known"],
    )


def _read(options: dict[str, Any], plan: EvaluationPlan) -> tuple[Dataset, TrainTestSplit]:
    folder, reader = options["dir"], Reader()
    songs = folder / "songs.csv" if folder else None
    if bool(options["train"]) != bool(options["test"]):
        raise CommandError("--train and --test go together")
    if options["train"]:
        train, test = (reader.interactions(options[part]) for part in ("train", "test"))
        data = Interactions.joined(train, test)
        return reader.dataset(data, songs), TrainTestSplit(train=train, test=test)
    if folder is None:
        raise CommandError("name a folder with interactions.csv, or --train FILE --test FILE")
    dataset = reader.dataset(reader.interactions(folder / "interactions.csv"), songs)
    return dataset, split_of(dataset, plan)


def _table(figures: dict[str, Any]) -> list[str]:
    """The figures for people."""
    facts = ("protocol", "seed", "songs", "members", "train_rows", "test_rows", "lists")
    lines = ["  ".join(f"{name} {figures[name]}" for name in facts)]
    lines += _block("", figures["models"], figures["intervals"])
    if "without_history" in figures:
        title = f"without history ({figures['lists_with_history']} lists have any)"
        lines += _block(title, figures["without_history"], {})
    for known, models in figures["by_known_items"].items():
        lines += _block(f"{known} known", models, {})
    return lines


def _block(
    title: str, models: dict[str, dict[str, float]], intervals: dict[str, dict[str, Any]]
) -> list[str]:
    names = [name for name in next(iter(models.values())) if name != "lists"]
    lines = ["", title] if title else [""]
    lines.append("model".ljust(20) + "".join(name.rjust(15) for name in names))
    for model, values in models.items():
        lines.append(model.ljust(20) + "".join(f"{values[name]:15.4f}" for name in names))
        spans = intervals.get(model)
        if spans:
            cells = (
                "{:.4f}–{:.4f}".format(*spans[name]) if name in spans else "" for name in names
            )
            lines.append(" 95 %".ljust(20) + "".join(cell.rjust(15) for cell in cells))
    return lines
