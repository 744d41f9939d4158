"""Model profiles and prices, model calls with their cost, and the budget."""

from __future__ import annotations

import re
import uuid
import zlib
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

#: Only variables named like a provider's key may be named: SECRET_KEY must never travel as a bearer token.
KEY_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
#: Micro-dollars per million tokens; larger than any price in the field, small enough to never overflow.
MAX_MICRO_USD = 10**12


class Api(models.TextChoices):
    """Which of the two call styles a server understands best."""

    RESPONSES = "responses", "responses (OpenAI)"
    CHAT = "chat", "chat.completions"


class CallOutcome(models.TextChoices):
    """How a call ended. Everything but the first two means: answer locally."""

    OK = "ok", _("정상")
    OK_REPAIRED = "ok_repaired", _("보정 후 정상")
    TRUNCATED = "truncated", _("잘린 응답")
    REFUSED = "refused", _("모델이 거절")
    INVALID_JSON = "invalid_json", _("JSON 아님")
    SCHEMA_MISMATCH = "schema_mismatch", _("형식 불일치")
    EMPTY = "empty", _("빈 응답")
    TIMEOUT = "timeout", _("시간 초과")
    RATE_LIMITED = "rate_limited", _("호출 한도")
    QUOTA = "quota", _("잔액 부족")
    HTTP_4XX = "http_4xx", _("요청 오류 (4xx)")
    HTTP_5XX = "http_5xx", _("서버 오류 (5xx)")
    CONNECTION = "connection", _("연결 실패")
    BUDGET_DENIED = "budget_denied", _("예산 초과")
    CIRCUIT_OPEN = "circuit_open", _("차단기 열림")
    CANCELLED = "cancelled", _("취소")


class CallTrigger(models.TextChoices):
    """What a call was made for."""

    API = "api", _("API 요청")
    FAVORITES = "favorites", _("즐겨찾기 변경")
    QUEUE = "queue", _("작업 큐")
    SCHEDULE = "schedule", _("예약 작업")
    WARM = "warm", _("미리 만들기")
    PREVIEW = "preview", _("미리보기")
    REPLAY = "replay", _("다시 돌리기")
    EVAL = "eval", _("평가")
    PROBE = "probe", _("연결 시험")


#: Calls of staff: they count neither in a version's figures nor against a member's daily budget.
STAFF_TRIGGERS = (
    CallTrigger.PREVIEW,
    CallTrigger.REPLAY,
    CallTrigger.EVAL,
    CallTrigger.PROBE,
)

USABLE = frozenset({CallOutcome.OK, CallOutcome.OK_REPAIRED})


def allowed_hosts() -> set[str]:
    """Host names the gateway may talk to: OpenAI, the one of OPENAI_BASE_URL, and LLM_HOSTS."""
    named = {"api.openai.com", *settings.LLM_HOSTS}
    if settings.OPENAI_BASE_URL:
        named.add(urlsplit(settings.OPENAI_BASE_URL).hostname or "")
    return named


def validate_key_variable(value: str) -> None:
    """Refuse anything but the name of a provider's key."""
    if not KEY_VARIABLE.fullmatch(value):
        raise ValidationError(
            _(
                "환경 변수 이름만 입력하세요. 대문자이며 _API_KEY 로 끝나야 합니다. 예: OPENAI_API_KEY"
            )
        )


