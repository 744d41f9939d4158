"""Admin pages of recommendation runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from engine.types import Strategy
from infrastructure.admin import ReadOnlyAdmin, known_values_filter

from ..models import Degraded, Run, Source
from ..models.runs import STRATEGY_LABELS
from . import run_page
from .member_data import may_see_member_data


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "short_uuid",
        "member_link",
        "source_badge",
        "strategy_label",
        "trigger",
        "favorites",
        "took",
        "liked_at_14d",
    )
    list_display_links = ("created_at", "short_uuid")
    list_filter = (
        "source",
        ("degraded", admin.EmptyFieldListFilter),
        known_values_filter("strategy", _("전략"), lambda: list(Strategy), labels=STRATEGY_LABELS),
        "trigger",
        "created_at",
    )
    search_fields = ("=uuid", "=member_key")
    search_help_text = _("실행 ID 전체 또는 회원 번호로 찾습니다.")
    ordering = ("-created_at",)
    folder = "admin/recommendations/run"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).defer("snapshot", "groups", "query", "why", "trace")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Search by id or member, both indexed; other text finds nothing, so that no search scans the table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if run_page.is_uuid(term):
            return queryset.filter(pk=term), False
        return queryset.filter(member_key=term), False

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        if may_see_member_data(request.user):
            return columns
        return tuple(column for column in columns if column != "member_link")

    def get_urls(self) -> list[Any]:
        download = self.admin_site.admin_view(self.download)
        return [
            path("<uuid:run_id>/json/", download, name="recommendations_run_json"),
            *super().get_urls(),
        ]

    @admin.display(description=_("실행 ID"), ordering="uuid")
    def short_uuid(self, run: Run) -> str:
        return str(run.uuid)[:8]

    @admin.display(description=_("회원"), ordering="member_key")
    def member_link(self, run: Run) -> str:
        url = reverse("admin:recommendations_run_changelist")
        return format_html('<a href="{}?q={}">{}</a>', url, run.member_key, run.member_key)

    @admin.display(description=_("전략"), ordering="strategy")
    def strategy_label(self, run: Run) -> str:
        return str(STRATEGY_LABELS.get(run.strategy, run.strategy))

    @admin.display(description=_("생성 방식"), ordering="source")
    def source_badge(self, run: Run) -> str:
        if not run.degraded:
            return str(Source(run.source).label)
        why = Degraded.label_of(run.degraded)
        return format_html("{} <small>({})</small>", Source(run.source).label, why)

    @admin.display(description=_("소요(ms)"))
    def took(self, run: Run) -> str:
        return f"{run.timings.get('total', 0):,.0f}"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        run = self.get_object(request, object_id) if run_page.is_uuid(object_id) else None
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        context = run_page.context(run, request.user)
        return self.page(request, "page.html", title=_("추천 실행"), obj=run, **context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The whole run in one query: the page shows the columns that the list defers."""
        return Run.objects.filter(pk=object_id).first()

    def download(self, request: HttpRequest, run_id: Any) -> HttpResponse:
        """The whole run as JSON, for analysis; needs the right to see members' data."""
        if not may_see_member_data(request.user):
            messages.error(request, _("회원 데이터를 볼 권한이 없습니다."))
            return HttpResponse(status=403)
        run = get_object_or_404(Run, pk=run_id)
        response = JsonResponse(run_page.as_json(run), json_dumps_params={"ensure_ascii": False})
        response["Content-Disposition"] = f'attachment; filename="run-{run.uuid}.json"'
        return response
