"""Giving a candidate to some members first: who gets it, what its figures say, and what stops it by itself."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from prompts.errors import GuardFailed, StaleEdit
from prompts.evaluation import call_stats, input_providers
from prompts.evaluation.call_stats import Figures, percentile, wilson
from prompts.models import (
    ModelCall,
    PromptTemplate,
    PromptVersion,
    Release,
    Rollout,
    RolloutState,
)
from prompts.models.versions import default_guardrails
from prompts.versions import releases, resolution, rollout_moves, rollouts
from prompts.versions.actor import Actor
from prompts.versions.resolution import bucket_of, resolve
from prompts.versions.rollouts import breaches, judge

from .conftest import approved, live_of, lock_of

MEMBERS = [str(number) for number in range(2_000)]


def start(version: PromptVersion, user: User, **options: object) -> Rollout:
    return rollout_moves.start_rollout(
        version,
        seen_lock=lock_of(version.template),
        actor=Actor(user=user, reason="조금씩"),
        **options,  # type: ignore[arg-type]
    )


def actor_of(user: User) -> Actor:
    return Actor(user=user, reason="다음")


@pytest.fixture(autouse=True)
def served_from_memory(settings) -> None:
    """As in production; `look` stands for the next tick of the watch."""
    settings.PROMPTS_POLL_S = 30


def look() -> None:
    resolution._watch._look(force=True)
    resolution._watch._looked.set()


def with_candidate() -> set[str]:
    look()
    return {member for member in MEMBERS if resolve("curation", member).arm == "candidate"}


# --- the split ------------------------------------------------------------------------------------


def test_the_share_is_kept_and_a_member_stays_in_his_arm(
    curation: PromptTemplate, publisher: User
) -> None:
    rollout = start(approved(curation, publisher), publisher, steps=[5, 25, 100])
    five = with_candidate()
    assert 0.03 < len(five) / len(MEMBERS) < 0.07
    assert with_candidate() == five
    rollout = rollout_moves.advance(rollout, actor=actor_of(publisher))
    quarter = with_candidate()
    assert 0.21 < len(quarter) / len(MEMBERS) < 0.29
    assert five < quarter  # nobody loses the candidate while it grows
    rollout_moves.advance(rollout, actor=actor_of(publisher))
    assert with_candidate() == set(MEMBERS)


def test_another_rollout_draws_other_members() -> None:
    first = {member for member in MEMBERS if bucket_of("one", member) < 1_000}
    second = {member for member in MEMBERS if bucket_of("two", member) < 1_000}
    assert len(first & second) < 0.4 * len(first)


def test_what_a_member_got_says_which_arm_and_bucket(
    curation: PromptTemplate, publisher: User
) -> None:
    rollout = start(approved(curation, publisher), publisher, steps=[50, 100])
    look()
    got = {resolve("curation", member).label for member in MEMBERS[:100]}
    assert got == {"curation@1", "curation@2"}
    one = resolve("curation", "7")
    assert one.rollout_id == rollout.pk
    assert one.bucket == bucket_of(rollout.salt, "7")


def test_pausing_gives_everybody_the_control_and_resuming_the_same_members_the_candidate(
    curation: PromptTemplate, publisher: User
) -> None:
    rollout = start(approved(curation, publisher), publisher, steps=[25, 100])
    before = with_candidate()
    rollout_moves.pause(rollout, actor=actor_of(publisher))
    assert with_candidate() == set()
    rollout_moves.resume(rollout, actor=actor_of(publisher))
    assert with_candidate() == before


@pytest.mark.parametrize("promote", [True, False])
def test_ending_gives_everybody_the_same(
    promote: bool, curation: PromptTemplate, publisher: User
) -> None:
    before = live_of(curation)
    candidate = approved(curation, publisher)
    rollout = rollout_moves.end(
        start(candidate, publisher), promote=promote, actor=actor_of(publisher)
    )
    assert live_of(curation) == (candidate if promote else before)
    assert rollout.state == (RolloutState.PROMOTED if promote else RolloutState.ABANDONED)
    look()
    assert {resolve("curation", member).arm for member in MEMBERS[:50]} == {"live"}
    with pytest.raises(StaleEdit):
        rollout_moves.advance(rollout, actor=actor_of(publisher))


def test_only_one_rollout_at_a_time_and_no_publishing_beside_it(
    curation: PromptTemplate, publisher: User
) -> None:
    first, second = (approved(curation, publisher, extra=extra) for extra in ("하나.", "둘."))
    start(first, publisher)
    with pytest.raises(GuardFailed):
        start(second, publisher)
    with pytest.raises(GuardFailed):
        releases.publish(second, seen_lock=lock_of(curation), actor=actor_of(publisher))


def test_a_rollback_ends_the_rollout(
    curation: PromptTemplate, publisher: User, operator: User
) -> None:
    rollout = start(approved(curation, publisher), publisher)
    releases.roll_back(
        curation,
        live_of(curation),
        seen_lock=lock_of(curation),
        actor=Actor(user=operator, reason="급함"),
    )
    rollout.refresh_from_db()
    assert rollout.state == RolloutState.ABANDONED
    assert with_candidate() == set()


@pytest.mark.parametrize("steps", [[], [0, 50], [50, 25], [50, 101], [10, 10]])
def test_steps_must_grow_to_at_most_a_hundred(
    steps: list[int], curation: PromptTemplate, publisher: User
) -> None:
    with pytest.raises(GuardFailed):
        start(approved(curation, publisher), publisher, steps=steps)


# --- figures and verdicts -------------------------------------------------------------------------

GOOD = Figures(runs=200, validity=1.0, fallback=0.0, p50_ms=900, p95_ms=1_400, cost_micro_usd=1_000)


@pytest.mark.parametrize(
    ("candidate", "names"),
    [
        ({}, []),
        ({"validity": 0.90}, ["validity"]),
        ({"fallback": 0.30}, ["fallback"]),
        ({"p95_ms": 2_200}, ["latency"]),  # 1.5 × 1 400 = 2 100
        ({"p95_ms": 2_000}, []),
        ({"cost_micro_usd": 1_600}, ["cost"]),  # 1.5 × 1 000 = 1 500
        ({"validity": 0.5, "runs": 49}, []),  # too few to judge
        ({"validity": 0.5, "fallback": 0.5}, ["validity", "fallback"]),
    ],
)
def test_a_guardrail_breaks_when_its_bound_is_crossed(
    candidate: dict[str, float], names: list[str]
) -> None:
    found = breaches(
        GOOD,
        Figures(**(vars(GOOD) | candidate)),
        guardrails=default_guardrails(),
        min_runs=50,
    )
    assert [breach.name for breach in found] == names


def test_a_fault_that_hits_both_arms_is_not_the_candidates() -> None:
    down = Figures(**(vars(GOOD) | {"fallback": 0.9}))
    assert breaches(down, down, guardrails=default_guardrails(), min_runs=50) == []


@pytest.mark.parametrize(
    ("control_likes", "candidate_likes", "tone"),
    [
        (20, 60, "good"),  # 10 % against 30 % of 200 runs
        (60, 20, "bad"),
        (40, 42, "even"),
    ],
)
def test_the_verdict_follows_the_interval_of_the_difference(
    control_likes: int, candidate_likes: int, tone: str
) -> None:
    control = Figures(**(vars(GOOD) | {"judged_runs": 200, "liked_runs": control_likes}))
    candidate = Figures(**(vars(GOOD) | {"judged_runs": 200, "liked_runs": candidate_likes}))
    assert judge(control, candidate, min_runs=50).result == tone


def test_the_verdict_waits_for_enough_runs() -> None:
    few = Figures(**(vars(GOOD) | {"runs": 10}))
    assert judge(GOOD, few, min_runs=50).result == "wait"
    assert judge(GOOD, GOOD, min_runs=50).result == "wait"  # no run is 14 days old


def test_wilsons_interval_is_the_published_one() -> None:
    # 15 of 148: 0.0624 … 0.1605 (Newcombe 1998, Table I, method 3: .0624 to .1605)
    interval = wilson(15, 148)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0624, 0.1605)
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile([], 0.95) == 0
    assert percentile(list(range(1, 101)), 0.95) == 95
    assert percentile([7], 0.5) == 7


# --- it pauses by itself --------------------------------------------------------------------------


def calls(label: str, outcomes: list[str], **values: object) -> None:
    ModelCall.objects.bulk_create(
        ModelCall(
            run_uuid=uuid4(),
            purpose="curation",
            version_label=label,
            api="chat",
            model_asked="m",
            outcome=outcome,
            **({"latency_ms": 900, "cost_micro_usd": 1_000, "trigger": "api"} | values),
        )
        for outcome in outcomes
    )


def test_a_bad_candidate_is_paused_by_itself_and_the_history_says_why(
    curation: PromptTemplate, publisher: User
) -> None:
    rollout = start(approved(curation, publisher), publisher, steps=[50, 100], min_runs=20)
    calls("curation@1", ["ok"] * 30)
    calls("curation@2", ["ok"] * 10 + ["invalid_json"] * 20)
    assert len(rollouts.check_guardrails()) == 1
    rollout.refresh_from_db()
    assert rollout.state == RolloutState.PAUSED
    assert "33.3%" in rollout.state_reason  # 10 of 30 were valid
    assert with_candidate() == set()
    release = Release.objects.filter(template=curation).first()
    assert release is not None
    assert (release.kind, release.actor, release.percent) == ("auto_pause", None, 0)
    assert release.evidence["breaches"] == ["validity", "fallback"]
    assert rollouts.check_guardrails() == []  # once


def test_a_good_candidate_is_left_alone(curation: PromptTemplate, publisher: User) -> None:
    rollout = start(approved(curation, publisher), publisher, min_runs=20)
    calls("curation@1", ["ok"] * 30)
    calls("curation@2", ["ok"] * 29 + ["ok_repaired"])
    assert rollouts.check_guardrails() == []
    rollout.refresh_from_db()
    assert rollout.state == RolloutState.RUNNING


def test_calls_of_staff_and_of_earlier_days_do_not_count(
    curation: PromptTemplate, publisher: User
) -> None:
    start(approved(curation, publisher), publisher, min_runs=20)
    calls("curation@2", ["invalid_json"] * 30, trigger="preview")
    calls("curation@2", ["invalid_json"] * 30, created_at=timezone.now() - timedelta(days=1))
    assert rollouts.check_guardrails() == []


def test_later_likes_are_asked_of_the_runs_of_each_arm(
    curation: PromptTemplate, publisher: User
) -> None:
    rollout = start(approved(curation, publisher), publisher)
    began = timezone.now() - timedelta(days=20)
    Rollout.objects.filter(pk=rollout.pk).update(started_at=began)
    rollout.refresh_from_db()
    old = timezone.now() - timedelta(days=15)
    calls("curation@1", ["ok"] * 3, created_at=old)
    calls("curation@2", ["ok"] * 2, created_at=old)
    # Many younger ones, which nobody can judge yet, must not hide those that can be judged.
    calls("curation@2", ["ok"] * (call_stats.MAX_CALLS + 1))
    hooks = input_providers.Hooks(
        liked=[lambda runs: [index % 2 for index, _run in enumerate(runs)]]
    )
    with input_providers.only(hooks):
        control, candidate = rollouts.arms(rollout, with_likes=True)
    assert (control.judged_runs, control.liked_runs) == (3, 1)
    assert (candidate.judged_runs, candidate.liked_runs) == (2, 1)
