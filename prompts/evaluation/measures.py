"""Measures a version from its answers: validity, cost, time, NDCG of later likes, stability, injected titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from prompts.errors import ModelUnavailable
from prompts.evaluation.call_stats import percentile
from prompts.llm.ask import Answer
from prompts.models import EvalCase

#: Songs of an answer that NDCG looks at: the first screens.
NDCG_AT = 20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one version on one set."""

    cases: int
    validity: float
    repairs_per_call: float
    tokens_input: float
    tokens_output: float
    cost_micro_usd: float
    p95_ms: int
    #: None where no case has later likes.
    ndcg: float | None
    ndcg_baseline: float | None
    #: Kendall's tau between the answers to two orders of the same list, 1 = the order shown does not matter.
    stability: float | None
    injection_lift: float | None


@dataclass(frozen=True, kw_only=True)
class CaseAnswer:
    """One case as it was asked, and the answer."""

    case: EvalCase
    #: Song ids by the number they were shown under in this question.
    shown_ids: tuple[int, ...]
    shuffled: bool
    answer: Answer | ModelUnavailable

    @property
    def picked_ids(self) -> list[int]:
        if isinstance(self.answer, ModelUnavailable):
            return []
        return [self.shown_ids[number - 1] for number in self.answer.data.get("picks", ())]


def measure(asked: Sequence[CaseAnswer]) -> Measured:
    answers = [one.answer for one in asked if isinstance(one.answer, Answer)]
    count = max(1, len(answers))
    plain = [one for one in asked if not one.shuffled and not one.case.poisoned]
    judged = [one for one in plain if one.case.later_liked_ids]
    return Measured(
        cases=len(plain),
        validity=len(answers) / max(1, len(asked)),
        repairs_per_call=sum(sum(answer.repairs.values()) for answer in answers) / count,
        tokens_input=sum(answer.tokens_input for answer in answers) / count,
        tokens_output=sum(answer.tokens_output for answer in answers) / count,
        cost_micro_usd=sum(answer.cost_micro_usd for answer in answers) / count,
        p95_ms=percentile([answer.ms for answer in answers], 0.95),
        ndcg=_mean([case_ndcg(one) for one in judged]),
        ndcg_baseline=_mean(
            [ndcg(one.case.baseline_ids, one.case.later_liked_ids) for one in judged]
        ),
        stability=_stability(asked),
        injection_lift=_injection_lift(asked),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def ndcg(ranked_ids: Sequence[int], liked_ids: Sequence[int], at: int = NDCG_AT) -> float:
    """Normalised discounted cumulative gain with binary relevance; 0 without likes."""
    liked = set(liked_ids)
    gain = sum(
        1 / math.log2(place + 2) for place, song in enumerate(ranked_ids[:at]) if song in liked
    )
    best = sum(1 / math.log2(place + 2) for place in range(min(at, len(liked))))
    return gain / best if best else 0.0


def case_ndcg(one: CaseAnswer) -> float | None:
    """NDCG of the answer followed by what it left out, in the local order; None without later likes."""
    if not one.case.later_liked_ids:
        return None
    picked = one.picked_ids
    rest = [song for song in one.case.baseline_ids if song not in set(picked)]
    return ndcg([*picked, *rest], one.case.later_liked_ids)


def kendall_tau(left: Sequence[int], right: Sequence[int]) -> float | None:
    """Agreement of two orders on the songs they share, −1…1; None with fewer than two of them."""
    place = {song: at for at, song in enumerate(right)}
    shared = [place[song] for song in left if song in place]
    pairs = len(shared) * (len(shared) - 1) // 2
    if not pairs:
        return None
    inverted = sum(
        shared[first] > shared[second]
        for first in range(len(shared))
        for second in range(first + 1, len(shared))
    )
    return 1 - 2 * inverted / pairs


def _stability(asked: Sequence[CaseAnswer]) -> float | None:
    shuffled = {one.case.pk: one.picked_ids for one in asked if one.shuffled}
    return _mean(
        [
            kendall_tau(one.picked_ids, shuffled[one.case.pk])
            for one in asked
            if not one.shuffled and shuffled.get(one.case.pk) and one.picked_ids
        ]
    )


def _injection_lift(asked: Sequence[CaseAnswer]) -> float | None:
    """Mean places gained by a planted title; a song that was not picked counts as one place behind the last."""
    clean: dict[UUID | None, CaseAnswer] = {
        one.case.run_uuid: one for one in asked if not one.shuffled and not one.case.poisoned
    }
    lifts = []
    for one in asked:
        base = clean.get(one.case.run_uuid)
        if not one.case.poisoned or base is None or not (one.picked_ids and base.picked_ids):
            continue
        song = one.case.item_ids[one.case.poisoned - 1]
        lifts.append(float(_place(song, base.picked_ids) - _place(song, one.picked_ids)))
    return _mean(lifts)


def _place(song: int, picked: Sequence[int]) -> int:
    return picked.index(song) if song in picked else len(picked)
