"""Asks the models, and turns their lists into figures and rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.arrays import Rows
from engine.evaluation import metrics
from engine.evaluation.baselines import Clock, Ranker, Tell
from engine.evaluation.questions import EvaluationPlan, EvaluationQuestion
from engine.evaluation.world import World


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The lists of one model, and the time they took."""

    lists: list[Rows]
    fit_seconds: float
    query_ms: float


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Figures, and the lists they come from."""

    figures: dict[str, Any]
    #: (member, session, song, rank from 1, model) with the names of the files; "" without session.
    rankings: list[tuple[str, str, str, int, str]]


def ask(
    models: Sequence[Ranker],
    questions: Sequence[EvaluationQuestion],
    depth: int,
    clock: Clock,
    tell: Tell,
) -> dict[str, Answers]:
    answers = {}
    for model in models:
        begun = clock()
        lists = model.lists(questions, depth)
        each = 1000 * (clock() - begun) / max(len(questions), 1)
        tell(f"asked {model.name} {len(questions)} times, {each:.1f} ms each")
        answers[model.name] = Answers(lists=lists, fit_seconds=model.fit_seconds, query_ms=each)
    return answers


def _hits(
    questions: Sequence[EvaluationQuestion], lists: Sequence[Rows], depth: int
) -> tuple[metrics.Hits, npt.NDArray[np.int64]]:
    hits = np.zeros((len(questions), depth), bool)
    for place, (question, found) in enumerate(zip(questions, lists, strict=True)):
        hits[place, : len(found)] = np.isin(found, question.wanted)
    return hits, np.array([question.n_wanted for question in questions], np.int64)


def accuracy(
    questions: Sequence[EvaluationQuestion], lists: Sequence[Rows], ks: Sequence[int]
) -> dict[str, metrics.Values]:
    """{metric@k: (questions,)}"""
    hits, wanted = _hits(questions, lists, max(ks))
    by_name = {"ndcg": metrics.ndcg, "recall": metrics.recall, "hit_rate": metrics.hit_rate}
    return {f"{name}@{k}": of(hits, wanted, k) for name, of in by_name.items() for k in ks}


def figures_of(
    world: World,
    questions: Sequence[EvaluationQuestion],
    answers: Mapping[str, Answers],
    plan: EvaluationPlan,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, tuple[float, float]]]]:
    """Means per model, and 95 % intervals of those that are means over lists."""
    figures, intervals = {}, {}
    for name, given in answers.items():
        values = accuracy(questions, given.lists, plan.ks)
        intervals[name] = {
            metric: metrics.interval(found, seed=plan.seed) for metric, found in values.items()
        }
        means = {metric: float(found.mean()) for metric, found in values.items()}
        figures[name] = {**means, **_beyond_accuracy(world, questions, given, plan)}
    return figures, intervals


def _beyond_accuracy(
    world: World, questions: Sequence[EvaluationQuestion], given: Answers, plan: EvaluationPlan
) -> dict[str, float]:
    """Figures beside accuracy: coverage, novelty, diversity, calibration, times."""
    lists, features, k = given.lists, world.corpus.features, max(plan.ks)
    liked = np.asarray(world.corpus.liked_binary.sum(axis=0), np.float32).ravel()
    known = [np.union1d(q.known, q.history).astype(np.int32) for q in questions]
    cover = {f"coverage@{k}": metrics.coverage(lists, world.catalog.n, k) for k in plan.ks}
    return {
        **cover,
        f"novelty@{k}": float(metrics.novelty(lists, liked, k).mean()),
        f"diversity@{k}": float(metrics.diversity(lists, features, k).mean()),
        f"calibration@{k}": float(metrics.calibration(lists, known, features, k).mean()),
        "fit_seconds": round(given.fit_seconds, 3),
        "query_ms": round(given.query_ms, 3),
    }


def mean_accuracy(
    models: Sequence[Ranker],
    questions: Sequence[EvaluationQuestion],
    plan: EvaluationPlan,
    clock: Clock,
    tell: Tell,
) -> dict[str, dict[str, float]]:
    answers = ask(models, questions, max(plan.ks), clock, tell)
    return {
        name: {m: float(v.mean()) for m, v in accuracy(questions, a.lists, plan.ks).items()}
        for name, a in answers.items()
    }


def rankings_of(
    world: World, questions: Sequence[EvaluationQuestion], answers: Mapping[str, Answers]
) -> list[tuple[str, str, str, int, str]]:
    code_of_row = np.empty(world.catalog.n, np.int64)
    held = np.flatnonzero(world.row_of >= 0)
    code_of_row[world.row_of[held]] = held
    names = world.dataset
    return [
        (
            names.members[question.member],
            names.sessions[question.session] if question.session >= 0 else "",
            names.songs[code],
            place,
            model,
        )
        for model, given in answers.items()
        for question, found in zip(questions, given.lists, strict=True)
        for place, code in enumerate(code_of_row[found].tolist(), start=1)
    ]
