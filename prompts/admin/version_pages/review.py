"""The buttons of a review: submit, approve, request changes, archive."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils.translation import gettext

from prompts.admin.version_pages.page import VersionPage
from prompts.versions import review


def submit(page: VersionPage) -> HttpResponse:
    submitted = page.attempt(
        lambda: review.submit(page.version, actor=page.actor()), gettext("제출했습니다.")
    )
    return page.redirect("publish" if submitted else "change")


def decide(page: VersionPage) -> HttpResponse:
    """Approve, or ask for changes with a reason."""
    sent = page.request.POST
    actor = page.actor(sent.get("reason", ""))
    if "approve" in sent:
        seen_sha = sent.get("seen_sha", "")
        page.attempt(
            lambda: review.approve(page.version, seen_sha=seen_sha, actor=actor),
            gettext("승인했습니다."),
        )
    else:
        page.attempt(
            lambda: review.request_changes(page.version, actor=actor),
            gettext("수정을 요청했습니다. 작성자에게 초안 사본이 생겼습니다."),
        )
    return page.redirect("publish")


def archive(page: VersionPage) -> HttpResponse:
    page.attempt(lambda: review.archive(page.version, actor=page.actor()), gettext("보관했습니다."))
    return page.redirect("change")
