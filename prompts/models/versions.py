"""Prompt versions: texts, model and parameters as one artifact that never changes after submission.

Migration 0001 looks up `default_steps` and `default_guardrails` in this module.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.errors import VersionIsFrozen
from prompts.models.calls import ModelProfile
from prompts.models.fields import staff_account
from prompts.models.moving import check_move, needs_moving
from prompts.models.rollouts import default_guardrails, default_steps
from prompts.models.templates import PromptTemplate
from prompts.versions.rendering import body_sha

__all__ = [
    "PromptVersion",
    "PromptVersionQuerySet",
    "VersionState",
    "default_guardrails",
    "default_steps",
]


class VersionState(models.TextChoices):
    """The review state of a version. Whether it is live or a candidate follows from releases and rollouts."""

    DRAFT = "draft", _("초안")
    IN_REVIEW = "in_review", _("검토 중")
    CHANGES_REQUESTED = "changes_requested", _("수정 요청")
    APPROVED = "approved", _("승인")
    ARCHIVED = "archived", _("보관")


#: Fields of the texts and parameters: frozen once the version is no longer a draft.
BODY_FIELDS = frozenset(
    {
        "template",
        "template_id",
        "number",
        "parent",
        "parent_id",
        "system_text",
        "user_text",
        "params",
        "model_profile",
        "model_profile_id",
        "contract_version",
        "body_sha256",
        "note",
    }
)


#: The state of a version: changed by prompts/versions/moves.py.
MOVED_FIELDS = frozenset(
    {"state", "lock_version", "go_live_at", "submitted_at", "decided_by", "decided_at"}
)


class PromptVersionQuerySet(models.QuerySet["PromptVersion"]):
    """Refuses updates of frozen fields, and of the state outside of a `moving()` block."""

    def update(self, **values: Any) -> int:
        touched = BODY_FIELDS & values.keys()
        if touched:
            raise VersionIsFrozen(
                f"{', '.join(sorted(touched))}: edit drafts through prompts.versions.drafts.save_draft."
            )
        if moved := MOVED_FIELDS & values.keys():
            needs_moving(", ".join(sorted(moved)))
        return super().update(**values)

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("update_conflicts"):
            raise VersionIsFrozen("Versions are added, not overwritten.")
        return super().bulk_create(objs, *args, **kwargs)

    def save_draft(self, version_id: int, *, seen_lock: int, **body: Any) -> bool:
        """Change a draft unless it was changed since `seen_lock` was read; False if it was, or is no draft."""
        untouched = self.filter(pk=version_id, state=VersionState.DRAFT, lock_version=seen_lock)
        return (
            super(PromptVersionQuerySet, untouched).update(**body, lock_version=seen_lock + 1) == 1
        )

    def delete(self) -> NoReturn:
        raise VersionIsFrozen(
            "Versions are archived, not deleted: releases and runs point at them."
        )


class PromptVersion(models.Model):
    """System text, user text, model and parameters as one artifact."""

    template = models.ForeignKey(
        PromptTemplate,
        verbose_name=_("프롬프트"),
        on_delete=models.PROTECT,
        related_name="versions",
    )
    number = models.PositiveIntegerField(_("번호"))
    parent = models.ForeignKey(
        "self",
        verbose_name=_("바탕"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    state = models.CharField(
        _("상태"), max_length=20, choices=VersionState.choices, default=VersionState.DRAFT
    )
    system_text = models.TextField(_("시스템 글"))
    user_text = models.TextField(_("사용자 글"))
    params = models.JSONField(_("매개변수"), default=dict)
    model_profile = models.ForeignKey(
        ModelProfile,
        verbose_name=_("모델 프로필"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text=_("비우면 기본 모델을 씁니다."),
    )
    contract_version = models.PositiveIntegerField(_("계약 판"))
    body_sha256 = models.CharField(_("내용 해시"), max_length=64, db_index=True)
    lint = models.JSONField(_("검사 결과"), default=list, editable=False)
    note = models.CharField(_("메모"), max_length=200, help_text=_("무엇을 왜 바꾸는지 한 줄로."))
    lock_version = models.PositiveIntegerField(default=0, editable=False)
    created_by = staff_account(_("만든 사람"))
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)
    submitted_at = models.DateTimeField(_("제출한 때"), null=True, blank=True)
    decided_by = staff_account(_("결정한 사람"))
    decided_at = models.DateTimeField(_("결정한 때"), null=True, blank=True)
    decision_note = models.TextField(_("결정 메모"), blank=True)
    go_live_at = models.DateTimeField(_("예약 배포"), null=True, blank=True)

    objects = PromptVersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("프롬프트 버전")
        verbose_name_plural = _("프롬프트 버전")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["template", "number"], name="version_number_once")
        ]
        permissions = [
            ("submit_promptversion", _("초안을 제출할 수 있음")),
            ("review_promptversion", _("버전을 승인하거나 수정을 요청할 수 있음")),
            ("publish_promptversion", _("버전을 배포할 수 있음")),
            ("roll_back_promptversion", _("이전 버전으로 되돌릴 수 있음")),
            ("run_paid_preview", _("미리보기에서 실제 모델을 부를 수 있음")),
        ]

    def __str__(self) -> str:
        return self.label

    def save(self, *args: Any, **kwargs: Any) -> None:
        drafts = PromptVersion.objects.filter(pk=self.pk, state=VersionState.DRAFT)
        if not self._state.adding and not drafts.exists():
            raise VersionIsFrozen
        check_move(self, frozenset({"state", "lock_version", "go_live_at"}))
        self.body_sha256 = self.content_sha()
        super().save(*args, **kwargs)

    @property
    def label(self) -> str:
        """`curation@12`: what runs, calls and metrics name it by."""
        return f"{self.template.slug}@{self.number}"

    @property
    def is_draft(self) -> bool:
        return self.state == VersionState.DRAFT

    def content_sha(self) -> str:
        """Content hash of the row's current fields."""
        return body_sha(
            contract_key=self.template.contract_key,
            contract_version=self.contract_version,
            system_text=self.system_text,
            user_text=self.user_text,
            params=self.params,
            model_profile=str(self.model_profile_id or ""),
        )

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise VersionIsFrozen(
            "Versions are archived, not deleted: releases and runs point at them."
        )
