"""Keeps what staff say to a model: templates, their immutable versions, and what was live when, moved by whom."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from prompts.errors import OnlyPublishingMoves, VersionIsFrozen
from prompts.models.audit import AppendOnly
from prompts.models.calls import ModelProfile
from prompts.models.moving import MovedQuerySet, check_move, needs_moving
from prompts.versions.contracts import Contract, contract
from prompts.versions.rendering import body_sha


def _staff(label: Any, **kwargs: Any) -> models.ForeignKey[Any, Any]:
    """A reference to an account that may be deleted later."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=label,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        **kwargs,
    )


class PromptTemplate(models.Model):
    """One thing we ask a model for. What is live is named here and changed only by prompts/versions/releases.py."""

    slug = models.SlugField(_("이름표"), max_length=60, unique=True)
    title = models.CharField(_("제목"), max_length=100)
    contract_key = models.CharField(_("계약"), max_length=60)
    # MySQL has no partial unique index, so "one live version" is a reference on this row, changed under its lock.
    live_release = models.ForeignKey(
        "prompts.Release",
        verbose_name=_("현재 배포"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    rollout = models.ForeignKey(
        "prompts.Rollout",
        verbose_name=_("진행 중인 롤아웃"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    #: No model is asked for this purpose until it is lifted; answers are local.
    paused = models.BooleanField(_("중지"), default=False, editable=False)
    lock_version = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)

    objects = MovedQuerySet.as_manager()
    #: What members get, and the count of its moves.
    MOVED_FIELDS: ClassVar = frozenset(
        {"live_release", "live_release_id", "rollout", "rollout_id", "paused", "lock_version"}
    )

    class Meta:
        verbose_name = _("프롬프트")
        verbose_name_plural = _("프롬프트")
        ordering = ["slug"]
        permissions = [("kill_prompttemplate", _("프롬프트를 긴급 중지하고 해제할 수 있음"))]

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        check_move(self, frozenset({"live_release_id", "rollout_id", "paused", "lock_version"}))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OnlyPublishingMoves("Prompts are stopped, not deleted: history names them.")

    @property
    def contract(self) -> Contract:
        """Raises UnknownContract."""
        return contract(self.contract_key)

    @property
    def live_version(self) -> PromptVersion | None:
        """None: the repository's own text is live."""
        return self.live_release.version if self.live_release else None


class State(models.TextChoices):
    """Where a version stands. Live, candidate and retired are read off releases and rollouts, never stored here."""

    DRAFT = "draft", _("초안")
    IN_REVIEW = "in_review", _("검토 중")
    CHANGES_REQUESTED = "changes_requested", _("수정 요청")
    APPROVED = "approved", _("승인")
    ARCHIVED = "archived", _("보관")


#: What a version says and how it is asked: frozen as soon as it is no draft any more.
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


#: Where a version stands: moved by prompts/versions/releases.py.
MOVED_FIELDS = frozenset(
    {"state", "lock_version", "go_live_at", "submitted_at", "decided_by", "decided_at"}
)


class PromptVersionQuerySet(models.QuerySet["PromptVersion"]):
    """Refuses to change what a version says, or where it stands, behind the model's back."""

    def update(self, **values: Any) -> int:
        touched = BODY_FIELDS & values.keys()
        if touched:
            raise VersionIsFrozen(
                f"{', '.join(sorted(touched))}: edit drafts through publishing.save_draft."
            )
        if moved := MOVED_FIELDS & values.keys():
            needs_moving(", ".join(sorted(moved)))
        return super().update(**values)

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("update_conflicts"):
            raise VersionIsFrozen("Versions are added, not overwritten.")
        return super().bulk_create(objs, *args, **kwargs)

    def save_draft(self, version_id: int, *, seen_lock: int, **body: Any) -> bool:
        """Change a draft if nobody else did since `seen_lock` was read; False means somebody did, or it is no draft."""
        untouched = self.filter(pk=version_id, state=State.DRAFT, lock_version=seen_lock)
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
    state = models.CharField(_("상태"), max_length=20, choices=State.choices, default=State.DRAFT)
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
    created_by = _staff(_("만든 사람"))
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)
    submitted_at = models.DateTimeField(_("제출한 때"), null=True, blank=True)
    decided_by = _staff(_("결정한 사람"))
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
        if not self._state.adding and not self._stored_as_draft():
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
        return self.state == State.DRAFT

    def content_sha(self) -> str:
        """The hash of what this row says right now."""
        return body_sha(
            contract_key=self.template.contract_key,
            contract_version=self.contract_version,
            system_text=self.system_text,
            user_text=self.user_text,
            params=self.params,
            model_profile=str(self.model_profile_id or ""),
        )

    def _stored_as_draft(self) -> bool:
        return PromptVersion.objects.filter(pk=self.pk, state=State.DRAFT).exists()

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise VersionIsFrozen(
            "Versions are archived, not deleted: releases and runs point at them."
        )


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
    """One move of what members get: who, from what, to what, why, when. Written by prompts/versions/releases.py alone."""

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
    actor = _staff(_("누가"))
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
    """A candidate that a growing share of members gets, beside the version that was live."""

    template = models.ForeignKey(
        PromptTemplate,
        verbose_name=_("프롬프트"),
        on_delete=models.PROTECT,
        related_name="rollouts",
    )
    control = models.ForeignKey(
        PromptVersion,
        verbose_name=_("기준 버전"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    candidate = models.ForeignKey(
        PromptVersion,
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
    #: What stopped it, in the words of whoever or whatever did.
    state_reason = models.TextField(_("상태의 이유"), blank=True)
    started_by = _staff(_("시작한 사람"))
    started_at = models.DateTimeField(_("시작"), auto_now_add=True)
    ended_at = models.DateTimeField(_("끝"), null=True, blank=True)

    objects = MovedQuerySet.as_manager()
    #: Every field says who gets what; none is edited by hand.
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
        """Share of members that the current step gives to the candidate."""
        return int(self.steps[self.step_index])

    @property
    def is_open(self) -> bool:
        return self.state in {RolloutState.RUNNING, RolloutState.PAUSED}


class PromptEpoch(models.Model):
    """One row that grows with every move, so that a process sees with one cheap read that it must look again."""

    value = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.value)


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
    created_by = _staff(_("만든 사람"))
    created_at = models.DateTimeField(_("만든 때"), auto_now_add=True)

    class Meta:
        verbose_name = _("평가 세트")
        verbose_name_plural = _("평가 세트")
        ordering = ["-id"]
        permissions = [("run_evalset", _("평가를 실행할 수 있음(유료)"))]

    def __str__(self) -> str:
        return self.title


class EvalCase(AppendOnly):
    """One logged run as it was: what the model was told, the order without it, and what the member liked later."""

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
    #: Number (1-based) of a planted title that tries to give orders; 0 where there is none.
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


class Verdict(models.TextChoices):
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
        _("판정"), max_length=10, choices=Verdict.choices, default=Verdict.RUNNING
    )
    created_by = _staff(_("실행한 사람"))
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
