"""The publish page: what changes and what the decision stands on; publish, schedule, start a rollout."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from prompts.admin.forms import PublishForm, RolloutForm
from prompts.admin.version_pages.page import VersionPage
from prompts.admin.version_pages.parameters import parameter_changes
from prompts.evaluation import playground
from prompts.evaluation.call_stats import figures_of
from prompts.models import Rollout, VersionState
from prompts.versions import drafts, guards, releases, rollout_moves
from prompts.versions.diffing import words
from prompts.versions.lint import as_json, lint


def publish(page: VersionPage) -> HttpResponse:
    version = page.version
    lock = {"seen_lock": version.template.lock_version}
    form = PublishForm(initial=lock)
    if page.request.method == "POST":
        form = PublishForm(page.request.POST)
        if form.is_valid() and _published(page, form):
            return redirect(
                reverse("admin:prompts_prompttemplate_change", args=[version.template_id])
            )
    return _publish_page(page, form, RolloutForm(initial=lock))


def _published(page: VersionPage, form: PublishForm) -> bool:
    version, values = page.version, form.cleaned_data
    actor = page.actor(values["reason"])
    if values["go_live_at"]:
        return page.attempt(
            lambda: releases.schedule(version, at=values["go_live_at"], actor=actor),
            gettext("배포를 예약했습니다."),
        )
    return page.attempt(
        lambda: releases.publish(
            version,
            seen_lock=values["seen_lock"],
            actor=actor,
            break_glass=values["break_glass"],
        ),
        gettext("배포했습니다. 모든 서버에 2초 안에 적용됩니다."),
    )


def _publish_page(page: VersionPage, form: PublishForm, rollout_form: RolloutForm) -> HttpResponse:
    version = page.version
    live = playground.live_of(version.template)
    gate = guards.gate(version)
    return page.render(
        "publish",
        form=form,
        rollout_form=rollout_form,
        gate=gate,
        needs_glass=version.state != VersionState.APPROVED or not gate.open,
        findings=as_json(lint(drafts.draft_of(version))),
        system_diff=words(live.system_text if live else "", version.system_text),
        user_diff=words(live.user_text if live else "", version.user_text),
        params=parameter_changes(version.template.live_version, version),
        live_figures=figures_of(live.label) if live else None,
        now=timezone.now(),
    )


def unschedule(page: VersionPage) -> HttpResponse:
    page.attempt(
        lambda: releases.unschedule(page.version, actor=page.actor()),
        gettext("예약을 취소했습니다."),
    )
    return page.redirect("publish")


def start_rollout(page: VersionPage) -> HttpResponse:
    """Start giving this version to a part of the members."""
    version = page.version
    form = RolloutForm(page.request.POST)
    if not form.is_valid():
        blank = PublishForm(initial={"seen_lock": version.template.lock_version})
        return _publish_page(page, blank, form)
    values = form.cleaned_data
    started: list[Rollout] = []
    page.attempt(
        lambda: started.append(
            rollout_moves.start_rollout(
                version,
                seen_lock=values["seen_lock"],
                actor=page.actor(values["reason"]),
                steps=values["steps"],
                min_runs=values["min_runs"],
                guardrails=form.guardrails,
            )
        ),
        gettext("롤아웃을 시작했습니다."),
    )
    if started:
        return redirect(reverse("admin:prompts_rollout_change", args=[started[0].pk]))
    return page.redirect("publish")
