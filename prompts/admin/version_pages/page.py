"""What every page of a version shares: tabs, permissions for its buttons, rendering, redirects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from prompts.admin.base import StudioAdmin, actor_of, attempt
from prompts.evaluation import playground
from prompts.models import PromptVersion, VersionState
from prompts.versions.actor import Actor

#: Name in the address → label.
TABS = {
    "change": _("편집"),
    "preview": _("미리보기"),
    "compare": _("비교"),
    "evaluate": _("평가"),
    "publish": _("배포"),
}


@dataclass(frozen=True, kw_only=True)
class VersionPage:
    """One request to a page of one version, which the account may view."""

    admin: StudioAdmin
    request: HttpRequest
    version: PromptVersion

    def has_perm(self, permission: str) -> bool:
        return self.request.user.has_perm(permission)

    def actor(self, reason: str = "") -> Actor:
        return actor_of(self.request, reason)

    def attempt(self, change: Callable[[], Any], success: str) -> bool:
        """Run a change and report it; False when it was refused."""
        return attempt(self.request, change, success)

    def redirect(self, tab: str, version: PromptVersion | None = None) -> HttpResponse:
        return redirect(tab_url(tab, version or self.version))

    def render(self, tab: str, **context: Any) -> HttpResponse:
        version, template = self.version, self.version.template
        return self.admin.page(
            self.request,
            f"version_{tab}.html",
            title=f"{template.title} @{version.number}",
            obj=version,
            version=version,
            template=template,
            live=playground.live_of(template),
            tabs=[
                (name, label, tab_url(name, version), name == tab) for name, label in TABS.items()
            ],
            may=self._allowed(),
            **context,
        )

    def _allowed(self) -> dict[str, bool]:
        """What this account may do with the version in its state; only those buttons are shown."""
        has, version = self.has_perm, self.version
        approved = version.state == VersionState.APPROVED
        return {
            "edit": version.is_draft and has("prompts.change_promptversion"),
            "fork": has("prompts.add_promptversion"),
            "submit": version.is_draft and has("prompts.submit_promptversion"),
            "decide": version.state == VersionState.IN_REVIEW
            and has("prompts.review_promptversion"),
            "archive": version.state
            in {VersionState.DRAFT, VersionState.APPROVED, VersionState.CHANGES_REQUESTED}
            and has("prompts.submit_promptversion"),
            "publish": approved and has("prompts.publish_promptversion"),
            "unschedule": bool(version.go_live_at) and has("prompts.publish_promptversion"),
            "break_glass": version.state
            in {VersionState.DRAFT, VersionState.IN_REVIEW, VersionState.APPROVED}
            and bool(getattr(self.request.user, "is_superuser", False)),
            "rollout": approved and has("prompts.manage_rollout"),
            "evaluate": has("prompts.run_evalset"),
            "try": has("prompts.run_paid_preview"),
            "replay": has("recommendations.replay_run"),
        }


def tab_url(tab: str, version: PromptVersion) -> str:
    return reverse(f"admin:prompts_promptversion_{tab}", args=[version.pk])
