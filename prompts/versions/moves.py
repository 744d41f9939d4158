"""Changes what members get: the only module that may. Locks the template, moves states, writes each Release.

drafts, review, releases and rollout_moves check permissions and guards, then call these functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from prompts.audit_verbs import PromptVerb
from prompts.errors import StaleEdit
from prompts.models import (
    PromptTemplate,
    PromptVersion,
    Release,
    ReleaseKind,
    Rollout,
    RolloutState,
    VersionState,
)
from prompts.models.moving import moving
from prompts.versions import resolution
from prompts.versions.actor import Actor


@contextmanager
def locked(template: PromptTemplate, *, seen_lock: int | None = None) -> Iterator[PromptTemplate]:
    """Lock the template's row for the block; raises StaleEdit if it changed since `seen_lock`."""
    with transaction.atomic(), moving():
        # No join here: MySQL would lock the joined rows, and nullable ones it may refuse.
        held = PromptTemplate.objects.select_for_update().get(pk=template.pk)
        if seen_lock is not None and held.lock_version != seen_lock:
            raise StaleEdit(
                _("페이지를 연 뒤에 배포 상태가 바뀌었습니다. 지금 상태를 확인하고 다시 하십시오.")
            )
        yield held


@contextmanager
def locked_rollout(rollout: Rollout, states: set[RolloutState]) -> Iterator[Rollout]:
    """Read the rollout anew with its template locked; raises StaleEdit unless it is in one of `states`."""
    with locked(rollout.template) as template:
        held = Rollout.objects.select_related("candidate__template").get(pk=rollout.pk)
        if held.state not in states:
            raise StaleEdit(
                _("이 롤아웃은 지금 %(state)s 상태입니다.") % {"state": held.get_state_display()}
            )
        held.template = template
        yield held


def change_state(
    version: PromptVersion,
    sources: set[VersionState],
    target: VersionState,
    *,
    actor: Actor,
    verb: PromptVerb,
    **values: Any,
) -> None:
    """Move a version from one of `sources` to `target`; raises StaleEdit if it is in none of them or was changed."""
    with transaction.atomic(), moving():
        unchanged = PromptVersion.objects.filter(
            pk=version.pk, state__in=sources, lock_version=version.lock_version
        )
        if not unchanged.update(state=target, lock_version=version.lock_version + 1, **values):
            raise StaleEdit(
                _("이 버전은 지금 %(state)s 상태가 아니거나 그 사이 바뀌었습니다.")
                % {"state": " / ".join(str(source.label) for source in sources)}
            )
        actor.record(verb, version, before={"state": version.state}, after={"state": target.value})
    version.refresh_from_db()


def go_live(
    template: PromptTemplate,
    version: PromptVersion | None,
    *,
    kind: ReleaseKind,
    actor: Actor,
    evidence: dict[str, Any],
) -> Release:
    """Make `version` (None: the repository's text) live for all members, and drop its schedule."""
    if version is not None:
        PromptVersion.objects.filter(pk=version.pk, go_live_at__isnull=False).update(
            go_live_at=None
        )
    return record_release(template, version, kind=kind, actor=actor, evidence=evidence, live=True)


def record_release(
    template: PromptTemplate,
    version: PromptVersion | None,
    *,
    kind: ReleaseKind,
    actor: Actor,
    percent: int = 100,
    evidence: dict[str, Any] | None = None,
    live: bool = False,
) -> Release:
    """Write the Release, save the template and notify every process. The caller holds the template's lock."""
    previous = template.live_version
    release = Release.objects.create(
        template=template,
        version=version,
        previous=previous,
        kind=kind,
        percent=percent,
        actor=actor.user,
        actor_name=actor.name,
        reason=actor.reason,
        request_id=actor.request_id[:64],
        evidence=evidence or {},
    )
    if live:
        template.live_release = release
    template.lock_version += 1
    template.save(update_fields=["live_release", "rollout", "paused", "lock_version"])
    actor.record(
        PromptVerb.of_release(kind, break_glass=bool((evidence or {}).get("break_glass"))),
        template,
        before={"version": previous and previous.label},
        after={"version": version and version.label, "percent": percent},
    )
    resolution.bump_epoch()
    transaction.on_commit(resolution.announce)
    return release


def close_rollout(template: PromptTemplate, state: RolloutState, *, reason: str) -> None:
    """End the template's rollout; the caller saves the template with its Release."""
    if template.rollout is not None:
        Rollout.objects.filter(pk=template.rollout.pk).update(
            state=state, state_reason=reason, ended_at=timezone.now()
        )
    template.rollout = None
