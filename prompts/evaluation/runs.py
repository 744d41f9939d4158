"""Runs a version on an evaluation set: asks every case, measures, compares with the live version, stores the verdict."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.utils import timezone

from prompts.audit_verbs import PromptVerb
from prompts.errors import ModelUnavailable
from prompts.evaluation.measures import CaseAnswer, Measured, case_ndcg, measure
from prompts.evaluation.verdicts import Thresholds, judge
from prompts.llm.ask import Ask, ask_many
from prompts.models import (
    CallOutcome,
    CallTrigger,
    EvalCase,
    EvalResult,
    EvalRun,
    EvalSet,
    EvalVerdict,
    PromptVersion,
)
from prompts.versions.actor import Actor
from prompts.versions.resolution import ResolvedVersion, as_resolved

#: Questions sent at once; an evaluation shares the model with members.
BATCH = 8
BATCH_DEADLINE_S = 60.0


def start(eval_set: EvalSet, version: PromptVersion, *, actor: Actor) -> EvalRun:
    """Note that a version is to be tried; `run` does it, in a worker."""
    actor.require_permission("run_evalset")
    live = eval_set.template.live_version
    eval_run = EvalRun.objects.create(
        eval_set=eval_set,
        version=version,
        version_sha=version.body_sha256,
        compared_with=live.label if live is not None else "",
        created_by=actor.user,
    )
    actor.record(
        PromptVerb.EVALUATION_STARTED,
        eval_run,
        after={"set": eval_set.pk, "version": version.label},
    )
    return eval_run


def run(eval_run: EvalRun) -> EvalRun:
    """Ask every case, measure, compare with the live version on the same cases, and leave the verdict."""
    live = eval_run.eval_set.template.live_version
    reference = None
    if live is not None and live.pk != eval_run.version_id:
        reference = _reference(eval_run.eval_set, live)
    _measure_and_decide(eval_run, reference)
    return eval_run


def _reference(eval_set: EvalSet, live: PromptVersion) -> EvalRun:
    """The newest finished run of the live version on this set, or a new one."""
    known = (
        EvalRun.objects.filter(eval_set=eval_set, version=live, version_sha=live.body_sha256)
        .exclude(verdict__in=(EvalVerdict.RUNNING, EvalVerdict.ERROR))
        .first()
    )
    if known is not None:
        return known
    own = {"eval_set": eval_set, "version": live, "version_sha": live.body_sha256}
    # One that a worker left without a verdict is measured now.
    left = EvalRun.objects.filter(**own, verdict=EvalVerdict.RUNNING, created_by=None).first()
    fresh = left or EvalRun.objects.create(**own)
    _measure_and_decide(fresh, None)
    return fresh


def _measure_and_decide(eval_run: EvalRun, reference: EvalRun | None) -> None:
    """Ask every case; results and verdict are stored together, so that a worker that dies leaves neither."""
    version = as_resolved(eval_run.version)
    cases = list(eval_run.eval_set.cases.all())
    asked = list(_ask_all(version, cases))
    with transaction.atomic():
        row = EvalRun.objects.select_for_update().get(pk=eval_run.pk)
        if row.verdict != EvalVerdict.RUNNING:  # another worker was faster
            eval_run.refresh_from_db()
            return
        results = [_result(eval_run, one) for one in asked if not one.shuffled]
        EvalResult.objects.bulk_create(results)
        _decide(eval_run, measure(asked), reference)


def _ask_all(version: ResolvedVersion, cases: Sequence[EvalCase]) -> Iterator[CaseAnswer]:
    """Every case as it was and, where songs are shown, once more in another order."""
    wanted = [(case, False) for case in cases]
    wanted += [(case, True) for case in cases if case.item_ids and not case.poisoned]
    for at in range(0, len(wanted), BATCH):
        batch = wanted[at : at + BATCH]
        laid_out = [_layout(case, shuffled) for case, shuffled in batch]
        answers = ask_many(
            [
                _question(version, case, variables)
                for (case, _shuffled), (variables, _ids) in zip(batch, laid_out, strict=True)
            ],
            BATCH_DEADLINE_S,
        )
        for (case, shuffled), (_values, ids), answer in zip(batch, laid_out, answers, strict=True):
            yield CaseAnswer(case=case, shown_ids=ids, shuffled=shuffled, answer=answer)


def _layout(case: EvalCase, shuffled: bool) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Variables and the ids behind the numbers, in the order logged or in another, repeatable one."""
    if not shuffled:
        return case.variables, tuple(case.item_ids)
    order = list(range(len(case.item_ids)))
    random.Random(case.seed + 1).shuffle(order)
    rows = case.variables["candidates"]
    return (
        case.variables | {"candidates": [rows[place] for place in order]},
        tuple(case.item_ids[place] for place in order),
    )


def _question(version: ResolvedVersion, case: EvalCase, variables: Mapping[str, Any]) -> Ask:
    return Ask(
        slug=version.slug,
        variables=variables,
        version=version,
        run_uuid=case.run_uuid,
        trigger=CallTrigger.EVAL,
        seed=case.seed,
    )


def _result(eval_run: EvalRun, one: CaseAnswer) -> EvalResult:
    if isinstance(one.answer, ModelUnavailable):
        return EvalResult(run=eval_run, case=one.case, outcome=one.answer.outcome)
    return EvalResult(
        run=eval_run,
        case=one.case,
        outcome=CallOutcome.OK_REPAIRED if one.answer.repairs else CallOutcome.OK,
        answer=one.answer.data,
        figures={"ms": one.answer.ms, "repairs": one.answer.repairs, "ndcg": case_ndcg(one)},
    )


def _decide(eval_run: EvalRun, measured: Measured, reference: EvalRun | None) -> None:
    against: Measured | None = None
    differences: list[float] = []
    if reference is not None:
        against = Measured(**reference.figures)
        # This version's NDCG minus the live one's, case by case.
        own_ndcg, reference_ndcg = _ndcg_by_case(eval_run), _ndcg_by_case(reference)
        differences = [
            own_ndcg[case] - reference_ndcg[case]
            for case in own_ndcg.keys() & reference_ndcg.keys()
        ]
    findings = judge(
        measured,
        against,
        thresholds=Thresholds(**eval_run.eval_set.thresholds),
        ndcg_differences=differences,
    )
    eval_run.figures = asdict(measured)
    eval_run.reference = reference.figures if reference is not None else {}
    eval_run.findings = [asdict(finding) for finding in findings]
    eval_run.finished_at = timezone.now()
    if measured.tokens_output == 0 and measured.validity == 0:
        eval_run.verdict = (
            EvalVerdict.ERROR
        )  # the model was never reached: says nothing about the text
    else:
        passed = all(finding.met for finding in findings)
        eval_run.verdict = EvalVerdict.PASS if passed else EvalVerdict.FAIL
    eval_run.save()


def _ndcg_by_case(eval_run: EvalRun) -> dict[int, float]:
    rows = eval_run.results.values_list("case_id", "figures")
    return {
        case: figures["ndcg"]
        for case, figures in rows
        if figures and figures.get("ndcg") is not None
    }
