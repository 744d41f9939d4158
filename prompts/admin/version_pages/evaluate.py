"""The evaluate page: verdicts of a version, and a button that starts another run."""

from __future__ import annotations

from django.http import HttpResponse

from prompts.admin.evaluation import start_evaluation
from prompts.admin.version_pages.page import VersionPage
from prompts.models import EvalRun, EvalSet


def evaluate(page: VersionPage) -> HttpResponse:
    version, request = page.version, page.request
    if request.method == "POST":
        start_evaluation(request, version, request.POST.get("eval_set", ""))
        return page.redirect("evaluate")
    runs = EvalRun.objects.filter(version=version).select_related("eval_set")[:20]
    sets = EvalSet.objects.filter(template=version.template)[:20]
    return page.render("evaluate", runs=list(runs), sets=list(sets))
