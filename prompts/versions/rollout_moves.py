"""Starts, widens, pauses, resumes and ends rollouts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _

from prompts.errors import GuardFailed
from prompts.models import PromptVersion, ReleaseKind, Rollout, RolloutState
from prompts.models.rollouts import DEFAULT_STEPS, default_guardrails
from prompts.versions import moves
from prompts.versions.actor import Actor
from prompts.versions.guards import require_approval_and_verdict, require_servable


def start_rollout(
    candidate: PromptVersion,
    *,
    seen_lock: int,
    actor: Actor,
    steps: Sequence[int] = DEFAULT_STEPS,
    min_runs: int = 50,
    guardrails: Mapping[str, float] | None = None,
) -> Rollout:
    """Give a candidate to the first step's share of members, chosen by hash, the same ones throughout."""
    actor.require_permission("manage_rollout")
    actor.require_reason()
    require_servable(candidate)
    _require_steps(steps)
    with moves.locked(candidate.template, seen_lock=seen_lock) as template:
        require_approval_and_verdict(candidate)
        if template.rollout_id:
            raise GuardFailed(_("이미 진행 중인 롤아웃이 있습니다."))
        if template.live_release and template.live_release.version_id == candidate.pk:
            raise GuardFailed(_("이 버전은 이미 모두에게 나가고 있습니다."))
        rollout = Rollout.objects.create(
            template=template,
            control=template.live_version,
            candidate=candidate,
            salt=secrets.token_hex(8),
            steps=list(steps),
            min_runs=min_runs,
            guardrails=default_guardrails() | dict(guardrails or {}),
            started_by=actor.user,
        )
        template.rollout = rollout
        moves.record_release(
            template, candidate, kind=ReleaseKind.ROLLOUT, actor=actor, percent=rollout.percent
        )
    return rollout


def advance(rollout: Rollout, *, actor: Actor) -> Rollout:
    """Give the candidate to the next step's share."""
    actor.require_permission("manage_rollout")
    with moves.locked_rollout(rollout, {RolloutState.RUNNING}) as held:
        if held.step_index + 1 >= len(held.steps):
            raise GuardFailed(_("마지막 단계입니다. 전체에 적용하거나 중단하십시오."))
        held.step_index += 1
        held.save(update_fields=["step_index"])
        moves.record_release(
            held.template,
            held.candidate,
            kind=ReleaseKind.ADVANCE,
            actor=actor,
            percent=held.percent,
        )
    return held


def pause(rollout: Rollout, *, actor: Actor, evidence: Mapping[str, Any] | None = None) -> Rollout:
    """Give the control to all members; the split stays for a resume."""
    actor.require_permission("manage_rollout")
    actor.require_reason()
    kind = ReleaseKind.PAUSE if actor.user is not None else ReleaseKind.AUTO_PAUSE
    with moves.locked_rollout(rollout, {RolloutState.RUNNING}) as held:
        held.state = RolloutState.PAUSED
        held.state_reason = actor.reason
        held.save(update_fields=["state", "state_reason"])
        moves.record_release(
            held.template,
            held.candidate,
            kind=kind,
            actor=actor,
            percent=0,
            evidence=dict(evidence or {}),
        )
    return held


def resume(rollout: Rollout, *, actor: Actor) -> Rollout:
    """Go on where the rollout was paused."""
    actor.require_permission("manage_rollout")
    actor.require_reason()
    with moves.locked_rollout(rollout, {RolloutState.PAUSED}) as held:
        held.state = RolloutState.RUNNING
        held.state_reason = ""
        held.save(update_fields=["state", "state_reason"])
        moves.record_release(
            held.template,
            held.candidate,
            kind=ReleaseKind.RESUME,
            actor=actor,
            percent=held.percent,
        )
    return held


def end(rollout: Rollout, *, promote: bool, actor: Actor) -> Rollout:
    """Close a rollout: all members get the candidate (`promote`), or the control."""
    actor.require_permission("manage_rollout")
    actor.require_reason()
    with moves.locked_rollout(rollout, {RolloutState.RUNNING, RolloutState.PAUSED}) as held:
        if promote:
            actor.require_permission("publish_promptversion")
            require_servable(held.candidate)
            moves.close_rollout(held.template, RolloutState.PROMOTED, reason=actor.reason)
            moves.go_live(
                held.template,
                held.candidate,
                kind=ReleaseKind.PUBLISH,
                actor=actor,
                evidence={"rollout": held.pk, "sha": held.candidate.body_sha256},
            )
        else:
            moves.close_rollout(held.template, RolloutState.ABANDONED, reason=actor.reason)
            moves.record_release(
                held.template, held.candidate, kind=ReleaseKind.END, actor=actor, percent=0
            )
    held.refresh_from_db()
    return held


def _require_steps(steps: Sequence[int]) -> None:
    rising = all(left < right for left, right in pairwise(steps))
    if not steps or not rising or not all(1 <= step <= 100 for step in steps):
        raise GuardFailed(_("단계는 1에서 100까지 커지는 수여야 합니다."))