def validate_base_url(value: str) -> None:
    """Refuse a host that the operator did not allow: staff text must not reach inner services."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or parts.username or parts.password:
        raise ValidationError(_("http:// 또는 https:// 주소를 사용자 정보 없이 입력하세요."))
    if (parts.hostname or "") not in allowed_hosts():
        raise ValidationError(
            _("허용되지 않은 서버입니다: %(host)s. 운영자가 LLM_HOSTS 설정에 추가해야 합니다."),
            params={"host": parts.hostname},
        )


class ModelProfile(models.Model):
    """One model at one endpoint, with its price, limits and what a probe found out about it."""

    name = models.CharField(_("이름"), max_length=80, unique=True)
    enabled = models.BooleanField(_("사용"), default=True)
    is_default = models.BooleanField(
        _("기본 프로필"),
        default=False,
        help_text=_("프롬프트가 따로 정하지 않으면 이 프로필로 호출합니다."),
    )
    api = models.CharField(
        _("호출 방식"), max_length=12, choices=Api.choices, default=Api.RESPONSES
    )
    # No URLField: Django's refuses one-word hosts, and "vllm" is what a neighbour is called in Docker.
    base_url = models.CharField(
        _("서버 주소"),
        max_length=200,
        blank=True,
        validators=[validate_base_url],
        help_text=_("비워 두면 OpenAI. 허용된 서버만 쓸 수 있습니다 (LLM_HOSTS)."),
    )
    api_key_env = models.CharField(
        _("키 환경 변수"),
        max_length=80,
        blank=True,
        default="OPENAI_API_KEY",
        validators=[validate_key_variable],
        help_text=_("키 자체가 아니라 키를 담은 환경 변수의 이름입니다."),
    )
    model = models.CharField(_("모델"), max_length=120)
    context_tokens = models.PositiveIntegerField(
        _("최대 문맥 토큰"), default=16_000, validators=[MinValueValidator(256)]
    )
    max_output_tokens = models.PositiveIntegerField(
        _("최대 출력 토큰"), default=2_000, validators=[MinValueValidator(16)]
    )
    connect_timeout_s = models.FloatField(
        _("연결 제한 시간(초)"),
        default=1.0,
        validators=[MinValueValidator(0.05), MaxValueValidator(30)],
    )
    max_seconds = models.FloatField(
        _("호출 최대 시간(초)"),
        default=900,
        validators=[MinValueValidator(0.1), MaxValueValidator(900)],
        help_text=_("요청의 남은 시간이 더 짧으면 그쪽을 따릅니다."),
    )
    concurrency = models.PositiveSmallIntegerField(
        _("동시 호출 수"), default=16, validators=[MinValueValidator(1), MaxValueValidator(1_000)]
    )
    extra_body = models.JSONField(
        _("추가 본문"), default=dict, blank=True, help_text=_("호환 서버에만 보냅니다.")
    )
    sunset_on = models.DateField(_("지원 종료일"), null=True, blank=True)
    fallback = models.ForeignKey(
        "self",
        verbose_name=_("대체 프로필"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    capabilities = models.JSONField(_("확인된 기능"), default=dict, blank=True, editable=False)
    probed_at = models.DateTimeField(_("연결 시험 시각"), null=True, blank=True, editable=False)
    probe_error = models.CharField(_("연결 시험 결과"), max_length=300, blank=True, editable=False)

    class Meta:
        verbose_name = _("모델 프로필")
        verbose_name_plural = _("모델 프로필")
        ordering = ("name",)
        permissions = [("manage_modelprofile", _("모델 프로필을 관리하고 연결을 시험할 수 있음"))]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new default takes the place of the old one."""
        with transaction.atomic():
            super().save(*args, **kwargs)
            if self.is_default:
                type(self).objects.exclude(pk=self.pk).filter(is_default=True).update(
                    is_default=False
                )

    def clean(self) -> None:
        if self.pk and self.fallback_id == self.pk:
            raise ValidationError({"fallback": _("자기 자신을 대체 프로필로 쓸 수 없습니다.")})
        if not isinstance(self.extra_body, dict):
            raise ValidationError({"extra_body": _("JSON 객체여야 합니다.")})

    def price_on(self, day: date) -> ModelPrice | None:
        """Return the price in force on `day`; None when none was entered."""
        return self.prices.filter(valid_from__lte=day).order_by("-valid_from").first()


