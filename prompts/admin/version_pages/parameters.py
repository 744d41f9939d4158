"""The parameters of a version as rows of a table, with changes marked."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from prompts.models import PromptVersion


def parameter_rows(version: PromptVersion) -> list[tuple[Any, Any]]:
    agreed = version.template.contract
    values = agreed.defaults() | version.params
    return [(param.label, values[param.name]) for param in agreed.params]


def parameter_changes(before: PromptVersion | None, after: PromptVersion) -> list[dict[str, Any]]:
    """Every parameter of both, the changed ones marked."""
    old = dict(parameter_rows(before)) if before else {}
    rows = [
        {"label": label, "before": old.get(label, "–"), "after": value}
        for label, value in parameter_rows(after)
    ]
    rows.append(
        {
            "label": _("모델 프로필"),
            "before": (before and before.model_profile) or _("기본 모델"),
            "after": after.model_profile or _("기본 모델"),
        }
    )
    return [row | {"changed": str(row["before"]) != str(row["after"])} for row in rows]
