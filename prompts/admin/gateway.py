"""The admin of model calls (read-only), model profiles and the budget."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from infrastructure.admin import ReadOnlyAdmin, known_values_filter
from prompts.admin.base import actor_of
from prompts.audit_verbs import PromptVerb
from prompts.llm import budget, ceilings, model_profiles
from prompts.llm.breaker import breaker
from prompts.llm.capability_probe import probe
from prompts.models import Budget, CallTrigger, ModelCall, ModelPrice, ModelProfile
from prompts.models.calls import USABLE
from prompts.versions.contracts import known_contracts


class AuditedAdmin(admin.ModelAdmin):
    """Rows that staff edit in place; every change is in the audit with its before and after."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        actor_of(request).record(
            PromptVerb(f"{self.opts.model_name}.{'changed' if change else 'added'}"),
            obj,
            before={name: str(form.initial.get(name)) for name in form.changed_data} or None,
            after={name: str(form.cleaned_data.get(name)) for name in form.changed_data},
        )
        model_profiles.clear_cache()
        budget.clear_cache()


class PriceInline(admin.TabularInline):
    model = ModelPrice
    extra = 0


#: A model that is withdrawn this soon needs a successor now.
SUNSET_NOTICE = timedelta(days=60)


@admin.register(ModelProfile)
class ModelProfileAdmin(AuditedAdmin):
    list_display = (
        "name",
        "model",
        "api",
        "enabled",
        "is_default",
        "key_state",
        "breaker_state",
        "sunset",
        "probed",
    )
    list_filter = ("enabled", "api")
    readonly_fields = ("key_state", "breaker_state", "probed", "known", "probed_at", "probe_error")
    inlines = (PriceInline,)
    actions = ("run_probe", "close_breaker")

    class Media:
        css = {"all": ("prompts/studio.css",)}

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("prompts.manage_modelprofile")

    @admin.display(description=_("키"))
    def key_state(self, row: ModelProfile) -> Any:
        """Whether there is a key; never the key."""
        if row.pk and model_profiles.key_of(row):
            return _badge("good", _("설정됨"))
        needed = row.pk and not row.base_url
        return _badge("bad" if needed else "", _("없음"))

    @admin.display(description=_("차단기"))
    def breaker_state(self, row: ModelProfile) -> Any:
        state = breaker.state(str(row.pk))
        if state.is_closed:
            return _badge("good", _("닫힘"))
        until = timezone.localtime(datetime.fromtimestamp(state.open_until, tz=UTC))
        text = _("열림: %(why)s, %(until)s까지") % {"why": state.why, "until": f"{until:%H:%M:%S}"}
        return _badge("bad", text)

    @admin.display(description=_("지원 종료"), ordering="sunset_on")
    def sunset(self, row: ModelProfile) -> Any:
        if row.sunset_on is None:
            return "–"
        left = row.sunset_on - timezone.localdate()
        tone = "bad" if left <= timedelta(0) else "warn" if left <= SUNSET_NOTICE else ""
        return _badge(tone, row.sunset_on.isoformat())

    @admin.display(description=_("연결 시험"), ordering="probed_at")
    def probed(self, row: ModelProfile) -> Any:
        if row.probed_at is None:
            return _badge("warn", _("시험 전"))
        if row.probe_error:
            return _badge("bad", row.probe_error)
        return _badge("good", str(row.capabilities.get("format", "")))

    @admin.display(description=_("확인된 기능"))
    def known(self, row: ModelProfile) -> Any:
        return format_html("<code>{}</code>", json.dumps(row.capabilities, ensure_ascii=False))

    @admin.action(description=_("연결 시험 실행 (소액 비용 발생)"), permissions=["manage"])
    def run_probe(self, request: HttpRequest, rows: QuerySet[ModelProfile]) -> None:
        for row in rows:
            found = probe(row)
            actor_of(request).record(PromptVerb.MODELPROFILE_PROBED, row, after=found.capabilities)
            if found.usable:
                said = _("%(name)s: 연결되었습니다 (%(format)s).")
                text = said % {"name": row, "format": found.capabilities["format"]}
                messages.success(request, text)
            else:
                text = _("%(name)s: 실패 – %(error)s") % {"name": row, "error": found.error}
                messages.error(request, text)

    @admin.action(description=_("차단기 닫기"), permissions=["manage"])
    def close_breaker(self, request: HttpRequest, rows: QuerySet[ModelProfile]) -> None:
        for row in rows:
            breaker.close(str(row.pk))
            actor_of(request).record(PromptVerb.MODELPROFILE_BREAKER_CLOSED, row)
        messages.success(request, _("차단기를 닫았습니다. 다음 호출부터 다시 모델에 묻습니다."))


