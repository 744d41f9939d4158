"""Creates, copies and edits drafts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from prompts.audit_verbs import PromptVerb
from prompts.errors import StaleEdit
from prompts.models import PromptTemplate, PromptVersion
from prompts.versions import moves
from prompts.versions.actor import Actor
from prompts.versions.lint import LintInput, as_json, lint


@dataclass(frozen=True, kw_only=True)
class Body:
    """Texts, parameters and model of a version."""

    system_text: str
    user_text: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model_profile_id: int | None = None
    note: str = ""

    def cleaned(self) -> Body:
        """With Unix line ends (browsers send CRLF) and without surrounding space."""
        return Body(
            system_text=_normalized(self.system_text),
            user_text=_normalized(self.user_text),
            params=dict(self.params),
            model_profile_id=self.model_profile_id,
            note=self.note.strip(),
        )


def _normalized(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def create_draft(
    template: PromptTemplate,
    body: Body,
    *,
    actor: Actor,
    parent: PromptVersion | None = None,
    author: Any = None,
) -> PromptVersion:
    """Create a draft; several may be open at once. `author` is its author where that is not the actor."""
    actor.require_permission("add_promptversion")
    body = body.cleaned()
    with moves.locked(template) as held:
        version = PromptVersion(
            template=held,
            number=(held.versions.aggregate(last=Max("number"))["last"] or 0) + 1,
            parent=parent,
            system_text=body.system_text,
            user_text=body.user_text,
            params=dict(body.params),
            model_profile_id=body.model_profile_id,
            contract_version=held.contract.version,
            note=body.note,
            created_by=author or actor.user,
        )
        version.lint = as_json(lint(draft_of(version)))
        version.save()
        actor.record(PromptVerb.VERSION_CREATED, version, after={"parent": parent and parent.label})
    return version


def fork(version: PromptVersion, *, actor: Actor, author: Any = None) -> PromptVersion:
    """Copy a version into a new draft: submitted versions are edited this way."""
    body = Body(
        system_text=version.system_text,
        user_text=version.user_text,
        params=version.params,
        model_profile_id=version.model_profile_id,
    )
    return create_draft(version.template, body, actor=actor, parent=version, author=author)


def save_draft(
    version: PromptVersion, body: Body, *, seen_lock: int, actor: Actor
) -> PromptVersion:
    """Change a draft. Raises StaleEdit if it was changed since `seen_lock` or is no longer a draft."""
    actor.require_permission("change_promptversion")
    body = body.cleaned()
    before = version.content_sha()
    changed = PromptVersion(
        pk=version.pk,
        template=version.template,
        number=version.number,
        system_text=body.system_text,
        user_text=body.user_text,
        params=dict(body.params),
        model_profile_id=body.model_profile_id,
        contract_version=version.template.contract.version,
        note=body.note,
    )
    with transaction.atomic():
        saved = PromptVersion.objects.save_draft(
            version.pk,
            seen_lock=seen_lock,
            system_text=changed.system_text,
            user_text=changed.user_text,
            params=changed.params,
            model_profile_id=changed.model_profile_id,
            contract_version=changed.contract_version,
            note=changed.note,
            body_sha256=changed.content_sha(),
            lint=as_json(lint(draft_of(changed))),
        )
        if not saved:
            raise StaleEdit(
                _("그 사이 다른 사람이 이 초안을 바꾸었습니다. 새로 불러와 차이를 확인하십시오.")
            )
        if before != changed.content_sha():
            actor.record(
                PromptVerb.VERSION_EDITED,
                version,
                before={"sha": before},
                after={"sha": changed.content_sha()},
            )
    version.refresh_from_db()
    return version


def draft_of(version: PromptVersion) -> LintInput:
    """What lint looks at."""
    profile = version.model_profile if version.model_profile_id else None
    return LintInput(
        system_text=version.system_text,
        user_text=version.user_text,
        params=version.params,
        contract=version.template.contract,
        capabilities=profile.capabilities if profile else {},
    )
