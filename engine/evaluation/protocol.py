"""Measures the product's recipe against the usual baselines, on the same split.

What is measured is `engine.ranking.recommend.rank`, the path of a request: signals become known
songs, the blend scores every song, filters and shaping follow. Only labelled exploration is left out,
and songs of the given part are excluded as a caller would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.arrays import places_by_code
from engine.evaluation.baselines import PRODUCT, Clock, Ranker, Tell, fit_models
from engine.evaluation.questions import (
    EvaluationPlan,
    EvaluationQuestion,
    member_question,
    member_questions,
    session_questions,
    without_past,
)
from engine.evaluation.report import (
    EvaluationReport,
    ask,
    figures_of,
    mean_accuracy,
    rankings_of,
)
from engine.evaluation.world import Dataset, World, build_world, is_positive
from engine.training.train_test_split import (
    MIN_SITTING_SONGS,
    Interactions,
    TrainTestSplit,
    random_split,
    session_split,
    temporal_split,
    with_min_partners,
)

#: Share of members left out of a second training, for questions with few known songs.
_COLD_SHARE = 0.1
_MIN_COLD_MEMBERS, _MAX_COLD_MEMBERS = 30, 500
#: Few such members are asked repeatedly, with other songs known, up to so many lists.
_TARGET_COLD_LISTS, _MAX_ROUNDS = 500, 10


def split_of(dataset: Dataset, plan: EvaluationPlan) -> TrainTestSplit:
    """Filter, then split as the plan requires; songs a member disliked are dropped from the test."""
    data = with_min_partners(dataset.data, plan.min_interactions)
    if plan.protocol == "session":
        return session_split(data, since=plan.since, until=plan.until)
    if plan.protocol == "random":
        split = random_split(data, holdout=plan.holdout, seed=plan.seed)
    elif plan.protocol == "temporal":
        split = temporal_split(data, holdout=plan.holdout)
    else:
        raise ValueError(f"protocol {plan.protocol!r} is not random, temporal or session")
    return replace(split, test=split.test[is_positive(dataset, split.test)])


def evaluate(
    dataset: Dataset,
    split: TrainTestSplit,
    plan: EvaluationPlan,
    *,
    clock: Clock,
    tell: Tell = lambda text: None,
) -> EvaluationReport:
    """Fit every model on the training part and ask all of them the same questions."""
    in_sittings = plan.protocol == "session"
    if not len(split.train):
        raise ValueError("the training part is empty: there is nothing to learn from")
    world = build_world(dataset, split, with_test_songs=not in_sittings, sessions=in_sittings)
    questions = session_questions(world, split) if in_sittings else member_questions(world, split)
    if not questions:
        raise ValueError(_no_questions_error(split, in_sittings))
    models = fit_models(world, plan, clock, tell)
    figures: dict[str, Any] = _size_figures(plan, world, split, len(questions))
    answers = ask(models, questions, max(plan.ks), clock, tell)
    figures["models"], figures["intervals"] = figures_of(world, questions, answers, plan)
    if in_sittings:
        cold_members = [without_past(question) for question in questions]
        figures["lists_with_history"] = sum(len(question.history) > 0 for question in questions)
        figures["without_history"] = mean_accuracy(models, cold_members, plan, clock, tell)
    figures["by_known_items"] = _by_known(
        dataset, split, world, models, questions, plan, clock, tell
    )
    return EvaluationReport(figures=figures, rankings=rankings_of(world, questions, answers))


def _no_questions_error(split: TrainTestSplit, in_sittings: bool) -> str:
    rows = f"{len(split.train)} training rows, {len(split.test)} test rows"
    if in_sittings:
        return f"nothing to ask about: no test session has {MIN_SITTING_SONGS} songs ({rows})"
    return f"nothing to ask about: no member has rows in both parts ({rows})"


def _size_figures(
    plan: EvaluationPlan, world: World, split: TrainTestSplit, questions: int
) -> dict[str, Any]:
    return {
        "protocol": plan.protocol,
        "seed": plan.seed,
        "songs": world.catalog.n,
        "members": len(np.unique(split.train.member)),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "lists": questions,
    }


def _by_known(
    dataset: Dataset,
    split: TrainTestSplit,
    world: World,
    models: Sequence[Ranker],
    questions: Sequence[EvaluationQuestion],
    plan: EvaluationPlan,
    clock: Clock,
    tell: Tell,
) -> dict[str, dict[str, dict[str, float]]]:
    """By how many songs are known of members (or sittings) that training never saw."""
    if not plan.known_counts:
        return {}
    if plan.protocol == "session":
        return {
            str(count): mean_accuracy(models, asked, plan, clock, tell)
            for count in plan.known_counts
            if (asked := [without_past(q, count) for q in questions if len(q.known) >= count])
        }
    return _by_known_of_cold_members(dataset, split, plan, clock, tell)


def _by_known_of_cold_members(
    dataset: Dataset, split: TrainTestSplit, plan: EvaluationPlan, clock: Clock, tell: Tell
) -> dict[str, dict[str, dict[str, float]]]:
    """Train again without a tenth of the members, and ask about those with a few known songs."""
    everything = Interactions.joined(split.train, split.test)
    random = np.random.default_rng(plan.seed)
    members, pairs = np.unique(
        np.unique(np.stack([everything.member, everything.song]), axis=1)[0], return_counts=True
    )
    able = members[pairs > min(plan.known_counts)]
    sample = int(np.clip(len(members) * _COLD_SHARE, _MIN_COLD_MEMBERS, _MAX_COLD_MEMBERS))
    cold_members = random.permutation(able)[: min(sample, len(able) // 2)]
    held_out = everything[np.isin(everything.member, cold_members)]
    rest = TrainTestSplit(
        train=split.train[~np.isin(split.train.member, cold_members)],
        test=held_out[is_positive(dataset, held_out)],
    )
    if not len(cold_members) or not len(rest.train):
        return {}
    world = build_world(dataset, rest, with_test_songs=True, sessions=False)
    models = fit_models(world, plan, clock, tell)
    figures = {}
    for count in plan.known_counts:
        questions = _cold_questions(world, rest.test, count, random)
        if questions:
            figures[str(count)] = mean_accuracy(models, questions, plan, clock, tell)
            figures[str(count)][PRODUCT]["lists"] = len(questions)
    return figures


def _cold_questions(
    world: World, held_out: Interactions, count: int, random: np.random.Generator
) -> list[EvaluationQuestion]:
    """One question per held out member with more than `count` songs: so many known, the others to find.

    Few members are asked repeatedly, with other songs known.
    """
    able = [held_out[places] for places in places_by_code(held_out.member).values()]
    able = [mine for mine in able if len(np.unique(mine.song)) > count]
    times = min(-(-_TARGET_COLD_LISTS // max(len(able), 1)), _MAX_ROUNDS)
    questions = []
    for mine in able * times:
        known = np.isin(mine.song, random.permutation(np.unique(mine.song))[:count])
        questions.append(member_question(world, mine[known], mine[~known]))
    return questions
