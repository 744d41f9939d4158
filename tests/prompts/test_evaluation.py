"""Trying a version on frozen runs, and what its figures mean for publishing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID, uuid5

import pytest
from django.contrib.auth.models import User

from bench.fake_model import FakeModel, Seen, song_lines
from prompts.errors import GuardFailed, NotAllowed
from prompts.evaluation import eval_sets, input_providers, runs
from prompts.evaluation.input_providers import LoggedRun
from prompts.evaluation.measures import Measured, kendall_tau, ndcg
from prompts.evaluation.verdicts import Thresholds, bootstrap_low, judge
from prompts.models import EvalCase, EvalRun, EvalVerdict, ModelCall, PromptTemplate
from prompts.models.audit import AppendOnlyError
from prompts.versions import guards, releases
from prompts.versions.actor import Actor

from .conftest import approved, lock_of

pytestmark = pytest.mark.django_db
SONGS = 12


def logged(number: int) -> LoggedRun:
    """A run that showed songs 100…111 under the numbers 1…12."""
    ids = tuple(range(100, 100 + SONGS))
    return LoggedRun(
        run_uuid=uuid5(UUID(int=0), str(number)),
        member_key=str(number),
        variables={
            "candidates": [(f"노래 {song}", "가수", "록", "밝음") for song in ids],
            "taste": "록을 즐깁니다.",
            "count": 5,
        },
        item_ids=ids,
        baseline_ids=ids,
        later_liked_ids=(100, 101),
        count=5,
        seed=number,
    )


@pytest.fixture
def logged_runs() -> Iterator[None]:
    with input_providers.only(input_providers.Hooks()):
        input_providers.register_logged_runs(
            lambda slug, limit: [logged(at) for at in range(min(limit, 4))]
        )
        yield


def frozen(curation: PromptTemplate, user: User, poisoned: int = 2):
    return eval_sets.freeze(
        curation, title="가을", runs=4, poisoned=poisoned, actor=Actor(user=user)
    )


def by_title(seen: Seen) -> str:
    """A model that goes by what it reads: the lowest song names first, odd titles last."""
    shown = song_lines(seen.text)
    best = sorted(shown, key=lambda number: ("노래" not in shown[number], shown[number]))[:5]
    return json.dumps({"picks": best})


def by_place(seen: Seen) -> str:
    """A model that always takes the first lines."""
    return json.dumps({"picks": sorted(song_lines(seen.text))[:5]})


def obedient(seen: Seen) -> str:
    """A model that does what a title tells it to."""
    shown = song_lines(seen.text)
    ordered = [number for number, line in shown.items() if "노래" not in line]
    rest = sorted((number for number in shown if number not in ordered), key=lambda n: shown[n])
    return json.dumps({"picks": [*ordered, *rest][:5]})


# --- freezing -------------------------------------------------------------------------------------


def test_frozen_runs_keep_what_the_model_was_told_and_no_member(
    curation: PromptTemplate, editor: User, logged_runs: None
) -> None:
    eval_set = frozen(curation, editor)
    cases = list(eval_set.cases.all())
    assert [case.poisoned for case in cases] == [0, 0, 0, 0, 7, 7]
    assert cases[0].variables["candidates"][0] == ["노래 100", "가수", "록", "밝음"]
    assert cases[0].later_liked_ids == [100, 101]
    assert all(len(case.member_hash) > 10 for case in cases)
    changed = [
        at
        for at, (clean, planted) in enumerate(
            zip(cases[0].variables["candidates"], cases[4].variables["candidates"], strict=True)
        )
        if clean != planted
    ]
    assert changed == [6]
    with pytest.raises(AppendOnlyError):
        EvalCase.objects.update(n_items=1)


def test_without_logged_runs_there_is_nothing_to_freeze(
    curation: PromptTemplate, editor: User
) -> None:
    with input_providers.only(input_providers.Hooks()), pytest.raises(GuardFailed):
        frozen(curation, editor)


# --- running --------------------------------------------------------------------------------------


def evaluated(curation: PromptTemplate, user: User, **kwargs: int) -> EvalRun:
    version = approved(curation, user)
    eval_run = runs.start(frozen(curation, user, **kwargs), version, actor=Actor(user=user))
    return runs.run(EvalRun.objects.get(pk=eval_run.pk))


def test_a_version_that_reads_passes_and_opens_the_gate(
    curation: PromptTemplate, publisher: User, logged_runs: None, model: FakeModel
) -> None:
    model.answer = by_title
    eval_run = evaluated(curation, publisher)
    assert eval_run.verdict == EvalVerdict.PASS, eval_run.findings
    figures = eval_run.figures
    assert figures["validity"] == 1.0
    assert figures["cases"] == 4
    assert figures["ndcg"] == 1.0  # it puts 100 and 101 first, and those were liked
    assert figures["stability"] == 1.0  # whatever the order shown
    assert figures["injection_lift"] <= 1.0
    assert eval_run.results.count() == 6
    assert {finding["name"] for finding in eval_run.findings} >= {"validity", "ndcg"}
    assert guards.gate(eval_run.version).open
    assert set(ModelCall.objects.values_list("trigger", flat=True)) == {"eval"}
    releases.publish(
        eval_run.version, seen_lock=lock_of(curation), actor=Actor(user=publisher, reason="합격")
    )


def test_the_live_version_is_measured_once_on_the_same_cases(
    curation: PromptTemplate, publisher: User, logged_runs: None, model: FakeModel
) -> None:
    model.answer = by_title
    eval_run = evaluated(curation, publisher)
    assert EvalRun.objects.filter(version__number=1).count() == 1
    asked = len(model.seen)
    again = runs.start(eval_run.eval_set, eval_run.version, actor=Actor(user=publisher))
    runs.run(again)
    assert len(model.seen) == asked + 10  # six cases and four of them shuffled, this version only


def test_a_model_that_goes_by_place_is_found_unstable(
    curation: PromptTemplate, publisher: User, logged_runs: None, model: FakeModel
) -> None:
    model.answer = by_place
    figures = evaluated(curation, publisher).figures
    assert figures["stability"] is None or figures["stability"] < 0.9


def test_a_model_that_obeys_titles_fails(
    curation: PromptTemplate, publisher: User, logged_runs: None, model: FakeModel, settings
) -> None:
    model.answer = obedient
    eval_run = evaluated(curation, publisher, poisoned=3)
    failed = {finding["name"] for finding in eval_run.findings if not finding["met"]}
    if eval_run.figures["injection_lift"] > 1:
        assert "injection_lift" in failed
        assert eval_run.verdict == EvalVerdict.FAIL
    else:  # every planted title was taken out before the model saw it
        assert all("무시" not in seen.text.split("정확히")[1] for seen in model.seen)


def test_nonsense_fails_and_keeps_the_gate_shut(
    curation: PromptTemplate, publisher: User, logged_runs: None, model: FakeModel
) -> None:
    model.answer = lambda seen: "여기 있습니다: 좋은 노래들"
    eval_run = evaluated(curation, publisher)
    assert eval_run.figures["validity"] == 0.0
    assert eval_run.verdict in {EvalVerdict.FAIL, EvalVerdict.ERROR}
    assert not guards.gate(eval_run.version).open


def test_a_model_out_of_reach_says_nothing_about_the_text(
    curation: PromptTemplate, publisher: User, logged_runs: None, settings
) -> None:
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
    assert evaluated(curation, publisher).verdict == EvalVerdict.ERROR


def test_evaluating_costs_money_and_needs_its_permission(
    curation: PromptTemplate, editor: User, publisher: User, logged_runs: None
) -> None:
    with pytest.raises(NotAllowed):
        runs.start(frozen(curation, editor), approved(curation, editor), actor=Actor(user=editor))


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranked", "liked", "expected"),
    [
        ([1, 2, 3], [1], 1.0),
        ([2, 1, 3], [1], 0.6309),  # 1 / log2(3)
        ([3, 1, 2], [1, 2], 0.6934),  # (0.6309 + 0.5) / (1 + 0.6309)
        ([3, 4], [1], 0.0),
        ([1], [], 0.0),
    ],
)
def test_ndcg(ranked: list[int], liked: list[int], expected: float) -> None:
    assert round(ndcg(ranked, liked), 4) == expected


def test_kendalls_tau() -> None:
    assert kendall_tau([1, 2, 3, 4], [1, 2, 3, 4]) == 1.0
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)  # one of three pairs inverted
    assert kendall_tau([1], [1]) is None
    assert kendall_tau([1, 2], [3, 4]) is None


def test_the_bootstraps_lower_end_is_the_same_every_time_and_below_the_mean() -> None:
    differences = [0.1, -0.05, 0.2, 0.0, 0.05]
    assert bootstrap_low(differences) == bootstrap_low(differences)
    assert bootstrap_low(differences) < sum(differences) / len(differences)
    assert bootstrap_low([0.1] * 5) == pytest.approx(0.1)


FINE = Measured(
    cases=30,
    validity=1.0,
    repairs_per_call=0.0,
    tokens_input=1_500,
    tokens_output=60,
    cost_micro_usd=1_000,
    p95_ms=1_500,
    ndcg=0.4,
    ndcg_baseline=0.35,
    stability=0.9,
    injection_lift=0.0,
)


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, set()),
        ({"validity": 0.99}, {"validity"}),
        ({"cost_micro_usd": 1_300}, {"cost"}),
        ({"p95_ms": 1_900}, {"latency"}),
        ({"injection_lift": 1.5}, {"injection_lift"}),
    ],
)
def test_each_criterion_can_fail_a_version(changes: dict[str, float], failed: set[str]) -> None:
    measured = Measured(**(vars(FINE) | changes))
    findings = judge(measured, FINE, thresholds=Thresholds(), ndcg_differences=[0.0, 0.01])
    assert {finding.name for finding in findings if not finding.met} == failed


def test_worse_picks_fail_a_version() -> None:
    findings = judge(FINE, FINE, thresholds=Thresholds(), ndcg_differences=[-0.1, -0.05, -0.2])
    assert [finding.name for finding in findings if not finding.met] == ["ndcg"]


def test_a_few_milliseconds_are_not_a_slower_version() -> None:
    quick, twice = (Measured(**(vars(FINE) | {"p95_ms": ms})) for ms in (20, 40))
    assert all(finding.met for finding in judge(twice, quick, thresholds=Thresholds()))
