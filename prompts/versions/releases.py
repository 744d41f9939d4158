"""The one writer of what is live. Admin, API, shell and tests move prompts through these functions and no others.

Every function checks who may (NotAllowed) and whether the move is possible (GuardFailed, StaleEdit), moves under the
template's row lock, leaves a Release and an AuditEvent, and tells every process after the commit.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure import audit
from infrastructure.email import notify_operators
from prompts.errors import GuardFailed, NotAllowed, StaleEdit
from prompts.models import (
    AuditEvent,
    EvalRun,
    EvalSet,
    PromptTemplate,
    PromptVersion,
    Release,
    ReleaseKind,
    Rollout,
    RolloutState,
    State,
    Verdict,
)
from prompts.models.moving import moving
from prompts.models.rollouts import DEFAULT_STEPS, default_guardrails
from prompts.versions import resolution
from prompts.versions.lint import Draft, as_json, has_errors, lint

#: Publishing past the four eyes or a failed gate must be worth a whole sentence.
BREAK_GLASS_REASON = 20
SYSTEM_NAME = "시스템"
#: Moves that gave everybody the version they name.
LIVE_KINDS = (ReleaseKind.PUBLISH, ReleaseKind.SCHEDULED, ReleaseKind.ROLLBACK)


@dataclass(frozen=True, kw_only=True)
class By:
    """Who moves something, and why."""

    #: None: the system itself (schedules, guardrails, first installation).
    actor: Any = None
    reason: str = ""
    request_id: str = ""
    ip: str | None = None

    @property
    def name(self) -> str:
        return self.actor.get_username() if self.actor is not None else SYSTEM_NAME

    def may(self, permission: str) -> bool:
        return self.actor is None or self.actor.has_perm(f"prompts.{permission}")

    def needs(self, permission: str) -> None:
        """Raises NotAllowed."""
        if not self.may(permission):
            raise NotAllowed(_("이 계정에는 그 권한이 없습니다: %(name)s") % {"name": permission})

    def needs_reason(self, at_least: int = 1) -> None:
        """Raises GuardFailed."""
        if len(self.reason.strip()) < at_least:
            raise GuardFailed(
                _("이유를 %(length)d자 이상 적어 주십시오.") % {"length": at_least}
                if at_least > 1
                else _("이유를 적어 주십시오.")
            )


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a version says and how it is asked."""

    system_text: str
    user_text: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model_profile_id: int | None = None
    note: str = ""

    def cleaned(self) -> Body:
        """Browsers send CRLF; the model is sent what the author saw."""
        return Body(
            system_text=_unix(self.system_text),
            user_text=_unix(self.user_text),
            params=dict(self.params),
            model_profile_id=self.model_profile_id,
            note=self.note.strip(),
        )


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


# --- Drafts ---------------------------------------------------------------------------------------


def create_draft(
    template: PromptTemplate,
    body: Body,
    *,
    by: By,
    parent: PromptVersion | None = None,
    author: Any = None,
) -> PromptVersion:
    """A new draft; several may be open at once. `author` is whose it is, if not his who acts."""
    by.needs("add_promptversion")
    body = body.cleaned()
    with _locked(template) as held:
        version = PromptVersion(
            template=held,
            number=_next_number(held),
            parent=parent,
            system_text=body.system_text,
            user_text=body.user_text,
            params=dict(body.params),
            model_profile_id=body.model_profile_id,
            contract_version=held.contract.version,
            note=body.note,
            created_by=author or by.actor,
        )
        version.lint = as_json(lint(draft_of(version)))
        version.save()
        _audit(by, "version.created", version, after={"parent": parent and parent.label})
    return version


def fork(version: PromptVersion, *, by: By, author: Any = None) -> PromptVersion:
    """A draft that says what `version` says: how anything but a draft is edited."""
    body = Body(
        system_text=version.system_text,
        user_text=version.user_text,
        params=version.params,
        model_profile_id=version.model_profile_id,
    )
    return create_draft(version.template, body, by=by, parent=version, author=author)