def _badge(tone: str, text: Any) -> Any:
    return format_html('<span class="badge {}">{}</span>', tone, text)


@admin.register(Budget)
class BudgetAdmin(AuditedAdmin):
    list_display = (
        "__str__",
        "day_micro_usd",
        "month_micro_usd",
        "member_day_micro_usd",
        "changed_at",
    )
    readonly_fields = ("usage",)

    @admin.display(description=_("지금까지 쓴 금액"))
    def usage(self, row: Budget) -> Any:
        """This month and this day: settled, set aside, ceiling."""
        return format_html_join(
            "",
            "<div>{}: ${} + ${} / ${} ({}%)</div>",
            (
                (
                    period.key,
                    f"{period.spent / 1e6:.4f}",
                    f"{period.reserved / 1e6:.4f}",
                    f"{period.limit / 1e6:.2f}",
                    period.percent,
                )
                for period in ceilings.period_costs(now=timezone.now())
            ),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not Budget.objects.exists()


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "purpose",
        "version",
        "outcome_badge",
        "model_asked",
        "tokens",
        "cost",
        "latency_ms",
        "run_link",
    )
    list_filter = (
        "outcome",
        known_values_filter(
            "purpose", _("용도"), lambda: [contract.key for contract in known_contracts()]
        ),
        known_values_filter(
            "trigger", _("계기"), lambda: CallTrigger.values, labels=dict(CallTrigger.choices)
        ),
        "created_at",
    )
    search_fields = ("=uuid", "=run_uuid", "=version_label")
    search_help_text = _("호출 번호, 실행 번호 또는 버전(curation@3)으로 찾습니다.")
    ordering = ("-id",)
    exclude = ("input_zlib", "output_zlib")
    readonly_fields = ("input_shown", "output_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelCall]:
        rows = super().get_queryset(request).select_related("profile")
        if getattr(request.resolver_match, "url_name", "") == "prompts_modelcall_changelist":
            return rows.defer("input_zlib", "output_zlib")
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Ids and labels as they are, through their indexes; anything else finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "@" in term:
            return queryset.filter(version_label=term), False
        hexes = term.replace("-", "")
        if len(hexes) != 32 or not set(hexes.lower()) <= set("0123456789abcdef"):
            return queryset.none(), False
        return queryset.filter(uuid=term) | queryset.filter(run_uuid=term), False

    @admin.display(description=_("버전"), ordering="version_label")
    def version(self, call: ModelCall) -> str:
        if call.version_id is None:
            return call.version_label
        url = reverse("admin:prompts_promptversion_change", args=[call.version_id])
        return format_html('<a href="{}">{}</a>', url, call.version_label)

    @admin.display(description=_("결과"), ordering="outcome")
    def outcome_badge(self, call: ModelCall) -> str:
        tone = "good" if call.outcome in USABLE else "bad"
        return format_html('<span class="badge {}">{}</span>', tone, call.get_outcome_display())

    @admin.display(description=_("토큰"))
    def tokens(self, call: ModelCall) -> str:
        return f"{call.tokens_input:,} → {call.tokens_output:,}"

    @admin.display(description=_("비용"))
    def cost(self, call: ModelCall) -> str:
        return f"${call.cost_micro_usd / 1e6:.5f}"

    @admin.display(description=_("추천 실행"))
    def run_link(self, call: ModelCall) -> str:
        if call.run_uuid is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>',
            reverse("admin:recommendations_run_change", args=[call.run_uuid]),
            str(call.run_uuid)[:8],
        )

    @admin.display(description=_("보낸 글"))
    def input_shown(self, call: ModelCall) -> str:
        return _stored_text(call.input_text)

    @admin.display(description=_("받은 글"))
    def output_shown(self, call: ModelCall) -> str:
        return _stored_text(call.output_text)


def _stored_text(text: str) -> Any:
    if not text:
        return _("보관 기간이 지났거나 없습니다.")
    return format_html('<pre class="prompt-text">{}</pre>', text)
