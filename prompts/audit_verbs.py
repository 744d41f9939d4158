"""What the audit log records about prompts, models and evaluations."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class PromptVerb(models.TextChoices):
    """The values are stored in audit rows and never change."""

    VERSION_CREATED = "version.created", _("초안을 만듦")
    VERSION_EDITED = "version.edited", _("초안을 고침")
    VERSION_SUBMITTED = "version.submitted", _("버전을 제출함")
    VERSION_APPROVED = "version.approved", _("버전을 승인함")
    VERSION_CHANGES_REQUESTED = "version.changes_requested", _("수정을 요청함")
    VERSION_ARCHIVED = "version.archived", _("버전을 보관함")
    VERSION_ADOPTED = "version.adopted", _("저장소의 글을 받아들임")
    VERSION_APPROVED_BY_BREAK_GLASS = (
        "version.approved_by_break_glass",
        _("검토 없이 승인됨"),
    )
    VERSION_SCHEDULED = "version.scheduled", _("배포를 예약함")
    VERSION_UNSCHEDULED = "version.unscheduled", _("배포 예약을 취소함")
    VERSION_SCHEDULE_FAILED = "version.schedule_failed", _("예약된 배포가 실패함")
    VERSION_TRIED = "version.tried", _("미리보기에서 모델을 부름")
    VERSION_REPLAYED = "version.replayed", _("실행을 다시 돌림")
    RELEASE_PUBLISH = "release.publish", _("배포함")
    RELEASE_PUBLISH_BREAK_GLASS = "release.publish.break_glass", _("승인·평가 없이 배포함")
    RELEASE_ROLLBACK = "release.rollback", _("되돌림")
    RELEASE_SCHEDULED = "release.scheduled", _("예약된 배포가 나감")
    RELEASE_ROLLOUT = "release.rollout", _("롤아웃을 시작함")
    RELEASE_ADVANCE = "release.advance", _("롤아웃을 넓힘")
    RELEASE_PAUSE = "release.pause", _("롤아웃을 멈춤")
    RELEASE_RESUME = "release.resume", _("롤아웃을 재개함")
    RELEASE_AUTO_PAUSE = "release.auto_pause", _("롤아웃이 자동으로 멈춤")
    RELEASE_END = "release.end", _("롤아웃을 끝냄")
    RELEASE_KILL = "release.kill", _("긴급 중지함")
    RELEASE_LIFT = "release.lift", _("긴급 중지를 풂")
    EVALSET_FROZEN = "evalset.frozen", _("평가 세트를 만듦")
    EVALSET_ACTIVATED = "evalset.activated", _("평가 세트를 배포 기준으로 삼음")
    EVALSET_DEACTIVATED = "evalset.deactivated", _("평가 세트를 배포 기준에서 뺌")
    EVALUATION_STARTED = "evaluation.started", _("평가를 시작함")
    MODELPROFILE_ADDED = "modelprofile.added", _("모델 프로필을 추가함")
    MODELPROFILE_CHANGED = "modelprofile.changed", _("모델 프로필을 바꿈")
    MODELPROFILE_PROBED = "modelprofile.probed", _("모델 연결을 시험함")
    MODELPROFILE_BREAKER_CLOSED = "modelprofile.breaker_closed", _("차단기를 닫음")
    BUDGET_ADDED = "budget.added", _("예산을 정함")
    BUDGET_CHANGED = "budget.changed", _("예산을 바꿈")

    @classmethod
    def of_release(cls, kind: str, *, break_glass: bool = False) -> PromptVerb:
        """The verb of a `ReleaseKind`."""
        return cls(f"release.{kind}.break_glass" if break_glass else f"release.{kind}")


#: Shown in red on the audit page.
ALARMING_VERBS = frozenset(
    {
        PromptVerb.VERSION_APPROVED_BY_BREAK_GLASS,
        PromptVerb.RELEASE_PUBLISH_BREAK_GLASS,
        PromptVerb.RELEASE_KILL,
    }
)
