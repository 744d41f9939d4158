"""Decides whether a prepared call may be sent: allowed host, key, breaker, a free place, and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.conf import settings
from django.utils import timezone

from infrastructure.database import guard
from prompts.llm import budget, model_profiles
from prompts.llm.breaker import breaker
from prompts.llm.exchange import CallPlan
from prompts.llm.model_profiles import Profile
from prompts.llm.preparing import PreparedCall
from prompts.models import STAFF_TRIGGERS, CallOutcome, CallTrigger

#: No member waits for these calls: they are retried.
RETRIED_TRIGGERS = frozenset({CallTrigger.QUEUE, CallTrigger.SCHEDULE})


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A call that may be sent."""

    call: PreparedCall
    #: Asked first: the call's own profile, or its fallback where that one could not be asked.
    profile: Profile
    fallback: Profile | None
    #: Token of the place taken at `profile`; give it back with `release_places`.
    place: str
    reserved_micro_usd: int = 0

    @property
    def retries(self) -> bool:
        return self.call.ask.trigger in RETRIED_TRIGGERS

    @property
    def hedges(self) -> bool:
        return settings.LLM_HEDGE and self.call.ask.trigger == CallTrigger.API

    def plan(self, deadline: float) -> CallPlan:
        """`deadline`: time.monotonic() at which the caller must have its answer."""
        return CallPlan(
            profile=self.profile,
            request=self.call.request,
            deadline=deadline,
            fallback=self.fallback,
            retry=self.retries,
            hedge=self.hedges,
        )

    def max_cost(self) -> int:
        """Micro-dollars that all attempts of this call can cost at most."""
        twice = self.retries or (self.hedges and self.fallback is None)
        cost = budget.full_cost(self.profile, self.call.request) * (2 if twice else 1)
        return cost + (budget.full_cost(self.fallback, self.call.request) if self.fallback else 0)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A call that is not sent, and why."""

    call: PreparedCall
    profile: Profile
    outcome: CallOutcome
    error_class: str
    #: Value of `degraded` where it is not the outcome's own.
    reason: str = ""


def admit(call: PreparedCall, deadline_s: float) -> Admission | Refusal:
    """Take a place at the call's profile, or at its fallback."""
    first, other = call.profile, model_profiles.fallback_of(call.profile)
    refusal = Refusal(call=call, profile=first, outcome=CallOutcome.CANCELLED, error_class="")
    for candidate in filter(None, (first, other)):
        if blocked := _blocked_by(candidate):
            refusal = replace(refusal, outcome=blocked[0], error_class=blocked[1])
            continue
        place = breaker.take_place(
            candidate.label, places=candidate.concurrency, seconds=deadline_s
        )
        if not place:
            refusal = replace(
                refusal, outcome=CallOutcome.CANCELLED, error_class="Busy", reason="busy"
            )
            continue
        fallback = other if candidate is first and other and not _blocked_by(other) else None
        return Admission(call=call, profile=candidate, fallback=fallback, place=place)
    return refusal


def _blocked_by(profile: Profile) -> tuple[CallOutcome, str] | None:
    """CallOutcome and error class of a profile that can't be asked; None if it can."""
    if not model_profiles.host_allowed(profile):
        return CallOutcome.CANCELLED, "HostNotAllowed"
    if profile.is_openai and not profile.key:
        return CallOutcome.CANCELLED, "NoKey"
    if not breaker.admits(profile.label):
        return CallOutcome.CIRCUIT_OPEN, "CircuitOpen"
    return None


def reserve(admissions: Sequence[Admission], deadline_s: float) -> list[Admission | Refusal]:
    """Reserve the maximum cost of each call; calls without budget are refused."""
    costed = [replace(one, reserved_micro_usd=one.max_cost()) for one in admissions]
    granted = budget.reserve(
        [
            budget.BudgetClaim(
                uuid=one.call.uuid,
                micro_usd=one.reserved_micro_usd,
                member_hash=""
                if one.call.ask.trigger in STAFF_TRIGGERS
                else one.call.request.safety_identifier,
                seconds=deadline_s,
                run_uuid=one.call.ask.run_uuid,
                purpose=one.call.ask.slug,
                version_label=one.call.version.label,
                api=one.profile.api,
                model=one.profile.model,
            )
            for one in costed
        ],
        now=timezone.now(),
    )
    error_class = "LedgerAway" if guard.is_down else "Ceiling"
    return [
        one
        if paid
        else Refusal(
            call=one.call,
            profile=one.profile,
            outcome=CallOutcome.BUDGET_DENIED,
            error_class=error_class,
        )
        for one, paid in zip(costed, granted, strict=True)
    ]


def release_places(admissions: Sequence[Admission]) -> None:
    """Give back the places of finished calls."""
    for one in admissions:
        breaker.free_place(one.profile.label, one.place)
