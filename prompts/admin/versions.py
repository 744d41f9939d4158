"""The list of versions and the addresses of their pages; each page is a module of version_pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from prompts.admin.base import StudioAdmin
from prompts.admin.version_pages import compare, edit, evaluate, preview, publish, review
from prompts.admin.version_pages.page import VersionPage
from prompts.models import PromptVersion

PageView = Callable[[VersionPage], HttpResponse]

PAGES: dict[str, PageView] = {
    "lint": edit.lint_form,
    "preview": preview.preview,
    "compare": compare.compare,
    "evaluate": evaluate.evaluate,
    "publish": publish.publish,
}
#: Buttons: POST only.
ACTIONS: dict[str, PageView] = {
    "fork": edit.fork,
    "submit": review.submit,
    "decide": review.decide,
    "archive": review.archive,
    "unschedule": publish.unschedule,
    "rollout": publish.start_rollout,
}


@admin.register(PromptVersion)
class VersionAdmin(StudioAdmin):
    list_display = ("label", "state_badge", "note", "created_by", "created_at", "is_live")
    list_display_links = ("label",)
    list_filter = ("template", "state")
    list_select_related = ("template__live_release", "template__rollout", "created_by")
    search_fields = ("note",)

    class Media:
        js = (Script("prompts/studio.js", defer=True),)  # it looks for elements of the page

    @admin.display(description=_("버전"), ordering="number")
    def label(self, version: PromptVersion) -> str:
        return version.label

    @admin.display(description=_("상태"), ordering="state")
    def state_badge(self, version: PromptVersion) -> str:
        return version.get_state_display()

    @admin.display(description=_("배포"))
    def is_live(self, version: PromptVersion) -> str:
        template = version.template
        if template.live_release and template.live_release.version_id == version.pk:
            return gettext("현재 배포")
        if template.rollout and template.rollout.candidate_id == version.pk:
            return gettext("후보 %(percent)d%%") % {"percent": template.rollout.percent}
        return "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptVersion]:
        return (
            super()
            .get_queryset(request)
            .select_related(
                "template__live_release__version__template",
                "template__rollout__candidate",
                "model_profile",
                "created_by",
                "decided_by",
                "parent__template",
            )
        )

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        views = {name: self._view(page) for name, page in PAGES.items()}
        views |= {name: require_POST(self._view(action)) for name, action in ACTIONS.items()}
        return [
            path("members/", wrap(preview.members), name="prompts_promptversion_members"),
            *(
                path(f"<int:version_id>/{name}/", wrap(view), name=f"prompts_promptversion_{name}")
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

    def _view(self, page: PageView) -> Callable[[HttpRequest, int], HttpResponse]:
        """A Django view of a page: finds the version, or answers 404 or 403."""

        def view(request: HttpRequest, version_id: int) -> HttpResponse:
            version = self.seen(request, version_id)
            return page(VersionPage(admin=self, request=request, version=version))

        return view

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        version = self.seen(request, object_id)
        return edit.change(VersionPage(admin=self, request=request, version=version))
