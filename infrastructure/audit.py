"""Records who did what. The rows are `prompts.AuditEvent`, whose table predates this module."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models
from django.utils.translation import gettext_lazy as _

#: The model that holds the rows. Every app records here; none of them needs to import another app for it.
MODEL = "prompts.AuditEvent"
SYSTEM = "시스템"


class AuditVerb(models.TextChoices):
    """Verbs of the shared plumbing itself."""

    PERMISSION_GRANTED = "permission.granted", _("그룹에 권한을 줌")


_declared: list[type[models.TextChoices]] = [AuditVerb]


def declare_verbs(verbs: type[models.TextChoices]) -> None:
    """Make an app's verbs known to the audit page; called from its AppConfig.ready()."""
    if verbs not in _declared:
        _declared.append(verbs)


def declared_verbs() -> tuple[type[models.TextChoices], ...]:
    return tuple(_declared)


def verb_label(verb: str) -> str:
    """The verb in the reader's language; a verb that no app declares (any more) as it is stored."""
    for verbs in _declared:
        if verb in verbs.values:
            return str(verbs(verb).label)
    return verb


def record(
    *,
    actor: Any,
    verb: str,
    object: models.Model | str,
    before: Any = None,
    after: Any = None,
    reason: str = "",
    request_id: str = "",
    ip: str | None = None,
) -> None:
    """Add one audit row. `actor` None means the system; `object` is a row or "kind:id" of something without one."""
    kind, key, label = _named(object)
    apps.get_model(MODEL).objects.create(
        actor=actor,
        actor_name=actor.get_username() if actor is not None else SYSTEM,
        verb=verb,
        object_type=kind,
        object_id=key,
        object_label=label[:200],
        before=before,
        after=after,
        reason=reason,
        request_id=request_id[:64],
        ip=ip or None,
    )


def _named(target: models.Model | str) -> tuple[str, str, str]:
    """(kind, id, label) of a row, or of "kind:id"."""
    if isinstance(target, str):
        kind, _colon, key = target.partition(":")
        return kind, key, key or kind
    return target._meta.label_lower, str(target.pk), str(target)
