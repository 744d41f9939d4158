"""Forms of the studio: a version's fields, and the reasons that every move asks for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from prompts.models import ModelProfile, PromptTemplate, PromptVersion
from prompts.models.rollouts import DEFAULT_STEPS, default_guardrails
from prompts.versions.contracts import Contract, Param
from prompts.versions.drafts import Body

#: Parameters are fields of their own; the prefix keeps them apart from the texts'.
PARAM_PREFIX = "param_"


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false", "class": "prompt-text"})


class VersionForm(forms.Form):
    """What staff edit of a version. Lint, not the form, judges the texts: a draft may be unfinished."""

    note = forms.CharField(
        label=_("메모"), max_length=200, required=False, help_text=_("무엇을 왜 바꾸는지 한 줄로.")
    )
    system_text = forms.CharField(
        label=_("시스템 글"), widget=_area(9), required=False, strip=False
    )
    user_text = forms.CharField(label=_("사용자 글"), widget=_area(9), required=False, strip=False)
    model_profile = forms.ModelChoiceField(
        label=_("모델 프로필"),
        queryset=ModelProfile.objects.filter(enabled=True),
        required=False,
        empty_label=_("기본 모델"),
    )
    lock_version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, agreed: Contract, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agreed = agreed
        for param in agreed.params:
            self.fields[PARAM_PREFIX + param.name] = _param_field(param)

    @classmethod
    def of(cls, version: PromptVersion) -> VersionForm:
        """The form as it stands in the database."""
        agreed = version.template.contract
        params = agreed.defaults() | version.params
        return cls(
            agreed=agreed,
            initial={
                "note": version.note,
                "system_text": version.system_text,
                "user_text": version.user_text,
                "model_profile": version.model_profile_id,
                "lock_version": version.lock_version,
                **{PARAM_PREFIX + name: value for name, value in params.items()},
            },
        )

    def body(self) -> Body:
        profile = self.cleaned_data["model_profile"]
        return Body(
            system_text=self.cleaned_data["system_text"],
            user_text=self.cleaned_data["user_text"],
            params={
                param.name: self.cleaned_data[PARAM_PREFIX + param.name]
                for param in self.agreed.params
            },
            model_profile_id=profile.pk if profile else None,
            note=self.cleaned_data["note"],
        )

    @property
    def param_fields(self) -> list[forms.BoundField]:
        return [self[PARAM_PREFIX + param.name] for param in self.agreed.params]


def _param_field(param: Param) -> forms.Field:
    shared: dict[str, Any] = {"label": param.label, "help_text": param.help}
    if param.kind == "choice":
        return forms.ChoiceField(choices=param.choices, **shared)
    if param.kind == "int":
        return forms.IntegerField(min_value=int(param.least), max_value=int(param.most), **shared)
    return forms.FloatField(min_value=param.least, max_value=param.most, **shared)


class ReasonForm(forms.Form):
    """Why something is moved. It stays in the history."""

    reason = forms.CharField(
        label=_("이유"),
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("배포 이력과 감사 기록에 남습니다."),
    )
    #: The template's lock_version as the page showed it.
    seen_lock = forms.IntegerField(widget=forms.HiddenInput)


class PublishForm(ReasonForm):
    """Now, later, or past the guards."""

    go_live_at = forms.DateTimeField(
        label=_("예약 시각"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=_("비우면 바로 배포합니다. 서울 시각."),
    )
    break_glass = forms.BooleanField(
        label=_("승인·평가 없이 배포(최고 관리자)"),
        required=False,
        help_text=_("이유를 20자 이상 적어야 하며, 감사 기록에 붉게 남고 메일이 나갑니다."),
    )


class RolloutForm(ReasonForm):
    """The steps and limits of a rollout."""

    steps = forms.CharField(
        label=_("단계(%)"),
        initial=", ".join(map(str, DEFAULT_STEPS)),
        help_text=_("회원 비율, 쉼표로 나누어 작은 것부터."),
    )
    min_runs = forms.IntegerField(
        label=_("판단에 필요한 실행 수"), initial=50, min_value=5, max_value=100_000
    )
    validity = forms.FloatField(
        label=_("올바른 답(최소)"),
        min_value=0,
        max_value=1,
        initial=default_guardrails()["validity"],
    )
    fallback = forms.FloatField(
        label=_("로컬 대체(최대)"),
        min_value=0,
        max_value=1,
        initial=default_guardrails()["fallback"],
    )
    latency = forms.FloatField(
        label=_("p95 배수(최대)"),
        min_value=1,
        max_value=10,
        initial=default_guardrails()["latency"],
    )
    cost = forms.FloatField(
        label=_("비용 배수(최대)"), min_value=1, max_value=10, initial=default_guardrails()["cost"]
    )

    def clean_steps(self) -> list[int]:
        try:
            return [int(step) for step in self.cleaned_data["steps"].replace("%", "").split(",")]
        except ValueError as error:
            raise forms.ValidationError(_("1, 5, 25, 50, 100 처럼 수만 적으십시오.")) from error

    @property
    def guardrails(self) -> dict[str, float]:
        return {name: self.cleaned_data[name] for name in default_guardrails()}


class FreezeForm(forms.Form):
    """Which logged runs an evaluation set is made of."""

    template = forms.ModelChoiceField(label=_("프롬프트"), queryset=PromptTemplate.objects.all())
    title = forms.CharField(
        label=_("제목"), max_length=100, initial=lambda: f"{timezone.localdate():%Y-%m-%d}"
    )
    runs = forms.IntegerField(
        label=_("얼릴 실행 수"), initial=30, min_value=1, max_value=500, help_text=_("최근 것부터.")
    )
    poisoned = forms.IntegerField(
        label=_("오염된 제목을 넣을 사례 수"),
        initial=5,
        min_value=0,
        max_value=50,
        help_text=_("지시처럼 보이는 제목이 순위를 움직이는지 봅니다."),
    )
