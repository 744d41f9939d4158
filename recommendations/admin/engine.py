"""Admin pages of the engine: trained models (apply, roll back, train now) and its settings (versions)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from engine.settings import EngineSettings
from engine.training.context_learning import Heard
from engine.weights import BUCKETS
from infrastructure import audit
from infrastructure.admin import ReadOnlyAdmin, table

from ..learning import training
from ..learning.context_multipliers import comparison
from ..models import EngineSettingsVersion, LearnedSituations, ModelArtifact
from .engine_settings_form import (
    LEARNED,
    SITUATIONS,
    EngineSettingsForm,
    differences,
    settings_fields,
)


@admin.register(ModelArtifact)
class ModelArtifactAdmin(ReadOnlyAdmin):
    list_display = (
        "version",
        "state",
        "in_use",
        "ndcg",
        "against_baselines",
        "size",
        "seconds",
        "created_at",
        "activated_by",
    )
    readonly_fields = ("figures_table", "coverage_table")
    fields = (
        "version", "state", "figures_table", "coverage_table", "note", "size_bytes", "seconds",
        "created_at", "activated_at", "activated_by",
    )  # fmt: skip
    actions = ("activate",)

    @admin.display(description=_("사용 중"), boolean=True)
    def in_use(self, artifact: ModelArtifact) -> bool:
        return artifact.version == training.live_version()

    @admin.display(description="NDCG@10")
    def ndcg(self, artifact: ModelArtifact) -> str:
        value = artifact.figures.get("models", {}).get("songs_ai", {}).get("ndcg@10")
        return "–" if value is None else f"{value:.4f}"

    @admin.display(description=_("최고 단일 모델 대비"))
    def against_baselines(self, artifact: ModelArtifact) -> str:
        models = artifact.figures.get("models", {})
        ours = models.get("songs_ai", {}).get("ndcg@10")
        others = [v.get("ndcg@10", 0) for name, v in models.items() if name != "songs_ai"]
        return (
            f"{100 * (ours / max(others) - 1):+.1f} %" if ours and others and max(others) else "–"
        )

    @admin.display(description=_("크기"))
    def size(self, artifact: ModelArtifact) -> str:
        return f"{artifact.size_bytes / 1_048_576:.1f} MiB"

    @admin.display(description=_("평가"))
    def figures_table(self, artifact: ModelArtifact) -> str:
        models = artifact.figures.get("models", {})
        names = ("ndcg@10", "ndcg@20", "recall@20", "hit_rate@10", "coverage@20")
        rows = [
            (name, *(f"{values.get(k, 0):.4f}" for k in names)) for name, values in models.items()
        ]
        return table(("", *names), rows)

    @admin.display(description=_("점수기별 곡 수"))
    def coverage_table(self, artifact: ModelArtifact) -> str:
        return table((_("점수기"), _("곡")), [(k, f"{v:,}") for k, v in artifact.coverage.items()])

    @admin.action(description=_("이 모델을 적용(되돌리기 포함)"), permissions=("activate",))
    def activate(self, request: HttpRequest, queryset: Any) -> None:
        if queryset.count() != 1:
            self.message_user(request, _("모델을 하나만 고르세요."), messages.ERROR)
            return
        artifact = queryset.get()
        if artifact.state != ModelArtifact.State.READY:
            self.message_user(
                request, _("사용 가능 상태의 모델만 적용할 수 있습니다."), messages.ERROR
            )
            return
        before = training.live_version()
        training.activate(artifact, by=request.user.get_username(), now=timezone.now())
        audit.record(
            actor=request.user,
            verb="activate",
            object=artifact,
            before=before,
            after=artifact.version,
        )
        self.message_user(request, _("적용했습니다. 몇 초 안에 모든 서버에 반영됩니다."))

    def has_activate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.activate_modelartifact")


@admin.register(LearnedSituations)
class LearnedSituationsAdmin(ReadOnlyAdmin):
    """Multipliers of situations after learning from events; the newest row is in force, the others are history."""

    list_display = ("made_at", "counted")
    fields = ("made_at", "moved")
    readonly_fields = ("made_at", "moved")

    @admin.display(description=_("이벤트 수"))
    def counted(self, row: LearnedSituations) -> str:
        events = sorted(row.heard["events"].items(), key=lambda one: -one[1])
        return ", ".join(f"{SITUATIONS.get(name, name)} {int(count):,}" for name, count in events)

    @admin.display(description=_("직원 배수 → 적용 중인 배수"))
    def moved(self, row: LearnedSituations) -> str:
        situations = EngineSettings.from_json(_latest_payload()).situations
        lines = [
            (
                SITUATIONS.get(name, name),
                f"{events:,}",
                ", ".join(f"{word} {before:g} → {after:g}" for word, before, after in words) or "–",
            )
            for name, events, words in comparison(situations, Heard.from_json(row.heard))
        ]
        return table((_("상황"), _("이벤트 수"), _("배수")), lines)


@admin.register(EngineSettingsVersion)
class EngineSettingsAdmin(admin.ModelAdmin):
    form = EngineSettingsForm
    list_display = ("number", "note", "changes_short", "created_by", "created_at")
    list_select_related = ("created_by",)
    list_per_page = 30
    actions = ("restore",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return [(None, {"fields": ("number", "note", "changes", "created_by", "created_at")})]
        names = [name for name, _field in settings_fields(_latest_payload())]
        blend = [
            (_("배합 – 아는 곡 {bucket}").format(bucket=bucket), f"blend.{bucket}.")
            for _least, bucket in BUCKETS
        ]
        sections = [
            (_("신호 가중치"), "signals."),
            (_("배합"), LEARNED),
            *blend,
            (_("다듬기"), "shaping."),
            (_("상황"), "situations."),
        ]
        return [(None, {"fields": ("note",)})] + [
            (
                title,
                {"fields": [n for n in names if n.startswith(prefix)], "classes": ("collapse",)},
            )
            for title, prefix in sections
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("number", "note", "changes", "created_by", "created_at") if obj is not None else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is not None:
            return super().get_form(request, obj, change=change, form=forms.ModelForm, **kwargs)
        kwargs["fields"] = ("note",)  # the rest are fields of the form itself
        return super().get_form(request, obj, change=change, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: EngineSettingsVersion, form: Any, change: bool
    ) -> None:
        save_settings(obj.payload, note=obj.note, by=request.user, row=obj)

    @admin.display(description=_("바뀐 값"))
    def changes(self, row: EngineSettingsVersion) -> str:
        return format_html_join("", "{}<br>", ((line,) for line in _changes_of(row))) or "–"

    @admin.display(description=_("바뀐 값"))
    def changes_short(self, row: EngineSettingsVersion) -> str:
        lines = _changes_of(row)
        return "; ".join(lines[:3]) + (" …" if len(lines) > 3 else "")

    @admin.action(description=_("이 설정으로 되돌리기"), permissions=("add",))
    def restore(self, request: HttpRequest, queryset: Any) -> None:
        if queryset.count() != 1:
            self.message_user(request, _("설정을 하나만 고르세요."), messages.ERROR)
            return
        old = queryset.get()
        note = _("v{number} 설정으로 되돌림").format(number=old.number)
        new = save_settings(old.payload, note=note, by=request.user)
        self.message_user(request, _("v{number}이(가) 적용되었습니다.").format(number=new.number))


def _latest_payload() -> dict[str, Any]:
    row = EngineSettingsVersion.objects.order_by("-number").first()
    return row.payload if row is not None else EngineSettings().to_json()


def _changes_of(row: EngineSettingsVersion) -> list[str]:
    before = EngineSettingsVersion.objects.filter(number__lt=row.number).order_by("-number").first()
    return differences(before.payload if before else EngineSettings().to_json(), row.payload)


@transaction.atomic
def save_settings(
    payload: dict[str, Any], *, note: str, by: Any, row: EngineSettingsVersion | None = None
) -> EngineSettingsVersion:
    """Save a new version of the settings; every process applies it within seconds."""
    last = EngineSettingsVersion.objects.select_for_update().order_by("-number").first()
    version = row or EngineSettingsVersion()
    version.number = last.number + 1 if last else 1
    version.payload = payload
    version.note, version.created_by = note, by
    version.save()
    audit.record(
        actor=by, verb="engine_settings", object=version, before=last.number if last else 0,
        after=version.number, reason=note,
    )  # fmt: skip
    return version
