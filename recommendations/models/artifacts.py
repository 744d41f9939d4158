"""Trained models and the engine's settings: versioned rows, one of each in force."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class ArtifactState(models.TextChoices):
    """How a training ended."""

    BUILDING = "building", _("학습 중")
    READY = "ready", _("사용 가능")
    REFUSED = "refused", _("거부됨")
    FAILED = "failed", _("실패")


class ModelArtifact(models.Model):
    """One training: its figures, and the files that every host loads."""

    State = ArtifactState

    version = models.CharField(_("버전"), max_length=64, unique=True)
    state = models.CharField(_("상태"), max_length=10, choices=State.choices)
    #: The newest of these is the model in use; rolling back sets it again on an older row.
    activated_at = models.DateTimeField(_("적용 시각"), null=True, blank=True, db_index=True)
    activated_by = models.CharField(_("적용한 사람"), max_length=150, blank=True)
    figures = models.JSONField(_("평가"), default=dict, blank=True)
    coverage = models.JSONField(_("점수기별 곡 수"), default=dict, blank=True)
    note = models.TextField(_("메모"), blank=True)
    size_bytes = models.BigIntegerField(_("크기"), default=0)
    seconds = models.FloatField(_("학습 시간(초)"), default=0)
    created_at = models.DateTimeField(_("시작"), auto_now_add=True)

    class Meta:
        verbose_name = _("학습 모델")
        verbose_name_plural = _("학습 모델")
        ordering = ("-created_at",)
        permissions = (("activate_modelartifact", _("모델을 적용·되돌릴 수 있음")),)

    def __str__(self) -> str:
        return self.version


class ModelArtifactChunk(models.Model):
    """A piece of an artifact's files, small enough for MySQL's packet limit."""

    artifact = models.ForeignKey(ModelArtifact, models.CASCADE, related_name="chunks")
    name = models.CharField(max_length=80)
    number = models.PositiveIntegerField()
    body = models.BinaryField()

    class Meta:
        verbose_name = _("모델 파일 조각")
        verbose_name_plural = _("모델 파일 조각")
        constraints = (
            models.UniqueConstraint(fields=("artifact", "name", "number"), name="chunk_once"),
        )

    def __str__(self) -> str:
        return f"{self.name}#{self.number}"


class EngineSettingsVersion(models.Model):
    """Weights and tables of the engine as staff set them. Rows are immutable: an edit creates a new one."""

    number = models.PositiveIntegerField(_("번호"), unique=True)
    payload = models.JSONField(
        _("설정"), help_text=_("신호 가중치, 점수기 배합, 다양성, 상황별 배수")
    )
    note = models.CharField(_("변경 사유"), max_length=300)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, verbose_name=_("작성자")
    )
    created_at = models.DateTimeField(_("작성"), auto_now_add=True)

    class Meta:
        verbose_name = _("엔진 설정")
        verbose_name_plural = _("엔진 설정")
        ordering = ("-number",)
        get_latest_by = "number"

    def __str__(self) -> str:
        return f"v{self.number}"


class LearnedSituations(models.Model):
    """Songs that members played, sang or liked per situation, counted nightly; the newest row is in force."""

    #: `engine.training.context_learning.Heard`
    heard = models.JSONField(_("집계"))
    made_at = models.DateTimeField(_("집계 시각"))

    class Meta:
        verbose_name = _("상황 학습")
        verbose_name_plural = _("상황 학습")
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.made_at:%Y-%m-%d %H:%M}"
