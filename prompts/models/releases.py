"""The history of what was live: one row for each change, and the counter that tells processes to reload."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.models.audit import AppendOnly
from prompts.models.fields import staff_account
from prompts.models.moving import needs_moving
from prompts.models.templates import PromptTemplate
from prompts.models.versions import PromptVersion


class ReleaseKind(models.TextChoices):
    """Why what is served changed."""

    PUBLISH = "publish", _("배포")
    ROLLBACK = "rollback", _("되돌리기")
    SCHEDULED = "scheduled", _("예약 배포")
    ROLLOUT = "rollout", _("롤아웃 시작")
    ADVANCE = "advance", _("롤아웃 확대")
    PAUSE = "pause", _("롤아웃 멈춤")
    RESUME = "resume", _("롤아웃 재개")
    AUTO_PAUSE = "auto_pause", _("자동 멈춤")
    END = "end", _("롤아웃 끝")
    KILL = "kill", _("긴급 중지")
    LIFT = "lift", _("중지 해제")


class Release(AppendOnly):
    """One change of what members get: who, from what, to what, why, when. Written only by prompts/versions/moves.py."""

    template = models.ForeignKey(
        PromptTemplate,
        verbose_name=_("프롬프트"),
        on_delete=models.PROTECT,
        related_name="releases",
    )
    #: None: the repository's own text.
    version = models.ForeignKey(
        PromptVersion,
        verbose_name=_("바뀐 버전"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="releases",
    )
    previous = models.ForeignKey(
        PromptVersion,
        verbose_name=_("이전 버전"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    kind = models.CharField(_("종류"), max_length=12, choices=ReleaseKind.choices)
    percent = models.PositiveSmallIntegerField(_("회원 비율(%)"), default=100)
    actor = staff_account(_("누가"))
    actor_name = models.CharField(_("이름"), max_length=150)
    reason = models.TextField(_("이유"))
    request_id = models.CharField(_("요청 번호"), max_length=64, blank=True)
    evidence = models.JSONField(_("근거"), default=dict, blank=True)

    class Meta:
        verbose_name = _("배포 이력")
        verbose_name_plural = _("배포 이력")
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["template", "-id"], name="release_history")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.version or self.template.slug}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            needs_moving("Release")
        super().save(*args, **kwargs)


class PromptEpoch(models.Model):
    """One row that grows with every move, so that a process sees with one cheap read that it must look again."""

    value = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.value)
