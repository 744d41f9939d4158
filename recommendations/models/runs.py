"""What was answered: a row per computed answer, and the answer that is in force for each member."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from engine.types import Strategy

from .fields import CompressedJSONField


class Trigger(models.TextChoices):
    """What caused a run."""

    API = "api", _("API 요청")
    FAVORITES = "favorites", _("좋아요 변경")
    QUEUE = "queue", _("대기열 작업")
    SCHEDULE = "schedule", _("예약 작업")
    WARM = "warm", _("캐시 예열")
    REPLAY = "replay", _("재실행")
    ADMIN = "admin", _("관리자")


class Source(models.TextChoices):
    """Where an answer came from."""

    CACHE = "cache", _("캐시")
    LOCAL = "local", _("로컬 엔진")
    MODEL = "model", _("언어 모델")


class Degraded(models.TextChoices):
    """Why an answer is less than it could be; callers read the value in `degraded`."""

    DATABASE = "database", _("데이터베이스 응답 없음")
    REDIS = "redis", _("Redis 응답 없음")
    NOT_STORED = "not_stored", _("새 사용자가 하루 한도를 넘어 저장하지 않음")
    BUSY = "busy", _("모델 자리가 모두 참")
    NO_MODEL = "no_model", _("언어 모델 없음")
    DEADLINE = "deadline", _("모델이 제시간에 답하지 않음")
    BUDGET = "budget", _("예산 초과")
    QUOTA = "quota", _("잔액 부족")
    RATE_LIMITED = "rate_limited", _("호출 한도")
    CIRCUIT_OPEN = "circuit_open", _("차단기 열림")
    CONNECTION = "connection", _("연결 실패")
    MODEL_ERROR = "model_error", _("모델 오류")
    INVALID_ANSWER = "invalid_answer", _("모델 답의 형식이 틀림")
    TRUNCATED = "truncated", _("잘린 응답")
    REFUSED = "refused", _("모델이 거절")
    EMPTY = "empty", _("빈 응답")
    PAUSED = "paused", _("프롬프트 일시 중지")
    PROMPT_PAUSED = "prompt_paused", _("프롬프트 일시 중지")
    UNKNOWN_CONTRACT = "unknown_contract", _("알 수 없는 프롬프트")
    MISSING_VARIABLES = "missing_variables", _("프롬프트 변수 누락")
    PROMPT_ERROR = "prompt_error", _("프롬프트 오류")

    @classmethod
    def label_of(cls, value: str) -> str:
        """The label for staff; a value of another release is shown as it is."""
        return str(cls(value).label) if value in cls.values else value


#: What staff read for each strategy.
STRATEGY_LABELS: dict[str, Promise] = {
    Strategy.FAST: _("빠름 (모델 없이)"),
    Strategy.DEFAULT: _("기본"),
    Strategy.DEEP: _("깊이 (긴 제한 시간)"),
}


class RunQuerySet(models.QuerySet["Run"]):
    def for_member(self, member_key: str) -> Self:
        return self.filter(member_key=member_key)

    def older_than(self, moment: datetime) -> Self:
        return self.filter(created_at__lt=moment)


class Run(models.Model):
    """One computed answer: its query, the funnel, the result, and the versions it was computed with."""

    uuid = models.UUIDField(_("실행 ID"), primary_key=True, default=uuid.uuid4, editable=False)
    member_key = models.CharField(_("회원"), max_length=64)
    trigger = models.CharField(_("계기"), max_length=12, choices=Trigger.choices)
    strategy = models.CharField(_("전략"), max_length=8)
    locale = models.CharField(_("언어"), max_length=2)
    source = models.CharField(_("생성 방식"), max_length=8, choices=Source.choices)
    degraded = models.CharField(_("저하 사유"), max_length=32, blank=True)
    count = models.PositiveSmallIntegerField(_("곡 수"))
    fingerprint = models.CharField(_("지문"), max_length=64)
    seed = models.BigIntegerField(_("시드"))
    favorites = models.PositiveIntegerField(_("좋아요 수"), default=0)
    versions = models.JSONField(_("버전"), default=dict)
    prompt_versions = models.JSONField(_("프롬프트 버전"), default=dict)
    trace = models.JSONField(_("단계"), default=list)
    timings = models.JSONField(_("소요 시간(ms)"), default=dict)
    #: {"candidates": [{song_id, score, …}], "shown": [song_id], "picks": [song_id], "final": [song_id], "repairs": {…}}
    snapshot = CompressedJSONField(_("후보 스냅샷"), null=True)
    #: [{"label", "tagline", "kind", "song_ids"}] in the order served.
    groups = CompressedJSONField(_("그룹"), null=True)
    #: The engine's query and `Slate.why`, for "why" and for replay; compressed.
    query = CompressedJSONField(_("질의"), null=True)
    why = CompressedJSONField(_("근거"), null=True)
    job_uuid = models.UUIDField(_("작업"), null=True, blank=True, db_index=True)
    replay_of = models.UUIDField(_("원본 실행"), null=True, blank=True)
    #: Songs of this run that the member liked within 14 days; filled by a scheduled job.
    liked_at_14d = models.PositiveSmallIntegerField(_("14일 내 좋아요"), null=True, blank=True)
    created_at = models.DateTimeField(_("생성"), db_index=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("추천 실행")
        verbose_name_plural = _("추천 실행")
        ordering = ("-created_at",)
        indexes = (models.Index(fields=("member_key", "-created_at"), name="run_member_newest"),)
        permissions = (
            ("view_member_data", _("회원 데이터를 볼 수 있음")),
            ("replay_run", _("실행을 다시 돌릴 수 있음")),
        )

    def __str__(self) -> str:
        return str(self.uuid)


class StoredAnswer(models.Model):
    """The plain answer in force for a member; Redis' `recommend:{member}` is rebuilt from it."""

    member_key = models.CharField(_("회원"), max_length=64, primary_key=True)
    #: The JSON of `recommend:{member}`, as text, zlib-compressed.
    body = models.BinaryField()
    meta = models.JSONField(default=dict)
    run_uuid = models.UUIDField(_("실행"))
    generated_at = models.DateTimeField(_("생성"))
    expires_at = models.DateTimeField(_("만료"), db_index=True)
    #: Written while Redis was down: to be sent there when it returns.
    redis_pending = models.BooleanField(_("Redis 대기"), default=False, db_index=True)

    class Meta:
        verbose_name = _("저장된 추천")
        verbose_name_plural = _("저장된 추천")

    def __str__(self) -> str:
        return self.member_key


class Lease(models.Model):
    """Who holds a lock, while there is no Redis to hold it."""

    key = models.CharField(max_length=190, primary_key=True)
    token = models.CharField(max_length=32)
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = _("작업 임대")
        verbose_name_plural = _("작업 임대")

    def __str__(self) -> str:
        return self.key