def save_draft(version: PromptVersion, body: Body, *, seen_lock: int, by: By) -> PromptVersion:
    """Change a draft. Raises StaleEdit if somebody else did since `seen_lock`, or it is no draft any more."""
    by.needs("change_promptversion")
    body = body.cleaned()
    before = version.content_sha()
    changed = PromptVersion(
        pk=version.pk,
        template=version.template,
        number=version.number,
        system_text=body.system_text,
        user_text=body.user_text,
        params=dict(body.params),
        model_profile_id=body.model_profile_id,
        contract_version=version.template.contract.version,
        note=body.note,
    )
    with transaction.atomic():
        saved = PromptVersion.objects.save_draft(
            version.pk,
            seen_lock=seen_lock,
            system_text=changed.system_text,
            user_text=changed.user_text,
            params=changed.params,
            model_profile_id=changed.model_profile_id,
            contract_version=changed.contract_version,
            note=changed.note,
            body_sha256=changed.content_sha(),
            lint=as_json(lint(draft_of(changed))),
        )
        if not saved:
            raise StaleEdit(
                _("그 사이 다른 사람이 이 초안을 바꾸었습니다. 새로 불러와 차이를 확인하십시오.")
            )
        if before != changed.content_sha():
            _audit(
                by,
                "version.edited",
                version,
                before={"sha": before},
                after={"sha": changed.content_sha()},
            )
    version.refresh_from_db()
    return version


def draft_of(version: PromptVersion) -> Draft:
    """What lint looks at."""
    profile = version.model_profile if version.model_profile_id else None
    return Draft(
        system_text=version.system_text,
        user_text=version.user_text,
        params=version.params,
        contract=version.template.contract,
        capabilities=profile.capabilities if profile else {},
    )


# --- Review ---------------------------------------------------------------------------------------


def submit(version: PromptVersion, *, by: By) -> None:
    """Freeze a draft. Without the review setting it is approved by that."""
    by.needs("submit_promptversion")
    findings = lint(draft_of(version))
    if has_errors(findings):
        first = next(finding for finding in findings if finding.level == "error")
        raise GuardFailed(
            _("검사 오류가 있어 제출할 수 없습니다: %(message)s") % {"message": first.message}
        )
    if not version.note.strip():
        raise GuardFailed(_("무엇을 왜 바꾸는지 메모를 적어 주십시오."))
    reviewed = settings.PROMPTS_REQUIRE_REVIEW
    _step(
        version,
        {State.DRAFT},
        State.IN_REVIEW if reviewed else State.APPROVED,
        by=by,
        verb="version.submitted",
        submitted_at=timezone.now(),
        decision_note="" if reviewed else _("검토 설정이 꺼져 있어 바로 승인됨"),
    )


def approve(version: PromptVersion, *, seen_sha: str, by: By) -> None:
    """Let a version be published. The one who approves wrote none of it, and saw what he approves."""
    by.needs("review_promptversion")
    if by.actor is not None and by.actor.pk in authors_of(version):
        raise NotAllowed(_("자기가 쓴 버전은 스스로 승인할 수 없습니다."))
    if seen_sha != version.body_sha256:
        raise StaleEdit(_("보고 있던 내용과 지금 내용이 다릅니다. 새로 불러오십시오."))
    _needs_servable(version)
    _step(
        version,
        {State.IN_REVIEW},
        State.APPROVED,
        by=by,
        verb="version.approved",
        decided_by=by.actor,
        decided_at=timezone.now(),
        decision_note=by.reason,
    )


def authors_of(version: PromptVersion) -> set[int]:
    """Accounts that wrote any of a version: its creator and everybody who saved the draft."""
    edits = AuditEvent.objects.filter(
        object_type=version._meta.label_lower, object_id=str(version.pk), verb="version.edited"
    )
    writers = {*edits.values_list("actor_id", flat=True), version.created_by_id}
    return {account for account in writers if account is not None}


def request_changes(version: PromptVersion, *, by: By) -> PromptVersion:
    """Send a version back with a reason; its author gets a draft copy."""
    by.needs("review_promptversion")
    by.needs_reason()
    with transaction.atomic():
        _step(
            version,
            {State.IN_REVIEW},
            State.CHANGES_REQUESTED,
            by=by,
            verb="version.changes_requested",
            decided_by=by.actor,
            decided_at=timezone.now(),
            decision_note=by.reason,
        )
        system = By(actor=None, request_id=by.request_id)
        return fork(version, by=system, author=version.created_by)


