"""The compare page: a version beside any other one of its template."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse

from prompts.admin.version_pages.page import VersionPage
from prompts.admin.version_pages.parameters import parameter_changes
from prompts.errors import MissingVariables
from prompts.evaluation import input_providers, playground
from prompts.evaluation.call_stats import figures_of
from prompts.models import PromptVersion
from prompts.versions import releases
from prompts.versions.diffing import words
from prompts.versions.resolution import as_resolved

#: Versions offered to choose from; any other one can be named in the address.
MAX_CHOICES = 200


def compare(page: VersionPage) -> HttpResponse:
    version = page.version
    other = _other(version, page.request.GET.get("with", ""))
    context: dict[str, Any] = {"other": other}
    if other is not None:
        choices = version_choices(version, chosen=other)
        context["others"] = [choice for choice in choices if choice[0] != version.pk]
        context["was_live"] = releases.was_live(other)
        given = input_providers.synthetic(version.template.contract_key)
        context |= {
            "system_diff": words(other.system_text, version.system_text),
            "user_diff": words(other.user_text, version.user_text),
            "params": parameter_changes(other, version),
            "rendered_diff": words(_rendered(other, given), _rendered(version, given)),
            "figures": figures_of(version.label),
            "other_figures": figures_of(other.label),
        }
    return page.render("compare", **context)


def version_choices(
    version: PromptVersion, *, chosen: PromptVersion, limit: int = MAX_CHOICES
) -> list[tuple[int, str]]:
    """Options (id, label) of a version field, newest first; always with the chosen one, however old."""
    rows = PromptVersion.objects.filter(template=version.template).only("number", "note")
    newest = list(rows[:limit])
    if chosen not in newest:
        newest.append(chosen)
    return [
        (row.pk, f"@{row.number} · {row.note}" if row.note else f"@{row.number}") for row in newest
    ]


def _other(version: PromptVersion, raw: str) -> PromptVersion | None:
    """The version to compare with: the one asked for, else what is live, else what it came from, else the newest."""
    rows = (
        PromptVersion.objects.filter(template=version.template)
        .exclude(pk=version.pk)
        .select_related("template", "model_profile")
    )
    release = version.template.live_release
    wished = (raw if raw.isdigit() else None, release and release.version_id, version.parent_id)
    key = next((int(key) for key in wished if key and int(key) != version.pk), None)
    return rows.filter(pk=key).first() if key else rows.first()


def _rendered(version: PromptVersion, given: input_providers.Input) -> str:
    """Both texts for the synthetic member; a draft that can't be rendered says why instead."""
    try:
        text = playground.render_for(as_resolved(version), given)
    except MissingVariables as error:
        return str(error)
    return f"{text.system}\n\n{text.user}"
