"""Publishes versions, now or later, rolls back, and stops a prompt.

Every function checks the permission (NotAllowed) and the guards (GuardFailed, StaleEdit) under the template's row
lock, and leaves a Release and an AuditEvent. Every process is notified after the commit.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure.email import notify_operators
from prompts.audit_verbs import PromptVerb
from prompts.errors import GuardFailed, StaleEdit
from prompts.models import (
    PromptTemplate,
    PromptVersion,
    Release,
    ReleaseKind,
    RolloutState,
    VersionState,
)
from prompts.versions import moves
from prompts.versions.actor import Actor
from prompts.versions.guards import (
    gate,
    require_approval_and_verdict,
    require_break_glass,
    require_contract,
    require_no_rollout,
    require_servable,
)

#: Release kinds that make a version live for all members.
LIVE_KINDS = (ReleaseKind.PUBLISH, ReleaseKind.SCHEDULED, ReleaseKind.ROLLBACK)


def publish(
    version: PromptVersion, *, seen_lock: int, actor: Actor, break_glass: bool = False
) -> Release:
    """Make an approved version what every member gets.

    `break_glass` lets a superuser pass the missing approval or verdict, never lint or contract.
    """
    actor.require_permission("publish_promptversion")
    actor.require_reason()
    require_servable(version)
    if break_glass:
        require_break_glass(actor)
    with moves.locked(version.template, seen_lock=seen_lock) as template:
        if not break_glass:
            require_approval_and_verdict(version)
        require_no_rollout(template)
        if template.live_release and template.live_release.version_id == version.pk:
            raise GuardFailed(_("이 버전은 이미 배포되어 있습니다."))
        if version.state != VersionState.APPROVED:
            moves.change_state(
                version,
                {VersionState.DRAFT, VersionState.IN_REVIEW},
                VersionState.APPROVED,
                actor=actor,
                verb=PromptVerb.VERSION_APPROVED_BY_BREAK_GLASS,
            )
        release = moves.go_live(
            template,
            version,
            kind=ReleaseKind.PUBLISH,
            actor=actor,
            evidence=_evidence(version, break_glass),
        )
    if break_glass:
        subject = _("검토 없이 배포됨: %(label)s") % {"label": version.label}
        _mail_after_commit(subject, f"{actor.name}: {actor.reason}")
    return release


def schedule(version: PromptVersion, *, at: datetime, actor: Actor) -> None:
    """Publish later; guards are checked again when the time comes."""
    actor.require_permission("publish_promptversion")
    actor.require_reason()
    if at <= timezone.now():
        raise GuardFailed(_("예약 시각은 앞으로의 때여야 합니다."))
    require_servable(version)
    require_approval_and_verdict(version)
    with moves.locked(version.template):
        PromptVersion.objects.filter(pk=version.pk).update(go_live_at=at)
        actor.record(PromptVerb.VERSION_SCHEDULED, version, after={"go_live_at": at})
    version.refresh_from_db()


def unschedule(version: PromptVersion, *, actor: Actor) -> None:
    """Take back a scheduled publication."""
    actor.require_permission("publish_promptversion")
    with moves.locked(version.template):
        waiting = PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False)
        if not waiting.update(go_live_at=None):
            raise StaleEdit(_("예약된 배포가 없습니다."))
        actor.record(
            PromptVerb.VERSION_UNSCHEDULED, version, before={"go_live_at": version.go_live_at}
        )
    version.refresh_from_db()


def publish_due(now: datetime) -> list[str]:
    """Publish what was scheduled up to `now`; a version that fails its guards loses its schedule."""
    done = []
    due = PromptVersion.objects.select_related("template").filter(go_live_at__lte=now)
    for version in due.order_by("go_live_at"):
        try:
            if _publish_scheduled(version):
                done.append(version.label)
        except (GuardFailed, StaleEdit) as error:
            _drop_schedule(version, str(error))
    return done


def _publish_scheduled(version: PromptVersion) -> Release | None:
    """None when another process published it, or the schedule was cancelled."""
    require_servable(version)
    actor = Actor(reason=_("예약된 배포"))
    with moves.locked(version.template) as template:
        if not PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False).exists():
            return None
        require_approval_and_verdict(version)
        require_no_rollout(template)
        return moves.go_live(
            template,
            version,
            kind=ReleaseKind.SCHEDULED,
            actor=actor,
            evidence=_evidence(version, False),
        )


def _drop_schedule(version: PromptVersion, why: str) -> None:
    """Cancel a schedule that failed its guards, and mail the operators."""
    with moves.locked(version.template):
        PromptVersion.objects.filter(pk=version.pk).update(go_live_at=None)
        Actor().record(PromptVerb.VERSION_SCHEDULE_FAILED, version, reason=why)
    _mail_after_commit(_("예약된 배포를 하지 못함: %(label)s") % {"label": version.label}, why)


def roll_back(
    template: PromptTemplate, to: PromptVersion | None, *, seen_lock: int, actor: Actor
) -> Release:
    """Return to a version that was live before, or (None) to the repository's text. Ends an open rollout."""
    actor.require_permission("roll_back_promptversion")
    actor.require_reason()
    if to is not None:
        require_contract(to)
        if not was_live(to):
            raise GuardFailed(_("한 번도 배포된 적이 없는 버전으로는 되돌릴 수 없습니다."))
    with moves.locked(template, seen_lock=seen_lock) as held:
        if held.rollout is not None:
            moves.close_rollout(held, RolloutState.ABANDONED, reason=actor.reason)
        return moves.go_live(held, to, kind=ReleaseKind.ROLLBACK, actor=actor, evidence={})


def was_live(version: PromptVersion) -> bool:
    """Whether every member ever got this version; a candidate of a rollout was not live by that."""
    return Release.objects.filter(version=version, kind__in=LIVE_KINDS).exists()


def kill(template: PromptTemplate, *, actor: Actor) -> Release:
    """Stop asking any model for this purpose, at once; members get local answers until it is lifted."""
    actor.require_permission("kill_prompttemplate")
    actor.require_reason()
    with moves.locked(template) as held:
        held.paused = True
        return moves.record_release(
            held, held.live_version, kind=ReleaseKind.KILL, actor=actor, percent=0
        )


def lift(template: PromptTemplate, *, actor: Actor) -> Release:
    """Ask the model again."""
    actor.require_permission("kill_prompttemplate")
    actor.require_reason()
    with moves.locked(template) as held:
        held.paused = False
        return moves.record_release(held, held.live_version, kind=ReleaseKind.LIFT, actor=actor)


def _evidence(version: PromptVersion, break_glass: bool) -> dict[str, Any]:
    """The facts behind the decision, stored with the release."""
    run = gate(version).run
    return {
        "sha": version.body_sha256,
        "eval_run": run.pk if run else None,
        "verdict": run.verdict if run else None,
        "break_glass": break_glass,
    }


def _mail_after_commit(subject: str, text: str) -> None:
    transaction.on_commit(partial(notify_operators, subject, text, level=logging.WARNING))
