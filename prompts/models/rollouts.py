"""Gradual rollouts: a candidate version, the share of members that gets it, and its limits."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.models.fields import staff_account
from prompts.models.moving import MovedManager, needs_moving


class RolloutState(models.TextChoices):
    RUNNING = "running", _("진행 중")
    PAUSED = "paused", _("멈춤")
    PROMOTED = "promoted", _("전체 적용")
    ABANDONED = "abandoned", _("중단")


#: Shares of members a candidate gets, one step after the other, in percent.
DEFAULT_STEPS = (1, 5, 25, 50, 100)


def default_steps() -> list[int]:
    return list(DEFAULT_STEPS)


def default_guardrails() -> dict[str, float]:
    """Bounds for the candidate; the last two are ratios to the control's own figure."""
    return {"validity": 0.95, "fallback": 0.15, "latency": 1.5, "cost": 1.5}


class Rollout(models.Model):
    """A candidate for a growing share of members; the others get the control."""

    template = models.ForeignKey(
        "prompts.PromptTemplate",
        verbose_name=_("프롬프트"),
        on_delete=models.PROTECT,
        related_name="rollouts",
    )
    control = models.ForeignKey(
        "prompts.PromptVersion",
        verbose_name=_("기준 버전"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    candidate = models.ForeignKey(
        "prompts.PromptVersion",
        verbose_name=_("후보 버전"),
        on_delete=models.PROTECT,
        related_name="rollouts",
    )
    #: Makes the split of this rollout independent of every other one's.
    salt = models.CharField(max_length=32, editable=False)
    steps = models.JSONField(_("단계(%)"), default=default_steps)
    step_index = models.PositiveSmallIntegerField(_("현재 단계"), default=0)
    min_runs = models.PositiveIntegerField(
        _("판단에 필요한 실행 수"),
        default=50,
        validators=[MinValueValidator(5), MaxValueValidator(100_000)],
    )
    guardrails = models.JSONField(_("안전 한계"), default=default_guardrails)
    state = models.CharField(
        _("상태"), max_length=10, choices=RolloutState.choices, default=RolloutState.RUNNING
    )
    #: Why it was paused or ended, from staff or the guardrail.
    state_reason = models.TextField(_("상태의 이유"), blank=True)
    started_by = staff_account(_("시작한 사람"))
    started_at = models.DateTimeField(_("시작"), auto_now_add=True)
    ended_at = models.DateTimeField(_("끝"), null=True, blank=True)

    objects = MovedManager()
    #: Fields that decide who gets which version; none is edited by hand.
    MOVED_FIELDS: ClassVar = frozenset(
        {
            "control",
            "candidate",
            "salt",
            "steps",
            "step_index",
            "min_runs",
            "guardrails",
            "state",
            "state_reason",
            "ended_at",
        }
    )

    class Meta:
        verbose_name = _("롤아웃")
        verbose_name_plural = _("롤아웃")
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [("manage_rollout", _("롤아웃을 시작하고 움직일 수 있음"))]

    def __str__(self) -> str:
        return f"{self.candidate.label} {self.percent}%"

    def save(self, *args: Any, **kwargs: Any) -> None:
        needs_moving("Rollout")
        super().save(*args, **kwargs)

    @property
    def percent(self) -> int:
        """Percent of members that get the candidate in the current step."""
        return int(self.steps[self.step_index])

    @property
    def is_open(self) -> bool:
        return self.state in {RolloutState.RUNNING, RolloutState.PAUSED}
