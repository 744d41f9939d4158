"""Evaluation sets, their frozen cases, and the runs that tried a version on them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.models.audit import AppendOnly
from prompts.models.fields import staff_account
from prompts.models.templates import PromptTemplate
from prompts.models.versions import PromptVersion


class EvalSet(models.Model):
    """Frozen runs to try a version on. The newest active set of a prompt is the gate on its publish page."""

    template = models.ForeignKey(
        PromptTemplate,
        verbose_name=_("프롬프트"),
        on_delete=models.PROTECT,
        related_name="eval_sets",
    )
    title = models.CharField(_("제목"), max_length=100)
    active = models.BooleanField(_("배포 기준으로 사용"), default=True)
    thresholds = models.JSONField(_("합격 기준"), default=dict, blank=True)
    created_by = staff_account(_("만든 사람"))
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)

    class Meta:
        verbose_name = _("평가 세트")
        verbose_name_plural = _("평가 세트")
        ordering = ["-id"]
        permissions = [("run_evalset", _("평가를 실행할 수 있음(유료)"))]

    def __str__(self) -> str:
        return self.title


class EvalCase(AppendOnly):
    """One logged run: the values sent to the model, our own ranking, and what the member liked later."""

    eval_set = models.ForeignKey(EvalSet, on_delete=models.CASCADE, related_name="cases")
    run_uuid = models.UUIDField(_("실행"), null=True, blank=True)
    #: Keyed hash, never the member's own id.
    member_hash = models.CharField(_("회원"), max_length=64, blank=True)
    variables = models.JSONField(_("변수"))
    #: Song ids in the order their numbers show; [] where the prompt shows no songs.
    item_ids = models.JSONField(_("곡"), default=list)
    #: The same ids in the order of the local ranking.
    baseline_ids = models.JSONField(_("우리 순위"), default=list)
    later_liked_ids = models.JSONField(_("이후 좋아요"), default=list)
    #: Line number (from 1) of a planted instruction; 0 without one.
    poisoned = models.PositiveIntegerField(_("오염된 곡 번호"), default=0)
    n_items = models.PositiveIntegerField(_("요청 수"), default=0)
    seed = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("평가 사례")
        verbose_name_plural = _("평가 사례")
        ordering = ["id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"#{self.pk}"


class EvalVerdict(models.TextChoices):
    RUNNING = "running", _("진행 중")
    PASS = "pass", _("합격")
    FAIL = "fail", _("불합격")
    ERROR = "error", _("오류")


class EvalRun(models.Model):
    """A version tried on a set: its figures, the live version's figures on the same cases, and the verdict."""

    eval_set = models.ForeignKey(
        EvalSet, verbose_name=_("평가 세트"), on_delete=models.PROTECT, related_name="runs"
    )
    version = models.ForeignKey(
        PromptVersion, verbose_name=_("버전"), on_delete=models.PROTECT, related_name="eval_runs"
    )
    version_sha = models.CharField(max_length=64)
    compared_with = models.CharField(_("비교 대상"), max_length=80, blank=True)
    figures = models.JSONField(_("수치"), default=dict)
    reference = models.JSONField(_("비교 수치"), default=dict)
    findings = models.JSONField(_("판정 내용"), default=list)
    verdict = models.CharField(
        _("판정"), max_length=10, choices=EvalVerdict.choices, default=EvalVerdict.RUNNING
    )
    created_by = staff_account(_("실행한 사람"))
    created_at = models.DateTimeField(_("시작"), auto_now_add=True)
    finished_at = models.DateTimeField(_("끝"), null=True, blank=True)

    class Meta:
        verbose_name = _("평가 결과")
        verbose_name_plural = _("평가 결과")
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["version", "eval_set", "-id"], name="eval_verdict")]

    def __str__(self) -> str:
        return f"{self.version.label}: {self.get_verdict_display()}"


class EvalResult(AppendOnly):
    """How one version answered one case."""

    run = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="results")
    case = models.ForeignKey(EvalCase, on_delete=models.CASCADE, related_name="+")
    outcome = models.CharField(_("결과"), max_length=20)
    answer = models.JSONField(_("답"), default=dict)
    figures = models.JSONField(_("수치"), default=dict)

    class Meta:
        verbose_name = _("사례별 결과")
        verbose_name_plural = _("사례별 결과")
        ordering = ["id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.case}: {self.outcome}"
