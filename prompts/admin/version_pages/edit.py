"""The edit page: the form, lint while typing, saving, a conflict with another editor, copying."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext

from prompts.admin.forms import VersionForm
from prompts.admin.version_pages import review as review_page
from prompts.admin.version_pages.page import VersionPage
from prompts.admin.version_pages.parameters import parameter_rows
from prompts.audit_verbs import PromptVerb
from prompts.models import AuditEvent, PromptVersion
from prompts.versions import drafts
from prompts.versions.diffing import words
from prompts.versions.lint import as_json, lint
from prompts.versions.rendering import estimate_tokens


def change(page: VersionPage) -> HttpResponse:
    """The form of a version. A POST saves it, and goes on to the preview or submits."""
    version, request = page.version, page.request
    if request.method != "POST":
        return _form_page(page, VersionForm.of(version))
    form = VersionForm(request.POST, agreed=version.template.contract)
    if not form.is_valid():
        return _form_page(page, form)
    seen_lock = form.cleaned_data["lock_version"]
    saved = page.attempt(
        lambda: drafts.save_draft(version, form.body(), seen_lock=seen_lock, actor=page.actor()),
        gettext("초안을 저장했습니다."),
    )
    if not saved:
        return _conflict_page(page, form)
    if "_submit" in request.POST:
        return review_page.submit(page)
    return page.redirect("preview" if "_preview" in request.POST else "change")


def _conflict_page(page: VersionPage, form: VersionForm) -> HttpResponse:
    """What was typed, and how it differs from what another editor saved meanwhile."""
    stored = page.admin.seen(page.request, page.version.pk)
    if not stored.is_draft:
        return page.redirect("change", stored)
    edits = AuditEvent.objects.filter(
        object_type=stored._meta.label_lower,
        object_id=str(stored.pk),
        verb=PromptVerb.VERSION_EDITED,
    )
    typed = form.body().cleaned()
    by_others = {
        "system": words(stored.system_text, typed.system_text),
        "user": words(stored.user_text, typed.user_text),
        "who": edits.values_list("actor_name", flat=True).first() or "",
    }
    # The difference is on the page: saving once more overwrites on purpose.
    again = page.request.POST.copy()
    again["lock_version"] = str(stored.lock_version)
    form.data = again
    merged = VersionPage(admin=page.admin, request=page.request, version=_as_typed(stored, form))
    return _form_page(merged, form, by_others=by_others)


def _form_page(page: VersionPage, form: VersionForm, **context: Any) -> HttpResponse:
    version = page.version
    return page.render(
        "change",
        form=form,
        editable=version.is_draft and page.has_perm("prompts.change_promptversion"),
        contract=version.template.contract,
        findings=as_json(lint(drafts.draft_of(version))),
        system_tokens=estimate_tokens(version.system_text),
        user_tokens=estimate_tokens(version.user_text),
        params=parameter_rows(version),
        **context,
    )


def lint_form(page: VersionPage) -> JsonResponse:
    """Lint a form that is not saved."""
    form = VersionForm(page.request.POST, agreed=page.version.template.contract)
    if not form.is_valid():
        errors = [
            {
                "level": "error",
                "code": name,
                "where": "params",
                "message": f"{form[name].label}: {messages[0]}",
            }
            for name, messages in form.errors.items()
        ]
        return JsonResponse({"findings": errors})
    typed = _as_typed(page.version, form)
    return JsonResponse(
        {
            "findings": as_json(lint(drafts.draft_of(typed))),
            "system_tokens": estimate_tokens(typed.system_text),
            "user_tokens": estimate_tokens(typed.user_text),
        }
    )


def fork(page: VersionPage) -> HttpResponse:
    copies: list[PromptVersion] = []
    page.attempt(
        lambda: copies.append(drafts.fork(page.version, actor=page.actor())),
        gettext("새 초안을 만들었습니다."),
    )
    return page.redirect("change", *copies)


def _as_typed(version: PromptVersion, form: VersionForm) -> PromptVersion:
    """The version with the values of a valid form; nothing is saved."""
    body = form.body().cleaned()
    version.system_text, version.user_text = body.system_text, body.user_text
    version.params = dict(body.params)
    version.model_profile = form.cleaned_data["model_profile"]
    return version
