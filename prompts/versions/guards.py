"""Checks that a version may be served: contract, lint, model, approval and evaluation verdict."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from prompts.errors import GuardFailed, NotAllowed
from prompts.models import (
    EvalRun,
    EvalSet,
    EvalVerdict,
    PromptTemplate,
    PromptVersion,
    VersionState,
)
from prompts.versions.actor import Actor
from prompts.versions.drafts import draft_of
from prompts.versions.lint import has_errors, lint

#: Publishing without approval or in spite of a failed evaluation needs a reason of a whole sentence.
MIN_BREAK_GLASS_REASON = 20


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The newest active evaluation set and its verdict on a version."""

    eval_set: EvalSet | None
    run: EvalRun | None

    @property
    def open(self) -> bool:
        """Without a set there is nothing to pass."""
        return self.eval_set is None or (
            self.run is not None and self.run.verdict == EvalVerdict.PASS
        )


def gate(version: PromptVersion) -> Gate:
    """The verdict that counts: newest run of exactly this content on the newest active set."""
    eval_set = EvalSet.objects.filter(template_id=version.template_id, active=True).first()
    if eval_set is None:
        return Gate(eval_set=None, run=None)
    run = eval_set.runs.filter(version=version, version_sha=version.body_sha256).first()
    return Gate(eval_set=eval_set, run=run)


def require_contract(version: PromptVersion) -> None:
    current = version.template.contract.version
    if version.contract_version != current:
        raise GuardFailed(
            _("계약이 바뀌었습니다(버전은 %(old)d판, 코드는 %(new)d판). 새 초안으로 옮기십시오.")
            % {"old": version.contract_version, "new": current}
        )


def require_servable(version: PromptVersion) -> None:
    """Contract, lint and model: what no reason can make good."""
    require_contract(version)
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


def require_no_rollout(template: PromptTemplate) -> None:
    if template.rollout_id:
        raise GuardFailed(_("롤아웃이 진행 중입니다. 먼저 끝내십시오."))


def require_approval_and_verdict(version: PromptVersion) -> None:
    """Reads the row again: it may have been archived since the page was opened."""
    if not PromptVersion.objects.filter(pk=version.pk, state=VersionState.APPROVED).exists():
        raise GuardFailed(_("승인된 버전만 배포할 수 있습니다."))
    if not gate(version).open:
        raise GuardFailed(_("평가 세트에서 합격하지 않은 버전입니다."))


def require_break_glass(actor: Actor) -> None:
    if actor.user is None or not actor.user.is_superuser:
        raise NotAllowed(_("승인과 평가를 건너뛰는 것은 최고 관리자만 할 수 있습니다."))
    actor.require_reason(MIN_BREAK_GLASS_REASON)