class ModelPrice(models.Model):
    """What a profile's tokens cost from one day on, in micro-dollars per million tokens."""

    profile = models.ForeignKey(ModelProfile, on_delete=models.CASCADE, related_name="prices")
    valid_from = models.DateField(_("적용 시작일"), default=timezone.localdate)
    input = models.PositiveBigIntegerField(
        _("입력"),
        validators=[MaxValueValidator(MAX_MICRO_USD)],
        help_text=_("백만 토큰당 마이크로달러"),
    )
    cached = models.PositiveBigIntegerField(
        _("캐시된 입력"), validators=[MaxValueValidator(MAX_MICRO_USD)]
    )
    cache_write = models.PositiveBigIntegerField(
        _("캐시 쓰기"), validators=[MaxValueValidator(MAX_MICRO_USD)], default=0
    )
    output = models.PositiveBigIntegerField(
        _("출력"), validators=[MaxValueValidator(MAX_MICRO_USD)]
    )

    class Meta:
        verbose_name = _("가격")
        verbose_name_plural = _("가격")
        ordering = ("-valid_from",)
        constraints = [
            models.UniqueConstraint(fields=("profile", "valid_from"), name="one_price_a_day")
        ]

    def __str__(self) -> str:
        return f"{self.valid_from}: {self.input}/{self.output}"


class ModelCall(models.Model):
    """One call to a model and its outcome. Written once, never changed (texts are purged)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    #: The run it was made for; no foreign key, because runs live in an app above this one.
    run_uuid = models.UUIDField(_("추천 실행"), null=True, db_index=True)
    purpose = models.CharField(_("용도"), max_length=64)
    trigger = models.CharField(_("계기"), max_length=16, default="api")
    version_label = models.CharField(_("프롬프트 버전"), max_length=80, db_index=True)
    version_id = models.BigIntegerField(null=True, db_index=True)
    text_sha = models.CharField(_("프롬프트 해시"), max_length=64, blank=True)
    profile = models.ForeignKey(
        ModelProfile,
        verbose_name=_("모델 프로필"),
        null=True,
        on_delete=models.SET_NULL,
        related_name="calls",
    )
    api = models.CharField(_("호출 방식"), max_length=12, choices=Api.choices)
    model_asked = models.CharField(_("요청한 모델"), max_length=120)
    model_reported = models.CharField(_("응답한 모델"), max_length=120, blank=True)
    response_id = models.CharField(max_length=120, blank=True)
    request_id = models.CharField(max_length=120, blank=True)
    #: Keyed hash of the member (`prompts.llm.sanitizing.member_hash`); what the provider sees too.
    member_hash = models.CharField(max_length=32, blank=True, db_index=True)
    outcome = models.CharField(_("결과"), max_length=16, choices=CallOutcome.choices)
    error_class = models.CharField(_("오류"), max_length=80, blank=True)
    error_status = models.PositiveSmallIntegerField(_("HTTP 상태"), null=True)
    refusal = models.CharField(_("거절 사유"), max_length=300, blank=True)
    repairs = models.JSONField(_("보정"), default=dict)
    tokens_input = models.PositiveIntegerField(_("입력 토큰"), default=0)
    tokens_cached = models.PositiveIntegerField(_("캐시된 토큰"), default=0)
    tokens_cache_write = models.PositiveIntegerField(_("캐시에 쓴 토큰"), default=0)
    tokens_output = models.PositiveIntegerField(_("출력 토큰"), default=0)
    tokens_reasoning = models.PositiveIntegerField(_("추론 토큰"), default=0)
    #: The server did not say; counted from the text.
    tokens_estimated = models.BooleanField(_("토큰 추정"), default=False)
    reserved_micro_usd = models.PositiveBigIntegerField(_("예약 금액"), default=0)
    cost_micro_usd = models.PositiveBigIntegerField(_("비용(마이크로달러)"), default=0)
    latency_ms = models.PositiveIntegerField(_("걸린 시간(ms)"), default=0)
    attempts = models.PositiveSmallIntegerField(_("시도"), default=0)
    hedged = models.BooleanField(_("이중 호출"), default=False)
    service_tier_asked = models.CharField(max_length=16, blank=True)
    service_tier_served = models.CharField(max_length=16, blank=True)
    input_sha = models.CharField(max_length=64, blank=True)
    input_zlib = models.BinaryField(null=True)
    output_zlib = models.BinaryField(null=True)
    created_at = models.DateTimeField(_("시각"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("LLM 호출")
        verbose_name_plural = _("LLM 호출")
        ordering = ("-id",)
        indexes = [
            models.Index(fields=("outcome", "-id"), name="call_by_outcome"),
            models.Index(fields=("version_label", "created_at"), name="call_by_version"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.uuid}"

    @property
    def usable(self) -> bool:
        return self.outcome in USABLE

    @property
    def input_text(self) -> str:
        """The text sent to the model; "" once retention has passed."""
        return unpacked(self.input_zlib)

    @property
    def output_text(self) -> str:
        """The model's answer, unchanged; "" once retention has passed."""
        return unpacked(self.output_zlib)


