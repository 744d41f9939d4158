"""Aggregates the calls of a version: validity, fallback, latency, cost, and later likes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from prompts.evaluation import input_providers
from prompts.models import STAFF_TRIGGERS, CallOutcome, ModelCall
from prompts.models.calls import USABLE

#: At most this many calls, the newest, per figure: enough for a p95, read through one index.
MAX_CALLS = 2_000
WEEK = timedelta(days=7)
#: Likes within this time after a run count; younger runs are left out.
JUDGED_AFTER = timedelta(days=14)
#: Without any text from the model: not the version's fault.
_NO_ANSWER = frozenset(
    {
        CallOutcome.TIMEOUT,
        CallOutcome.RATE_LIMITED,
        CallOutcome.QUOTA,
        CallOutcome.HTTP_4XX,
        CallOutcome.HTTP_5XX,
        CallOutcome.CONNECTION,
        CallOutcome.BUDGET_DENIED,
        CallOutcome.CIRCUIT_OPEN,
        CallOutcome.CANCELLED,
    }
)
#: 95 % of a normal distribution lies within so many standard deviations.
Z = 1.96


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A share with its 95 % interval; all three 0..1."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.value:.1%} {self.bounds}"

    @property
    def bounds(self) -> str:
        return f"({self.low:.1%}–{self.high:.1%})"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a version did over a stretch of time."""

    runs: int = 0
    #: Usable among those the model answered; 1.0 where it answered none.
    validity: float = 1.0
    #: Share of runs that fell back to the local answer.
    fallback: float = 0.0
    p50_ms: int = 0
    p95_ms: int = 0
    #: Mean per call.
    cost_micro_usd: float = 0.0
    #: Half the width of its 95 % interval.
    cost_half: float = 0.0
    #: Calls that reached the model's text, and calls with a usable answer.
    answered: int = 0
    usable: int = 0
    #: There were more calls; these figures are of the newest.
    more: bool = False
    #: Runs at least 14 days old, and those of them with a later like.
    judged_runs: int = 0
    liked_runs: int = 0

    @property
    def validity_bounds(self) -> str:
        return wilson(self.usable, self.answered).bounds if self.answered else ""

    @property
    def fallback_bounds(self) -> str:
        return wilson(self.runs - self.usable, self.runs).bounds if self.runs else ""

    @property
    def likes(self) -> Interval | None:
        """Share of runs whose songs were liked within 14 days; None while no run is old enough."""
        return wilson(self.liked_runs, self.judged_runs) if self.judged_runs else None


def wilson(hits: int, trials: int) -> Interval:
    """Wilson's score interval: stays within 0..1 and is honest for few trials (Wilson 1927)."""
    share = hits / trials
    denominator = 1 + Z**2 / trials
    middle = (share + Z**2 / (2 * trials)) / denominator
    half = Z * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2)) / denominator
    return Interval(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half))


def percentile(values: Sequence[int], share: float) -> int:
    """Nearest rank; 0 for none."""
    if not values:
        return 0
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)]


@dataclass(frozen=True, kw_only=True)
class CallFacts:
    """What a figure needs of one call."""

    outcome: str
    latency_ms: int
    cost_micro_usd: int
    run_uuid: UUID | None = None


def summarised(calls: Sequence[CallFacts], likes: Sequence[int] = ()) -> Figures:
    """Figures of these calls; `likes` are later likes per run that is old enough."""
    if not calls:
        return Figures()
    usable = sum(call.outcome in USABLE for call in calls)
    answered = sum(call.outcome not in _NO_ANSWER for call in calls)
    times = [call.latency_ms for call in calls if call.latency_ms]
    costs = [call.cost_micro_usd for call in calls]
    spread = statistics.stdev(costs) if len(costs) > 1 else 0.0
    return Figures(
        runs=len(calls),
        validity=usable / answered if answered else 1.0,
        fallback=1 - usable / len(calls),
        p50_ms=percentile(times, 0.50),
        p95_ms=percentile(times, 0.95),
        cost_micro_usd=sum(costs) / len(costs),
        cost_half=Z * spread / math.sqrt(len(costs)),
        answered=answered,
        usable=usable,
        more=len(calls) >= MAX_CALLS,
        judged_runs=len(likes),
        liked_runs=sum(count > 0 for count in likes),
    )


def calls_of(label: str, *, since: datetime, until: datetime | None = None) -> list[CallFacts]:
    """The newest calls of a version made for members: one query, one index."""
    made = ModelCall.objects.filter(version_label=label, created_at__gte=since)
    if until is not None:
        made = made.filter(created_at__lte=until)
    rows = (
        made.exclude(trigger__in=STAFF_TRIGGERS)
        .order_by("-created_at")
        .values_list("outcome", "latency_ms", "cost_micro_usd", "run_uuid")[:MAX_CALLS]
    )
    return [
        CallFacts(outcome=outcome, latency_ms=ms, cost_micro_usd=cost, run_uuid=run)
        for outcome, ms, cost, run in rows
    ]


def figures_of(label: str, *, since: datetime | None = None, with_likes: bool = False) -> Figures:
    """Figures of a version over the last week, or since a moment."""
    since = since or timezone.now() - WEEK
    likes: list[int] = []
    if with_likes:
        # Of the newest runs that are old enough: the newest of all never are.
        old = calls_of(label, since=since, until=timezone.now() - JUDGED_AFTER)
        runs = [call.run_uuid for call in old if call.run_uuid]
        likes = input_providers.later_likes(runs) if runs else []
    return summarised(calls_of(label, since=since), likes)
