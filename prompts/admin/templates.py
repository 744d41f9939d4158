"""The list of prompts, the page of one with its history, and the two-step pages that move or stop it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from prompts.admin.base import StudioAdmin, actor_of, attempt
from prompts.admin.forms import ReasonForm
from prompts.evaluation import playground
from prompts.evaluation.call_stats import Figures, figures_of
from prompts.models import PromptTemplate, PromptVersion, Release
from prompts.versions import drafts, releases
from prompts.versions.diffing import words

#: Releases and versions listed on a prompt's page; a link leads to the rest.
MAX_RELEASES = 30
MAX_VERSIONS = 20


@admin.register(PromptTemplate)
class TemplateAdmin(StudioAdmin):
    list_display = ("title", "slug", "live_label", "candidate", "week", "moved_by", "moved_at")
    list_select_related = (
        "live_release__version__template",
        "rollout__candidate__template",
    )

    @admin.display(description=_("현재 배포"))
    def live_label(self, template: PromptTemplate) -> str:
        if template.paused:
            return format_html('<b class="tone-bad">{}</b>', gettext("중지됨"))
        live = playground.live_of(template)
        return live.label if live else "–"

    @admin.display(description=_("후보"))
    def candidate(self, template: PromptTemplate) -> str:
        rollout = template.rollout
        if rollout is None:
            return "–"
        return format_html(
            '<a href="{}">@{} · {}%</a>',
            reverse("admin:prompts_rollout_change", args=[rollout.pk]),
            rollout.candidate.number,
            rollout.percent,
        )

    @admin.display(description=_("7일: 올바른 답 · p95 · 호출당 비용"))
    def week(self, template: PromptTemplate) -> str:
        live = playground.live_of(template)
        figures = figures_of(live.label) if live else Figures()
        if not figures.runs:
            return gettext("호출 없음")
        cost = f"${figures.cost_micro_usd / 1e6:.5f}"
        return f"{figures.validity:.1%} · {figures.p95_ms:,}ms · {cost}"

    @admin.display(description=_("마지막으로 바꾼 사람"))
    def moved_by(self, template: PromptTemplate) -> str:
        return template.live_release.actor_name if template.live_release else "–"

    @admin.display(description=_("언제"))
    def moved_at(self, template: PromptTemplate) -> Any:
        return template.live_release.created_at if template.live_release else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptTemplate]:
        return (
            super()
            .get_queryset(request)
            .select_related(
                "live_release__version__template",
                "rollout__candidate__template",
                "rollout__control",
            )
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path(
                "<int:template_id>/rollback/",
                view(self.rollback_view),
                name="prompts_prompttemplate_rollback",
            ),
            path(
                "<int:template_id>/stop/", view(self.stop_view), name="prompts_prompttemplate_stop"
            ),
            path(
                "<int:template_id>/draft/",
                view(self.draft_view),
                name="prompts_prompttemplate_draft",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """What is live, the versions, and who moved what."""
        template = self.seen(request, object_id)
        live = playground.live_of(template)
        moves = Release.objects.filter(template=template).select_related(
            "version__template", "previous__template"
        )[:MAX_RELEASES]
        versions = template.versions.select_related("created_by")[:MAX_VERSIONS]
        has = request.user.has_perm
        return self.page(
            request,
            "template.html",
            title=template.title,
            obj=template,
            template=template,
            live=live,
            figures=figures_of(live.label) if live else Figures(),
            # Rolling back is offered for the releases that made a version live.
            releases=[(row, row.kind in releases.LIVE_KINDS) for row in moves],
            versions=versions,
            may={
                "fork": has("prompts.add_promptversion"),
                "roll_back": has("prompts.roll_back_promptversion"),
                "kill": has("prompts.kill_prompttemplate"),
            },
        )

    def draft_view(self, request: HttpRequest, template_id: int) -> HttpResponse:
        """A draft from the repository's text: the way back when no version is at hand."""
        template = self.seen(request, template_id)
        live = playground.live_of(template)
        made: list[PromptVersion] = []
        if request.method == "POST" and live is not None:
            body = drafts.Body(
                system_text=live.system_text,
                user_text=live.user_text,
                params=dict(live.params),
                model_profile_id=live.model_profile_id,
            )
            attempt(
                request,
                lambda: made.append(
                    drafts.create_draft(
                        template, body, actor=actor_of(request), parent=template.live_version
                    )
                ),
                gettext("새 초안을 만들었습니다."),
            )
        if made:
            return redirect(reverse("admin:prompts_promptversion_change", args=[made[0].pk]))
        return redirect(reverse("admin:prompts_prompttemplate_change", args=[template.pk]))

    def rollback_view(self, request: HttpRequest, template_id: int) -> HttpResponse:
        """“Now X → will be Y” for a version that was live before, or the repository's own text."""
        template = self.seen(request, template_id)
        target = _target(template, request.GET.get("to", ""))
        form = ReasonForm(
            request.POST if request.method == "POST" else None,
            initial={"seen_lock": template.lock_version},
        )
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            if attempt(
                request,
                lambda: releases.roll_back(
                    template,
                    target,
                    seen_lock=values["seen_lock"],
                    actor=actor_of(request, values["reason"]),
                ),
                gettext("되돌렸습니다. 모든 서버에 2초 안에 적용됩니다."),
            ):
                return redirect(reverse("admin:prompts_prompttemplate_change", args=[template.pk]))
        live, after = playground.live_of(template), _text_of(template, target)
        return self.page(
            request,
            "rollback.html",
            title=gettext("되돌리기"),
            obj=template,
            template=template,
            live=live,
            after=after,
            form=form,
            system_diff=words(live.system_text if live else "", after.system_text if after else ""),
            user_diff=words(live.user_text if live else "", after.user_text if after else ""),
            may=request.user.has_perm("prompts.roll_back_promptversion"),
        )

    def stop_view(self, request: HttpRequest, template_id: int) -> HttpResponse:
        """Stop asking the model for this purpose, or start again."""
        template = self.seen(request, template_id)
        form = ReasonForm(
            request.POST if request.method == "POST" else None,
            initial={"seen_lock": template.lock_version},
        )
        if request.method == "POST" and form.is_valid():
            move = releases.lift if template.paused else releases.kill
            if attempt(
                request,
                lambda: move(template, actor=actor_of(request, form.cleaned_data["reason"])),
                gettext("다시 모델에 묻습니다.") if template.paused else gettext("중지했습니다."),
            ):
                return redirect(reverse("admin:prompts_prompttemplate_change", args=[template.pk]))
        return self.page(
            request,
            "stop.html",
            title=gettext("중지 해제하기") if template.paused else gettext("긴급 중지"),
            obj=template,
            template=template,
            form=form,
            may=request.user.has_perm("prompts.kill_prompttemplate"),
        )