def archive(version: PromptVersion, *, by: By) -> None:
    """Put away what is not going to be used. What is live or rolled out can't be archived."""
    by.needs("submit_promptversion")
    with _locked(version.template) as template:
        in_use = {
            template.live_release.version_id if template.live_release else None,
            template.rollout.candidate_id if template.rollout else None,
        }
        if version.pk in in_use:
            raise GuardFailed(_("쓰이고 있는 버전은 보관할 수 없습니다."))
        _step(
            version,
            {State.DRAFT, State.APPROVED, State.CHANGES_REQUESTED},
            State.ARCHIVED,
            by=by,
            verb="version.archived",
            go_live_at=None,
        )


def adopt(version: PromptVersion, *, by: By) -> None:
    """Approve a text that came with the code and was reviewed there; only the system itself may."""
    if by.actor is not None:
        raise NotAllowed
    _step(
        version,
        {State.DRAFT},
        State.APPROVED,
        by=by,
        verb="version.adopted",
        submitted_at=timezone.now(),
    )


def _step(
    version: PromptVersion, sources: set[State], target: State, *, by: By, verb: str, **values: Any
) -> None:
    """Move a version's state if it still stands where it must; raises StaleEdit."""
    with transaction.atomic(), moving():
        waiting = PromptVersion.objects.filter(
            pk=version.pk, state__in=sources, lock_version=version.lock_version
        )
        if not waiting.update(state=target, lock_version=version.lock_version + 1, **values):
            raise StaleEdit(
                _("이 버전은 지금 %(state)s 상태가 아니거나 그 사이 바뀌었습니다.")
                % {"state": " / ".join(str(source.label) for source in sources)}
            )
        _audit(by, verb, version, before={"state": version.state}, after={"state": target.value})
    version.refresh_from_db()


# --- Live -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What the newest active evaluation set says about a version."""

    eval_set: EvalSet | None
    run: EvalRun | None

    @property
    def open(self) -> bool:
        """Without a set there is nothing to pass."""
        return self.eval_set is None or (self.run is not None and self.run.verdict == Verdict.PASS)


def gate(version: PromptVersion) -> Gate:
    """The verdict that counts: newest run of exactly this content on the newest active set."""
    eval_set = EvalSet.objects.filter(template_id=version.template_id, active=True).first()
    if eval_set is None:
        return Gate(eval_set=None, run=None)
    run = eval_set.runs.filter(version=version, version_sha=version.body_sha256).first()
    return Gate(eval_set=eval_set, run=run)


def publish(
    version: PromptVersion, *, seen_lock: int, by: By, break_glass: bool = False
) -> Release:
    """Make an approved version what every member gets.

    `break_glass` lets a superuser pass the missing approval or verdict, never lint or contract.
    """
    by.needs("publish_promptversion")
    by.needs_reason()
    _needs_servable(version)
    if break_glass:
        _needs_break_glass(by)
    with _locked(version.template, seen_lock=seen_lock) as template:
        if not break_glass:
            _needs_approval_and_verdict(version)
        _needs_no_rollout(template)
        if template.live_release and template.live_release.version_id == version.pk:
            raise GuardFailed(_("이 버전은 이미 배포되어 있습니다."))
        if version.state != State.APPROVED:
            _step(
                version,
                {State.DRAFT, State.IN_REVIEW},
                State.APPROVED,
                by=by,
                verb="version.approved_by_break_glass",
            )
        release = _go_live(
            template,
            version,
            kind=ReleaseKind.PUBLISH,
            by=by,
            evidence=_evidence(version, break_glass),
        )
    if break_glass:
        told = _("검토 없이 배포됨: %(label)s") % {"label": version.label}
        _mail_after_commit(told, f"{by.name}: {by.reason}")
    return release


def schedule(version: PromptVersion, *, at: datetime, by: By) -> None:
    """Publish later; guards are checked again when the time comes."""
    by.needs("publish_promptversion")
    by.needs_reason()
    if at <= timezone.now():
        raise GuardFailed(_("예약 시각은 앞으로의 때여야 합니다."))
    _needs_servable(version)
    _needs_approval_and_verdict(version)
    with _locked(version.template):
        PromptVersion.objects.filter(pk=version.pk).update(go_live_at=at)
        _audit(by, "version.scheduled", version, after={"go_live_at": at})
    version.refresh_from_db()


