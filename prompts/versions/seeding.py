"""Loads the repository's texts into a new installation as version 1, live; never replaces staff's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from django.db import transaction

from prompts.defaults import DefaultText, default_texts
from prompts.errors import GuardFailed
from prompts.models import PromptTemplate, PromptVersion, Release
from prompts.versions import drafts, releases, review
from prompts.versions.actor import Actor
from prompts.versions.drafts import Body

log = logging.getLogger(__name__)


def load_defaults(texts: Mapping[str, DefaultText] | None = None) -> list[str]:
    """Add the repository's texts that are missing; returns the labels of added versions.

    A newer text of the repository goes live by itself only where staff never moved that prompt.
    """
    return [label for text in (texts or default_texts()).values() if (label := _load(text))]


def _load(text: DefaultText) -> str:
    with transaction.atomic():
        template, _created = PromptTemplate.objects.get_or_create(
            slug=text.slug, defaults={"title": text.title, "contract_key": text.contract.key}
        )
        sha = text.sha
        if PromptVersion.objects.filter(template=template, body_sha256=sha).exists():
            return ""
        version = _add(template, text)
        if not Release.objects.filter(template=template, actor__isnull=False).exists():
            lock = PromptTemplate.objects.values_list("lock_version", flat=True).get(pk=template.pk)
            try:
                releases.publish(version, seen_lock=lock, actor=Actor(reason="저장소 기본 문구"))
            except GuardFailed as error:
                # An evaluation set guards it: staff decide, and the old text stays.
                log.warning("prompts: %s is not published by itself: %s", version.label, error)
    return version.label


def _add(template: PromptTemplate, text: DefaultText) -> PromptVersion:
    version = drafts.create_draft(
        template,
        Body(
            system_text=text.system_text,
            user_text=text.user_text,
            params=text.params,
            note=text.note,
        ),
        actor=Actor(),
    )
    review.adopt(version, actor=Actor())
    return version