def packed(text: str) -> bytes | None:
    """Compress a text for the log; None for an empty one."""
    return zlib.compress(text.encode("utf-8", "replace"), 6) if text else None


def unpacked(data: bytes | memoryview | None) -> str:
    """The opposite of `packed`."""
    return zlib.decompress(bytes(data)).decode("utf-8") if data else ""


class Budget(models.Model):
    """Ceilings of what models may cost, in micro-dollars. The one row overrides the settings."""

    day_micro_usd = models.PositiveBigIntegerField(
        _("하루 한도"),
        validators=[MaxValueValidator(MAX_MICRO_USD)],
        help_text=_("마이크로달러 (1,000,000 = 1달러)"),
    )
    month_micro_usd = models.PositiveBigIntegerField(
        _("한 달 한도"), validators=[MaxValueValidator(MAX_MICRO_USD)]
    )
    member_day_micro_usd = models.PositiveBigIntegerField(
        _("회원당 하루 한도"), validators=[MaxValueValidator(MAX_MICRO_USD)]
    )
    mail_at_percent = models.PositiveSmallIntegerField(
        _("메일 알림 기준(%)"),
        default=80,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
    )
    changed_at = models.DateTimeField(_("변경 시각"), auto_now=True)

    class Meta:
        verbose_name = _("예산")
        verbose_name_plural = _("예산")

    def __str__(self) -> str:
        return str(_("LLM 예산"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = 1  # there is one budget per installation
        super().save(*args, **kwargs)


class LedgerScope(models.Model):
    """What one day, month or member-day has cost: settled calls plus open reservations.

    The row is the lock: a reservation is one conditional UPDATE of it, so the sum never passes the
    ceiling, on MySQL and SQLite alike.
    """

    #: "day:2026-01-31", "month:2026-01", "member:<hash>:2026-01-31" (calendar days of TIME_ZONE).
    key = models.CharField(max_length=80, primary_key=True)
    spent_micro_usd = models.BigIntegerField(_("사용"), default=0)
    reserved_micro_usd = models.BigIntegerField(_("예약"), default=0)
    #: When the mail about the threshold was claimed by a process.
    warned_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("예산 사용량")
        verbose_name_plural = _("예산 사용량")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.key


class Reservation(models.Model):
    """Money set aside for a call under way; gone once the call is settled."""

    uuid = models.UUIDField(primary_key=True)  #: that of the ModelCall to be written
    micro_usd = models.PositiveBigIntegerField()
    scopes = models.JSONField()  #: keys of the LedgerScope rows it counts in
    run_uuid = models.UUIDField(null=True)
    purpose = models.CharField(max_length=64)
    version_label = models.CharField(max_length=80)
    api = models.CharField(max_length=12)
    model_asked = models.CharField(max_length=120)
    #: A process that died leaves it open; past this moment it counts as spent in full.
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("예약된 금액")
        verbose_name_plural = _("예약된 금액")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.uuid)