def unschedule(version: PromptVersion, *, by: By) -> None:
    """Take back a scheduled publication."""
    by.needs("publish_promptversion")
    with _locked(version.template):
        waiting = PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False)
        if not waiting.update(go_live_at=None):
            raise StaleEdit(_("예약된 배포가 없습니다."))
        _audit(by, "version.unscheduled", version, before={"go_live_at": version.go_live_at})
    version.refresh_from_db()


def publish_due(now: datetime) -> list[str]:
    """Publish what was scheduled up to `now`; what no longer passes its guards stays and says why."""
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
    """None when another process did it, or somebody took the schedule back."""
    _needs_servable(version)
    by = By(reason=_("예약된 배포"))
    with _locked(version.template) as template:
        if not PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False).exists():
            return None
        _needs_approval_and_verdict(version)
        _needs_no_rollout(template)
        return _go_live(
            template, version, kind=ReleaseKind.SCHEDULED, by=by, evidence=_evidence(version, False)
        )


def _drop_schedule(version: PromptVersion, why: str) -> None:
    """What can't go live stays as it is, and people are told."""
    with _locked(version.template):
        PromptVersion.objects.filter(pk=version.pk).update(go_live_at=None)
        _audit(By(), "version.schedule_failed", version, reason=why)
    _mail_after_commit(_("예약된 배포를 하지 못함: %(label)s") % {"label": version.label}, why)


def roll_back(
    template: PromptTemplate, to: PromptVersion | None, *, seen_lock: int, by: By
) -> Release:
    """Return to a version that was live before, or (None) to the repository's text. Ends an open rollout."""
    by.needs("roll_back_promptversion")
    by.needs_reason()
    if to is not None:
        _needs_contract(to)
        if not was_live(to):
            raise GuardFailed(_("한 번도 배포된 적이 없는 버전으로는 되돌릴 수 없습니다."))
    with _locked(template, seen_lock=seen_lock) as held:
        if held.rollout is not None:
            _close(held, RolloutState.ABANDONED, reason=by.reason)
        return _go_live(held, to, kind=ReleaseKind.ROLLBACK, by=by, evidence={})


def was_live(version: PromptVersion) -> bool:
    """Whether every member ever got this version; a candidate of a rollout was not live by that."""
    return Release.objects.filter(version=version, kind__in=LIVE_KINDS).exists()


def kill(template: PromptTemplate, *, by: By) -> Release:
    """Stop asking any model for this purpose, at once; members get local answers until it is lifted."""
    by.needs("kill_prompttemplate")
    by.needs_reason()
    with _locked(template) as held:
        held.paused = True
        return _record(held, held.live_version, kind=ReleaseKind.KILL, by=by, percent=0)


def lift(template: PromptTemplate, *, by: By) -> Release:
    """Ask the model again."""
    by.needs("kill_prompttemplate")
    by.needs_reason()
    with _locked(template) as held:
        held.paused = False
        return _record(held, held.live_version, kind=ReleaseKind.LIFT, by=by)


# --- Rollouts -------------------------------------------------------------------------------------


def start_rollout(
    candidate: PromptVersion,
    *,
    seen_lock: int,
    by: By,
    steps: Sequence[int] = DEFAULT_STEPS,
    min_runs: int = 50,
    guardrails: Mapping[str, float] | None = None,
) -> Rollout:
    """Give a candidate to the first step's share of members, chosen by hash and kept from then on."""
    by.needs("manage_rollout")
    by.needs_reason()
    _needs_servable(candidate)
    _needs_steps(steps)
    with _locked(candidate.template, seen_lock=seen_lock) as template:
        _needs_approval_and_verdict(candidate)
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
            started_by=by.actor,
        )
        template.rollout = rollout
        _record(template, candidate, kind=ReleaseKind.ROLLOUT, by=by, percent=rollout.percent)
    return rollout


def advance(rollout: Rollout, *, by: By) -> Rollout:
    """Give the candidate to the next step's share."""
    by.needs("manage_rollout")
    with _held(rollout, {RolloutState.RUNNING}) as (template, held):
        if held.step_index + 1 >= len(held.steps):
            raise GuardFailed(_("마지막 단계입니다. 전체에 적용하거나 중단하십시오."))
        held.step_index += 1
        held.save(update_fields=["step_index"])
        _record(template, held.candidate, kind=ReleaseKind.ADVANCE, by=by, percent=held.percent)
    return held


