"""What was asked of models and through whom: calls to read, profiles and the budget to edit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from prompts import ledger, model_profiles
from prompts.admin.base import StudioAdmin, by
from prompts.models import AuditEvent, Budget, ModelCall, ModelPrice, ModelProfile
from prompts.models.calls import USABLE


class AuditedAdmin(admin.ModelAdmin):
    """Rows that staff edit in place; every change is in the audit with its before and after."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        who = by(request)
        AuditEvent.record(
            actor=who.actor,
            verb=f"{self.opts.model_name}.{'changed' if change else 'added'}",
            object=obj,
            before={name: str(form.initial.get(name)) for name in form.changed_data} or None,
            after={name: str(form.cleaned_data.get(name)) for name in form.changed_data},
            request_id=who.request_id,
            ip=who.ip,
        )
        model_profiles.forget()
        ledger.forget()


class PriceInline(admin.TabularInline):
    model = ModelPrice
    extra = 0


@admin.register(ModelProfile)
class ModelProfileAdmin(AuditedAdmin):
    list_display = ("name", "model", "api", "enabled", "is_default", "sunset_on", "probed_at")
    list_filter = ("enabled", "api")
    list_select_related = ("fallback",)
    readonly_fields = ("capabilities", "probed_at", "probe_error")
    inlines = (PriceInline,)


@admin.register(Budget)
class BudgetAdmin(AuditedAdmin):
    list_display = (
        "__str__",
        "day_micro_usd",
        "month_micro_usd",
        "member_day_micro_usd",
        "changed_at",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not Budget.objects.exists()


@admin.register(ModelCall)
class ModelCallAdmin(StudioAdmin):
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
    list_filter = ("outcome", "purpose", "trigger", "created_at")
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
            '<a href="{}?q={}">{}</a>',
            reverse("admin:prompts_modelcall_changelist"),
            call.run_uuid,
            str(call.run_uuid)[:8],
        )

    @admin.display(description=_("보낸 글"))
    def input_shown(self, call: ModelCall) -> str:
        return _kept(call.input_text)

    @admin.display(description=_("받은 글"))
    def output_shown(self, call: ModelCall) -> str:
        return _kept(call.output_text)


def _kept(text: str) -> Any:
    if not text:
        return _("보관 기간이 지났거나 없습니다.")
    return format_html('<pre class="prompt-text">{}</pre>', text)
