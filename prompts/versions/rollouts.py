"""Compares the two arms of a rollout and pauses it when a guardrail is crossed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from prompts.errors import PromptError
from prompts.evaluation.call_stats import Figures, figures_of
from prompts.models import Rollout, RolloutState
from prompts.versions import rollout_moves
from prompts.versions.actor import Actor
from prompts.versions.resolution import builtin

#: Guardrails look back this far at most, so that an old fault does not pause a repaired model.
WINDOW = timedelta(days=14)


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A bound that the candidate crossed."""

    name: str
    message: str


class ComparisonResult(models.TextChoices):
    """What the figures say about the candidate."""

    WAIT = "wait", _l("아직 판단할 수 없음")
    GOOD = "good", _l("후보가 나음")
    BAD = "bad", _l("후보가 못함")
    EVEN = "even", _l("차이가 보이지 않음")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of comparing the two arms, with one sentence for the page."""

    result: ComparisonResult
    text: str


def control_label(rollout: Rollout) -> str:
    """The label that the control's calls carry."""
    if rollout.control is not None:
        return rollout.control.label
    return builtin(rollout.template.slug).label


def arms(rollout: Rollout, *, with_likes: bool = False) -> tuple[Figures, Figures]:
    """(control, candidate) since the rollout began."""
    since = rollout.started_at
    return (
        figures_of(control_label(rollout), since=since, with_likes=with_likes),
        figures_of(rollout.candidate.label, since=since, with_likes=with_likes),
    )


def breaches(
    control: Figures, candidate: Figures, *, guardrails: dict[str, float], min_runs: int
) -> list[Breach]:
    """The bounds the candidate crossed; none before it has `min_runs` runs.

    A fault of both arms (the provider is down) is not the candidate's.
    """
    if candidate.runs < min_runs:
        return []
    found = []
    if candidate.validity < guardrails["validity"] and candidate.validity < control.validity:
        found.append(
            Breach(
                name="validity",
                message=_("올바른 답 %(value)s (한계 %(bound)s 이상)")
                % {"value": f"{candidate.validity:.1%}", "bound": f"{guardrails['validity']:.1%}"},
            )
        )
    if candidate.fallback > guardrails["fallback"] and candidate.fallback > control.fallback:
        found.append(
            Breach(
                name="fallback",
                message=_("로컬 대체 %(value)s (한계 %(bound)s 이하)")
                % {"value": f"{candidate.fallback:.1%}", "bound": f"{guardrails['fallback']:.1%}"},
            )
        )
    if control.runs >= min_runs:
        found += _ratios(control, candidate, guardrails)
    return found


def _ratios(control: Figures, candidate: Figures, guardrails: dict[str, float]) -> list[Breach]:
    found = []
    if control.p95_ms and candidate.p95_ms > guardrails["latency"] * control.p95_ms:
        found.append(
            Breach(
                name="latency",
                message=_("p95 %(value)dms (기준 %(base)dms의 %(bound)s배 이하)")
                % {
                    "value": candidate.p95_ms,
                    "base": control.p95_ms,
                    "bound": guardrails["latency"],
                },
            )
        )
    dearest = guardrails["cost"] * control.cost_micro_usd
    if control.cost_micro_usd and candidate.cost_micro_usd > dearest:
        found.append(
            Breach(
                name="cost",
                message=_("호출당 비용 %(value)s (기준 %(base)s의 %(bound)s배 이하)")
                % {
                    "value": f"${candidate.cost_micro_usd / 1e6:.5f}",
                    "base": f"${control.cost_micro_usd / 1e6:.5f}",
                    "bound": guardrails["cost"],
                },
            )
        )
    return found


def likes_difference(control: Figures, candidate: Figures) -> tuple[float, float] | None:
    """95 % interval of (candidate − control) in the share of liked runs, Newcombe's method 10; None without data."""
    ours, theirs = candidate.likes, control.likes
    if ours is None or theirs is None:
        return None
    difference = ours.value - theirs.value
    down = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    up = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return difference - down, difference + up


def judge(control: Figures, candidate: Figures, *, min_runs: int) -> Comparison:
    """Compare the arms, once both have `min_runs`."""
    if min(control.runs, candidate.runs) < min_runs:
        missing = min_runs - min(control.runs, candidate.runs)
        return Comparison(
            result=ComparisonResult.WAIT,
            text=_("아직 이릅니다. 각 쪽에 실행이 %(n)d회 더 필요합니다.") % {"n": missing},
        )
    interval = likes_difference(control, candidate)
    if interval is None or min(control.judged_runs, candidate.judged_runs) < min_runs:
        return Comparison(
            result=ComparisonResult.WAIT,
            text=_(
                "답의 품질과 속도는 비교할 수 있습니다. 좋아요는 14일이 지난 실행이 더 모여야 판단합니다."
            ),
        )
    low, high = interval
    shown = {"low": f"{low:+.1%}", "high": f"{high:+.1%}"}
    if low > 0:
        return Comparison(
            result=ComparisonResult.GOOD,
            text=_("후보가 낫습니다. 좋아요가 있는 실행의 비율 차이 %(low)s ~ %(high)s.") % shown,
        )
    if high < 0:
        return Comparison(
            result=ComparisonResult.BAD,
            text=_("후보가 못합니다. 좋아요가 있는 실행의 비율 차이 %(low)s ~ %(high)s.") % shown,
        )
    return Comparison(
        result=ComparisonResult.EVEN,
        text=_("차이가 보이지 않습니다. 비율 차이 %(low)s ~ %(high)s.") % shown,
    )


def check_guardrails() -> list[str]:
    """Pause every running rollout whose candidate crossed a bound; returns what was paused and why."""
    paused = []
    running = Rollout.objects.filter(state=RolloutState.RUNNING).select_related(
        "template", "candidate__template", "control__template"
    )
    for rollout in running:
        control, candidate = arms(rollout)
        broken = breaches(
            control, candidate, guardrails=rollout.guardrails, min_runs=rollout.min_runs
        )
        if broken:
            paused.append(_pause(rollout, broken, control, candidate))
    return paused


def _pause(rollout: Rollout, broken: list[Breach], control: Figures, candidate: Figures) -> str:
    reason = _("자동으로 멈춤: %(why)s") % {"why": "; ".join(breach.message for breach in broken)}
    try:
        rollout_moves.pause(
            rollout,
            actor=Actor(reason=reason),
            evidence={
                "breaches": [breach.name for breach in broken],
                "control": vars(control),
                "candidate": vars(candidate),
            },
        )
    except PromptError as error:  # it was changed at the same moment
        return f"{rollout.candidate.label}: {error}"
    return f"{rollout.candidate.label}: {reason}"