def pause(rollout: Rollout, *, by: By, evidence: Mapping[str, Any] | None = None) -> Rollout:
    """Give everybody the control again, without losing who was in which arm."""
    by.needs("manage_rollout")
    by.needs_reason()
    kind = ReleaseKind.PAUSE if by.actor is not None else ReleaseKind.AUTO_PAUSE
    with _held(rollout, {RolloutState.RUNNING}) as (template, held):
        held.state = RolloutState.PAUSED
        held.state_reason = by.reason
        held.save(update_fields=["state", "state_reason"])
        _record(
            template, held.candidate, kind=kind, by=by, percent=0, evidence=dict(evidence or {})
        )
    return held


def resume(rollout: Rollout, *, by: By) -> Rollout:
    """Go on where the rollout was paused."""
    by.needs("manage_rollout")
    by.needs_reason()
    with _held(rollout, {RolloutState.PAUSED}) as (template, held):
        held.state = RolloutState.RUNNING
        held.state_reason = ""
        held.save(update_fields=["state", "state_reason"])
        _record(template, held.candidate, kind=ReleaseKind.RESUME, by=by, percent=held.percent)
    return held


def end(rollout: Rollout, *, promote: bool, by: By) -> Rollout:
    """Close a rollout: everybody gets the candidate (`promote`) or nobody does."""
    by.needs("manage_rollout")
    by.needs_reason()
    with _held(rollout, {RolloutState.RUNNING, RolloutState.PAUSED}) as (template, held):
        if promote:
            by.needs("publish_promptversion")
            _needs_servable(held.candidate)
            _close(template, RolloutState.PROMOTED, reason=by.reason)
            _go_live(
                template,
                held.candidate,
                kind=ReleaseKind.PUBLISH,
                by=by,
                evidence={"rollout": held.pk, "sha": held.candidate.body_sha256},
            )
        else:
            _close(template, RolloutState.ABANDONED, reason=by.reason)
            _record(template, held.candidate, kind=ReleaseKind.END, by=by, percent=0)
    held.refresh_from_db()
    return held


def _close(template: PromptTemplate, state: RolloutState, *, reason: str) -> None:
    """End the template's rollout; the caller saves the template with its Release."""
    if template.rollout is not None:
        Rollout.objects.filter(pk=template.rollout.pk).update(
            state=state, state_reason=reason, ended_at=timezone.now()
        )
    template.rollout = None


def _needs_steps(steps: Sequence[int]) -> None:
    rising = all(left < right for left, right in pairwise(steps))
    if not steps or not rising or not all(1 <= step <= 100 for step in steps):
        raise GuardFailed(_("단계는 1에서 100까지 커지는 수여야 합니다."))


@contextmanager
def _held(rollout: Rollout, states: set[RolloutState]) -> Iterator[tuple[PromptTemplate, Rollout]]:
    """The rollout as it stands now, under its template's lock; raises StaleEdit if it moved on."""
    with _locked(rollout.template) as template:
        held = Rollout.objects.select_related("candidate__template").get(pk=rollout.pk)
        if held.state not in states:
            raise StaleEdit(
                _("이 롤아웃은 지금 %(state)s 상태입니다.") % {"state": held.get_state_display()}
            )
        yield template, held


# --- Guards and records ---------------------------------------------------------------------------


@contextmanager
def _locked(template: PromptTemplate, *, seen_lock: int | None = None) -> Iterator[PromptTemplate]:
    """The template's row, ours alone until the end; raises StaleEdit if it moved since `seen_lock`."""
    with transaction.atomic(), moving():
        # No join here: MySQL would lock the joined rows, and nullable ones it may refuse.
        held = PromptTemplate.objects.select_for_update().get(pk=template.pk)
        if seen_lock is not None and held.lock_version != seen_lock:
            raise StaleEdit(
                _("페이지를 연 뒤에 배포 상태가 바뀌었습니다. 지금 상태를 확인하고 다시 하십시오.")
            )
        yield held


def _next_number(template: PromptTemplate) -> int:
    return (template.versions.aggregate(last=Max("number"))["last"] or 0) + 1