def _target(template: PromptTemplate, raw: str) -> PromptVersion | None:
    """The version named in the address; None stands for the repository's text."""
    if not raw.isdigit():
        return None
    return (
        PromptVersion.objects.select_related("template")
        .filter(template=template, pk=int(raw))
        .first()
    )


def _text_of(template: PromptTemplate, version: PromptVersion | None) -> Any:
    """A version or, for None, the repository's text; both have label, system_text and user_text."""
    if version is not None:
        return version
    try:
        return playground.builtin(template.slug)
    except KeyError:
        return None


@admin.register(Release)
class ReleaseAdmin(StudioAdmin):
    """The history of all prompts: looked at, never edited."""

    list_display = ("created_at", "template", "kind", "from_to", "percent", "actor_name", "reason")
    list_filter = ("template", "kind")
    list_select_related = ("template", "version__template", "previous__template")
    fields = (
        "created_at",
        "template",
        "kind",
        "previous",
        "version",
        "percent",
        "actor_name",
        "reason",
        "request_id",
        "evidence",
    )

    @admin.display(description=_("이전 → 이후"))
    def from_to(self, release: Release) -> str:
        builtin = gettext("기본 문구")
        before = release.previous.label if release.previous else builtin
        return f"{before} → {release.version.label if release.version else builtin}"
