"""The account behind a change: checks its permissions and reason, and records the change in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.translation import gettext as _

from infrastructure import audit
from prompts.audit_verbs import PromptVerb
from prompts.errors import GuardFailed, NotAllowed


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who makes a change, and why."""

    #: None: the system itself (schedules, guardrails, first installation).
    user: Any = None
    reason: str = ""
    request_id: str = ""
    ip: str | None = None

    @property
    def name(self) -> str:
        return self.user.get_username() if self.user is not None else audit.SYSTEM

    def may(self, permission: str) -> bool:
        return self.user is None or self.user.has_perm(f"prompts.{permission}")

    def require_permission(self, permission: str) -> None:
        """Raises NotAllowed."""
        if not self.may(permission):
            raise NotAllowed(_("이 계정에는 그 권한이 없습니다: %(name)s") % {"name": permission})

    def require_reason(self, min_length: int = 1) -> None:
        """Raises GuardFailed."""
        if len(self.reason.strip()) < min_length:
            raise GuardFailed(
                _("이유를 %(length)d자 이상 적어 주십시오.") % {"length": min_length}
                if min_length > 1
                else _("이유를 적어 주십시오.")
            )

    def record(
        self,
        verb: PromptVerb,
        changed: models.Model,
        *,
        before: Any = None,
        after: Any = None,
        reason: str = "",
    ) -> None:
        """Add one row to the audit log; `reason` replaces the actor's own."""
        audit.record(
            actor=self.user,
            verb=verb,
            object=changed,
            before=before,
            after=after,
            reason=reason or self.reason,
            request_id=self.request_id,
            ip=self.ip,
        )