def _needs_contract(version: PromptVersion) -> None:
    current = version.template.contract.version
    if version.contract_version != current:
        raise GuardFailed(
            _("계약이 바뀌었습니다(버전은 %(old)d판, 코드는 %(new)d판). 새 초안으로 옮기십시오.")
            % {"old": version.contract_version, "new": current}
        )


def _needs_servable(version: PromptVersion) -> None:
    """Contract, lint and model: what no reason can make good."""
    _needs_contract(version)
    if has_errors(lint(draft_of(version))):
        raise GuardFailed(_("검사 오류가 있는 버전은 배포할 수 없습니다."))
    profile = version.model_profile if version.model_profile_id else None
    if profile is None:
        return
    if profile.sunset_on and profile.sunset_on <= timezone.localdate():
        raise GuardFailed(_("모델 프로필 %(name)s의 지원이 끝났습니다.") % {"name": profile.name})
    if profile.probed_at is None:
        raise GuardFailed(
            _("모델 프로필 %(name)s의 연결 시험을 먼저 하십시오.") % {"name": profile.name}
        )


def _needs_no_rollout(template: PromptTemplate) -> None:
    if template.rollout_id:
        raise GuardFailed(_("롤아웃이 진행 중입니다. 먼저 끝내십시오."))


def _needs_approval_and_verdict(version: PromptVersion) -> None:
    """As the row stands now: it may have been put away since the page was opened."""
    if not PromptVersion.objects.filter(pk=version.pk, state=State.APPROVED).exists():
        raise GuardFailed(_("승인된 버전만 배포할 수 있습니다."))
    if not gate(version).open:
        raise GuardFailed(_("평가 세트에서 합격하지 않은 버전입니다."))


def _needs_break_glass(by: By) -> None:
    if by.actor is None or not by.actor.is_superuser:
        raise NotAllowed(_("승인과 평가를 건너뛰는 것은 최고 관리자만 할 수 있습니다."))
    by.needs_reason(BREAK_GLASS_REASON)


def _evidence(version: PromptVersion, break_glass: bool) -> dict[str, Any]:
    """What the decision stood on, kept with the release."""
    run = gate(version).run
    return {
        "sha": version.body_sha256,
        "eval_run": run.pk if run else None,
        "verdict": run.verdict if run else None,
        "break_glass": break_glass,
    }


def _go_live(
    template: PromptTemplate,
    version: PromptVersion | None,
    *,
    kind: ReleaseKind,
    by: By,
    evidence: dict[str, Any],
) -> Release:
    if version is not None:  # what is live needs no schedule any more
        PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False).update(
            go_live_at=None
        )
    return _record(template, version, kind=kind, by=by, evidence=evidence, live=True)


def _record(
    template: PromptTemplate,
    version: PromptVersion | None,
    *,
    kind: ReleaseKind,
    by: By,
    percent: int = 100,
    evidence: dict[str, Any] | None = None,
    live: bool = False,
) -> Release:
    """Write the Release, move the template, tell everybody. The template is locked by the caller."""
    previous = template.live_version
    release = Release.objects.create(
        template=template,
        version=version,
        previous=previous,
        kind=kind,
        percent=percent,
        actor=by.actor,
        actor_name=by.name,
        reason=by.reason,
        request_id=by.request_id[:64],
        evidence=evidence or {},
    )
    if live:
        template.live_release = release
    template.lock_version += 1
    template.save(update_fields=["live_release", "rollout", "paused", "lock_version"])
    _audit(
        by,
        f"release.{kind.value}" + (".break_glass" if (evidence or {}).get("break_glass") else ""),
        template,
        before={"version": previous and previous.label},
        after={"version": version and version.label, "percent": percent},
    )
    resolution.bump_epoch()
    transaction.on_commit(resolution.announce)
    return release


def _audit(
    by: By,
    verb: str,
    target: Any,
    *,
    before: Any = None,
    after: Any = None,
    reason: str = "",
) -> None:
    audit.record(
        actor=by.actor,
        verb=verb,
        object=target,
        before=before,
        after=after,
        reason=reason or by.reason,
        request_id=by.request_id,
        ip=by.ip,
    )


def _mail_after_commit(subject: str, text: str) -> None:
    transaction.on_commit(partial(notify_operators, subject, text, level=logging.WARNING))
