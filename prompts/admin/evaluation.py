"""Evaluation sets: frozen runs, the versions tried on them, and their verdicts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from prompts.admin.base import StudioAdmin, actor_of, attempt
from prompts.admin.forms import FreezeForm
from prompts.audit_verbs import PromptVerb
from prompts.errors import NotAllowed
from prompts.evaluation import eval_sets, runs
from prompts.evaluation.verdicts import Thresholds
from prompts.models import EvalRun, EvalSet, PromptVersion

#: Cases and runs shown on a set's page.
MAX_ROWS = 50


def start_evaluation(request: HttpRequest, version: PromptVersion, set_id: str) -> None:
    """Open an evaluation; its job is made from the row within seconds."""
    eval_set = (
        EvalSet.objects.filter(template=version.template, pk=int(set_id) if set_id.isdigit() else 0)
        .select_related("template__live_release__version__template")
        .first()
    )
    if eval_set is None:
        messages.error(request, gettext("평가 세트를 고르십시오."))
        return
    try:
        with transaction.atomic():
            runs.start(eval_set, version, actor=actor_of(request))
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    messages.success(request, gettext("평가를 시작했습니다. 끝나면 이 페이지에 판정이 보입니다."))


@admin.register(EvalSet)
class EvalSetAdmin(StudioAdmin):
    list_display = ("title", "template", "active", "created_by", "created_at")
    list_filter = ("template", "active")
    list_select_related = ("template", "created_by")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("prompts.add_evalset")

    def get_urls(self) -> list[Any]:
        return [
            path(
                "<int:set_id>/active/",
                self.admin_site.admin_view(require_POST(self.active_view)),
                name="prompts_evalset_active",
            ),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Freeze logged runs."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = FreezeForm(request.POST if request.method == "POST" else None)
        made: list[EvalSet] = []
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            attempt(
                request,
                lambda: made.append(eval_sets.freeze(**values, actor=actor_of(request))),
                gettext("실행을 얼려 평가 세트를 만들었습니다."),
            )
        if made:
            return redirect(reverse("admin:prompts_evalset_change", args=[made[0].pk]))
        return self.page(request, "evalset_add.html", title=gettext("평가 세트 만들기"), form=form)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        eval_set = self.seen(request, object_id)
        return self.page(
            request,
            "evalset.html",
            title=eval_set.title,
            obj=eval_set,
            eval_set=eval_set,
            cases=eval_set.cases.count(),
            poisoned=eval_set.cases.filter(poisoned__gt=0).count(),
            runs=eval_set.runs.select_related("version__template", "created_by")[:MAX_ROWS],
            thresholds=Thresholds(**eval_set.thresholds),
            may_change=request.user.has_perm("prompts.change_evalset"),
        )

    def active_view(self, request: HttpRequest, set_id: int) -> HttpResponse:
        """Make a set the gate of its prompt, or stop using it."""
        eval_set = self.seen(request, set_id)
        if not request.user.has_perm("prompts.change_evalset"):
            raise PermissionDenied
        eval_set.active = not eval_set.active
        eval_set.save(update_fields=["active"])
        actor_of(request).record(
            PromptVerb.EVALSET_ACTIVATED if eval_set.active else PromptVerb.EVALSET_DEACTIVATED,
            eval_set,
        )
        messages.success(request, gettext("저장했습니다."))
        return redirect(reverse("admin:prompts_evalset_change", args=[eval_set.pk]))


@admin.register(EvalRun)
class EvalRunAdmin(StudioAdmin):
    list_display = (
        "version_label",
        "eval_set",
        "verdict",
        "compared_with",
        "created_by",
        "created_at",
    )
    list_filter = ("verdict", "eval_set")
    list_select_related = ("version__template", "eval_set", "created_by")

    @admin.display(description=_("버전"))
    def version_label(self, run: EvalRun) -> str:
        return run.version.label

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        run = self.seen(request, object_id)
        return self.page(
            request,
            "evalrun.html",
            title=str(run),
            obj=run,
            run=run,
            rows=[
                (label, _written(run.figures.get(key), how), _written(run.reference.get(key), how))
                for key, label, how in FIGURES
            ],
            results=run.results.select_related("case")[:MAX_ROWS],
        )


#: Figures in the order shown: (key, label, how it is written).
FIGURES = (
    ("cases", _("사례"), "{:.0f}"),
    ("validity", _("올바른 답"), "{:.1%}"),
    ("repairs_per_call", _("호출당 보정"), "{:.2f}"),
    ("tokens_input", _("입력 토큰"), "{:.0f}"),
    ("tokens_output", _("출력 토큰"), "{:.0f}"),
    ("cost_micro_usd", _("호출당 비용(μ$)"), "{:.0f}"),
    ("p95_ms", _("p95(ms)"), "{:.0f}"),
    ("ndcg", _("NDCG@20(이후 좋아요)"), "{:.3f}"),
    ("ndcg_baseline", _("NDCG@20(우리 순위)"), "{:.3f}"),
    ("stability", _("순서 바꿔도 같은 정도(τ)"), "{:.2f}"),
    ("injection_lift", _("오염된 제목이 오른 칸"), "{:+.2f}"),
)


def _written(value: float | None, how: str) -> str:
    return "–" if value is None else how.format(value)
