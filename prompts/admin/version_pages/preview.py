"""The preview page: rendered texts for a member or a logged run, and the model's answer beside the live version's."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext

from prompts.admin.version_pages.compare import version_choices
from prompts.admin.version_pages.page import VersionPage, tab_url
from prompts.audit_verbs import PromptVerb
from prompts.errors import MissingVariables, PromptError
from prompts.evaluation import input_providers, playground
from prompts.models import CallTrigger
from prompts.versions.resolution import ResolvedVersion, as_resolved

MEMBER_DATA = "recommendations.view_member_data"


def members(request: HttpRequest) -> JsonResponse:
    """Options of the member field; only for accounts that may view members' data."""
    if not request.user.has_perm(MEMBER_DATA):
        raise PermissionDenied
    found = input_providers.members_like(request.GET.get("q", "").strip()[:64])
    return JsonResponse({"members": [{"key": row.key, "label": row.label} for row in found]})


def preview(page: VersionPage) -> HttpResponse:
    """The rendered texts; a POST also asks the model, beside the live version."""
    version, request = page.version, page.request
    sent = request.POST if request.method == "POST" else request.GET
    member, run = sent.get("member", "").strip(), sent.get("run", "").strip()
    other = sent.get("version", "")
    if other.isdigit() and int(other) != version.pk:
        chosen = page.admin.seen(request, other)
        return redirect(f"{tab_url('preview', chosen)}?{urlencode({'member': member, 'run': run})}")
    may_choose = page.has_perm(MEMBER_DATA)
    if (member or run) and not may_choose:
        raise PermissionDenied
    context: dict[str, Any] = {
        "member": member,
        "run": run,
        "versions": version_choices(version, chosen=version) if run else [],
        "can_choose": may_choose and input_providers.can_preview_members(version.template.slug),
    }
    try:
        context |= _previewed(page, member=member, run=run)
    except (PromptError, MissingVariables) as error:
        messages.error(request, str(error))
    return page.render("preview", **context)


def _previewed(page: VersionPage, *, member: str, run: str) -> dict[str, Any]:
    template, resolved = page.version.template, as_resolved(page.version)
    options: dict[str, Any]
    if run:
        logged = _logged(template.slug, run)
        given = logged.given
        options = {
            "run_uuid": logged.run.run_uuid,
            "seed": logged.run.seed,
            "trigger": CallTrigger.REPLAY,
        }
    else:
        given = input_providers.input_for(
            template.slug, template.contract_key, member, resolved.params
        )
        options = {"member_key": member}
    text = playground.render_for(resolved, given)
    context: dict[str, Any] = {
        "rendered": text,
        "estimate": playground.estimate(resolved, text),
    }
    if page.request.method == "POST":
        context |= _tried(page, resolved, given, options)
    return context


def _tried(
    page: VersionPage,
    resolved: ResolvedVersion,
    given: input_providers.Input,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Ask the model: it costs money, so it needs its own permission and leaves an audit row."""
    replayed = "run_uuid" in options
    if not page.has_perm("recommendations.replay_run" if replayed else "prompts.run_paid_preview"):
        raise PermissionDenied
    live = playground.live_of(page.version.template)
    tried, beside = playground.try_beside(resolved, live, given, **options)
    page.actor().record(
        PromptVerb.VERSION_REPLAYED if replayed else PromptVerb.VERSION_TRIED,
        page.version,
        after={name: str(value) for name, value in options.items()},
    )
    return {"tried": tried, "beside": beside}


def _logged(slug: str, run: str) -> input_providers.Replayable:
    """A logged run by its id. Raises PromptError in words for staff."""
    try:
        return input_providers.replayable(slug, UUID(run))
    except ValueError as error:
        raise input_providers.NoSuchRun(
            gettext("실행 번호가 아닙니다: %(run)s") % {"run": run}
        ) from error
