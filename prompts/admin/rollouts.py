"""The page of a rollout: its steps, both arms with intervals, a plain verdict, and the buttons."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from prompts.admin.base import StudioAdmin, actor_of, attempt
from prompts.models import Release, Rollout, RolloutState
from prompts.versions import rollout_moves, rollouts


@admin.register(Rollout)
class RolloutAdmin(StudioAdmin):
    list_display = (
        "candidate_label",
        "template",
        "state",
        "share",
        "started_by",
        "started_at",
        "ended_at",
    )
    list_filter = ("template", "state")
    list_select_related = ("template", "candidate__template", "control__template", "started_by")

    @admin.display(description=_("후보 버전"))
    def candidate_label(self, rollout: Rollout) -> str:
        return rollout.candidate.label

    @admin.display(description=_("회원 비율"))
    def share(self, rollout: Rollout) -> str:
        return f"{rollout.percent}%" if rollout.is_open else "–"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related(*self.list_select_related)

    def get_urls(self) -> list[Any]:
        return [
            path(
                "<int:rollout_id>/move/",
                self.admin_site.admin_view(require_POST(self.move_view)),
                name="prompts_rollout_move",
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
        rollout = self.seen(request, object_id)
        control, candidate = rollouts.arms(rollout, with_likes=True)
        broken = rollouts.breaches(
            control, candidate, guardrails=rollout.guardrails, min_runs=rollout.min_runs
        )
        moves = Release.objects.filter(
            template=rollout.template, version=rollout.candidate, created_at__gte=rollout.started_at
        )[:20]
        return self.page(
            request,
            "rollout.html",
            title=f"{rollout.template.title}: {rollout.candidate.label}",
            obj=rollout,
            rollout=rollout,
            control_label=rollouts.control_label(rollout),
            arms=[(control, False), (candidate, True)],
            breaches=broken,
            verdict=rollouts.judge(control, candidate, min_runs=rollout.min_runs),
            steps=[(percent, _step_state(rollout, at)) for at, percent in enumerate(rollout.steps)],
            moves=moves,
            may=request.user.has_perm("prompts.manage_rollout"),
            may_promote=request.user.has_perm("prompts.publish_promptversion"),
        )

    def move_view(self, request: HttpRequest, rollout_id: int) -> HttpResponse:
        """Advance, pause, resume or end; the button says which."""
        rollout = self.seen(request, rollout_id)
        who = actor_of(request, request.POST.get("reason", ""))
        moves = {
            "advance": lambda: rollout_moves.advance(rollout, actor=who),
            "pause": lambda: rollout_moves.pause(rollout, actor=who),
            "resume": lambda: rollout_moves.resume(rollout, actor=who),
            "promote": lambda: rollout_moves.end(rollout, promote=True, actor=who),
            "abandon": lambda: rollout_moves.end(rollout, promote=False, actor=who),
        }
        move = moves.get(request.POST.get("move", ""))
        if move is None:
            raise PermissionDenied
        attempt(request, move, gettext("적용했습니다. 모든 서버에 2초 안에 반영됩니다."))
        return redirect(reverse("admin:prompts_rollout_change", args=[rollout.pk]))


def _step_state(rollout: Rollout, at: int) -> str:
    """Class of a step in the bar: `done`, `now` or `next`."""
    if rollout.state == RolloutState.PROMOTED or at < rollout.step_index:
        return "done"
    return "now" if at == rollout.step_index and rollout.is_open else "next"
