"""Moves a version from draft to approval: submit, approve, request changes, archive, adopt."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from prompts.audit_verbs import PromptVerb
from prompts.errors import GuardFailed, NotAllowed, StaleEdit
from prompts.models import AuditEvent, PromptVersion, VersionState
from prompts.versions import moves
from prompts.versions.actor import Actor
from prompts.versions.drafts import draft_of, fork
from prompts.versions.guards import require_servable
from prompts.versions.lint import has_errors, lint


def submit(version: PromptVersion, *, actor: Actor) -> None:
    """Freeze a draft. Without the review setting it is approved by that."""
    actor.require_permission("submit_promptversion")
    findings = lint(draft_of(version))
    if has_errors(findings):
        first = next(finding for finding in findings if finding.level == "error")
        raise GuardFailed(
            _("검사 오류가 있어 제출할 수 없습니다: %(message)s") % {"message": first.message}
        )
    if not version.note.strip():
        raise GuardFailed(_("무엇을 왜 바꾸는지 메모를 적어 주십시오."))
    reviewed = settings.PROMPTS_REQUIRE_REVIEW
    moves.change_state(
        version,
        {VersionState.DRAFT},
        VersionState.IN_REVIEW if reviewed else VersionState.APPROVED,
        actor=actor,
        verb=PromptVerb.VERSION_SUBMITTED,
        submitted_at=timezone.now(),
        decision_note="" if reviewed else _("검토 설정이 꺼져 있어 바로 승인됨"),
    )


def approve(version: PromptVersion, *, seen_sha: str, actor: Actor) -> None:
    """Approve a version. The approver wrote none of it, and `seen_sha` is the content they saw."""
    actor.require_permission("review_promptversion")
    if actor.user is not None and actor.user.pk in authors_of(version):
        raise NotAllowed(_("자기가 쓴 버전은 스스로 승인할 수 없습니다."))
    if seen_sha != version.body_sha256:
        raise StaleEdit(_("보고 있던 내용과 지금 내용이 다릅니다. 새로 불러오십시오."))
    require_servable(version)
    moves.change_state(
        version,
        {VersionState.IN_REVIEW},
        VersionState.APPROVED,
        actor=actor,
        verb=PromptVerb.VERSION_APPROVED,
        decided_by=actor.user,
        decided_at=timezone.now(),
        decision_note=actor.reason,
    )


def authors_of(version: PromptVersion) -> set[int]:
    """Accounts that wrote any part of a version: its creator and all who saved the draft."""
    edits = AuditEvent.objects.filter(
        object_type=version._meta.label_lower,
        object_id=str(version.pk),
        verb=PromptVerb.VERSION_EDITED,
    )
    writers = {*edits.values_list("actor_id", flat=True), version.created_by_id}
    return {account for account in writers if account is not None}


def request_changes(version: PromptVersion, *, actor: Actor) -> PromptVersion:
    """Send a version back with a reason; its author gets a draft copy."""
    actor.require_permission("review_promptversion")
    actor.require_reason()
    with transaction.atomic():
        moves.change_state(
            version,
            {VersionState.IN_REVIEW},
            VersionState.CHANGES_REQUESTED,
            actor=actor,
            verb=PromptVerb.VERSION_CHANGES_REQUESTED,
            decided_by=actor.user,
            decided_at=timezone.now(),
            decision_note=actor.reason,
        )
        system = Actor(user=None, request_id=actor.request_id)
        return fork(version, actor=system, author=version.created_by)


def archive(version: PromptVersion, *, actor: Actor) -> None:
    """Archive a version that is neither live nor in a rollout."""
    actor.require_permission("submit_promptversion")
    with moves.locked(version.template) as template:
        in_use = {
            template.live_release.version_id if template.live_release else None,
            template.rollout.candidate_id if template.rollout else None,
        }
        if version.pk in in_use:
            raise GuardFailed(_("쓰이고 있는 버전은 보관할 수 없습니다."))
        moves.change_state(
            version,
            {VersionState.DRAFT, VersionState.APPROVED, VersionState.CHANGES_REQUESTED},
            VersionState.ARCHIVED,
            actor=actor,
            verb=PromptVerb.VERSION_ARCHIVED,
            go_live_at=None,
        )


def adopt(version: PromptVersion, *, actor: Actor) -> None:
    """Approve a text that came with the code and was reviewed there; only the system itself may."""
    if actor.user is not None:
        raise NotAllowed
    moves.change_state(
        version,
        {VersionState.DRAFT},
        VersionState.APPROVED,
        actor=actor,
        verb=PromptVerb.VERSION_ADOPTED,
        submitted_at=timezone.now(),
    )
