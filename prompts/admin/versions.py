"""The pages of one version: edit with live lint, preview and try, compare, evaluate, publish."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from infrastructure import audit
from prompts.admin.base import (
    StudioAdmin,
    actor_of,
    attempt,
)
from prompts.admin.evaluation import start_evaluation
from prompts.admin.forms import PublishForm, RolloutForm, VersionForm
from prompts.errors import MissingVariables, PromptError
from prompts.evaluation import input_providers, playground
from prompts.evaluation.call_stats import figures_of
from prompts.models import AuditEvent, EvalRun, EvalSet, PromptVersion, State
from prompts.versions import drafts, guards, releases, review, rollout_moves
from prompts.versions.diffing import words
from prompts.versions.lint import as_json, lint
from prompts.versions.rendering import estimate_tokens
from prompts.versions.resolution import ResolvedVersion, as_resolved

#: Tabs of a version's page: (name in the URL, label).
TABS = (
    ("change", _("편집")),
    ("preview", _("미리보기")),
    ("compare", _("비교")),
    ("evaluate", _("평가")),
    ("publish", _("배포")),
)
#: Versions offered to choose from; any other one can be named in the address.
MOST_OTHERS = 200


@admin.register(PromptVersion)
class VersionAdmin(StudioAdmin):
    list_display = ("label", "state_badge", "note", "created_by", "created_at", "is_live")
    list_display_links = ("label",)
    list_filter = ("template", "state")
    list_select_related = ("template__live_release", "template__rollout", "created_by")
    search_fields = ("note",)

    class Media:
        js = (Script("prompts/studio.js", defer=True),)  # it looks for elements of the page

    # --- list ---
    @admin.display(description=_("버전"), ordering="number")
    def label(self, version: PromptVersion) -> str:
        return version.label

    @admin.display(description=_("상태"), ordering="state")
    def state_badge(self, version: PromptVersion) -> str:
        return version.get_state_display()

    @admin.display(description=_("배포"))
    def is_live(self, version: PromptVersion) -> str:
        template = version.template
        if template.live_release and template.live_release.version_id == version.pk:
            return gettext("현재 배포")
        if template.rollout and template.rollout.candidate_id == version.pk:
            return gettext("후보 %(percent)d%%") % {"percent": template.rollout.percent}
        return "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptVersion]:
        return (
            super()
            .get_queryset(request)
            .select_related(
                "template__live_release__version__template",
                "template__rollout__candidate",
                "model_profile",
                "created_by",
                "decided_by",
                "parent__template",
            )
        )

    # --- addresses ---
    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = {
            "lint": self.lint_view,
            "fork": require_POST(self.fork_view),
            "submit": require_POST(self.submit_view),
            "unschedule": require_POST(self.unschedule_view),
            "decide": require_POST(self.decide_view),
            "archive": require_POST(self.archive_view),
            "preview": self.preview_view,
            "compare": self.compare_view,
            "evaluate": self.evaluate_view,
            "publish": self.publish_view,
            "rollout": require_POST(self.rollout_view),
        }
        return [
            path("members/", view(self.members_view), name="prompts_promptversion_members"),
            *(
                path(f"<int:version_id>/{name}/", view(page), name=f"prompts_promptversion_{name}")
                for name, page in own.items()
            ),
            *super().get_urls(),
        ]

    def version_page(
        self, request: HttpRequest, version: PromptVersion, tab: str, **context: Any
    ) -> HttpResponse:
        template = version.template
        return self.page(
            request,
            f"version_{tab}.html",
            title=f"{template.title} @{version.number}",
            obj=version,
            version=version,
            template=template,
            live=playground.live_of(template),
            tabs=[(name, label, _url(name, version), name == tab) for name, label in TABS],
            may=_may(request, version),
            **context,
        )

    # --- edit ---
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        version = self.seen(request, object_id)
        form = VersionForm.of(version)
        if request.method == "POST":
            form = VersionForm(request.POST, agreed=version.template.contract)
            if form.is_valid():
                if self._saved(request, version, form):
                    if "_submit" in request.POST:
                        return self.submit_view(request, version.pk)
                    tab = "preview" if "_preview" in request.POST else "change"
                    return redirect(_url(tab, version))
                return self._refused_page(request, version, form)
        return self._edit_page(request, version, form)

    def _saved(self, request: HttpRequest, version: PromptVersion, form: VersionForm) -> bool:
        seen = form.cleaned_data["lock_version"]
        return attempt(
            request,
            lambda: drafts.save_draft(
                version, form.body(), seen_lock=seen, actor=actor_of(request)
            ),
            gettext("초안을 저장했습니다."),
        )

    def _refused_page(
        self, request: HttpRequest, version: PromptVersion, form: VersionForm
    ) -> HttpResponse:
        """What was typed, and how it differs from what somebody else saved meanwhile."""
        version = self.seen(request, version.pk)
        if not version.is_draft:
            return redirect(_url("change", version))
        mine = form.body().cleaned()
        by_others = {
            "system": words(version.system_text, mine.system_text),
            "user": words(version.user_text, mine.user_text),
            "who": _last_editor(version),
        }
        # Saving once more is now a decision: the difference is on the page.
        again = request.POST.copy()
        again["lock_version"] = str(version.lock_version)
        form.data = again
        return self._edit_page(request, _as_typed(version, form), form, by_others=by_others)

    def _edit_page(
        self, request: HttpRequest, version: PromptVersion, form: VersionForm, **context: Any
    ) -> HttpResponse:
        contract = version.template.contract
        return self.version_page(
            request,
            version,
            "change",
            form=form,
            editable=version.is_draft and request.user.has_perm("prompts.change_promptversion"),
            contract=contract,
            findings=as_json(lint(drafts.draft_of(version))),
            system_tokens=estimate_tokens(version.system_text),
            user_tokens=estimate_tokens(version.user_text),
            params=_param_rows(version),
            **context,
        )

    def lint_view(self, request: HttpRequest, version_id: int) -> JsonResponse:
        """What lint says about a form that is not saved."""
        version = self.seen(request, version_id)
        form = VersionForm(request.POST, agreed=version.template.contract)
        if not form.is_valid():
            errors = [
                {
                    "level": "error",
                    "code": name,
                    "where": "params",
                    "message": f"{form[name].label}: {said[0]}",
                }
                for name, said in form.errors.items()
            ]
            return JsonResponse({"findings": errors})
        typed = _as_typed(version, form)
        return JsonResponse(
            {
                "findings": as_json(lint(drafts.draft_of(typed))),
                "system_tokens": estimate_tokens(typed.system_text),
                "user_tokens": estimate_tokens(typed.user_text),
            }
        )

    def fork_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        version = self.seen(request, version_id)
        made: list[PromptVersion] = []
        if attempt(
            request,
            lambda: made.append(drafts.fork(version, actor=actor_of(request))),
            gettext("새 초안을 만들었습니다."),
        ):
            return redirect(_url("change", made[0]))
        return redirect(_url("change", version))

    # --- review ---
    def submit_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        version = self.seen(request, version_id)
        done = attempt(
            request,
            lambda: review.submit(version, actor=actor_of(request)),
            gettext("제출했습니다."),
        )
        return redirect(_url("publish" if done else "change", version))

    def decide_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        """Approve, or ask for changes with a reason."""
        version = self.seen(request, version_id)
        who = actor_of(request, request.POST.get("reason", ""))
        if "approve" in request.POST:
            seen = request.POST.get("seen_sha", "")
            attempt(
                request,
                lambda: review.approve(version, seen_sha=seen, actor=who),
                gettext("승인했습니다."),
            )
        else:
            attempt(
                request,
                lambda: review.request_changes(version, actor=who),
                gettext("수정을 요청했습니다. 작성자에게 초안 사본이 생겼습니다."),
            )
        return redirect(_url("publish", version))

    def archive_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        version = self.seen(request, version_id)
        attempt(
            request,
            lambda: review.archive(version, actor=actor_of(request)),
            gettext("보관했습니다."),
        )
        return redirect(_url("change", version))

    def unschedule_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        version = self.seen(request, version_id)
        attempt(
            request,
            lambda: releases.unschedule(version, actor=actor_of(request)),
            gettext("예약을 취소했습니다."),
        )
        return redirect(_url("publish", version))

    # --- preview and try ---
    def members_view(self, request: HttpRequest) -> JsonResponse:
        """Proposals of the member field; only for those who may see members' data."""
        if not request.user.has_perm("recommendations.view_member_data"):
            raise PermissionDenied
        found = input_providers.members_like(request.GET.get("q", "").strip()[:64])
        return JsonResponse({"members": [{"key": row.key, "label": row.label} for row in found]})

    def preview_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        """The rendered texts; with POST also the model's answer beside the live version's."""
        version = self.seen(request, version_id)
        asked = request.POST if request.method == "POST" else request.GET
        member, run = asked.get("member", "").strip(), asked.get("run", "").strip()
        other = asked.get("version", "")
        if other.isdigit() and int(other) != version.pk:
            chosen = self.seen(request, other)
            return redirect(
                f"{_url('preview', chosen)}?{urlencode({'member': member, 'run': run})}"
            )
        if (member or run) and not request.user.has_perm("recommendations.view_member_data"):
            raise PermissionDenied
        context: dict[str, Any] = {
            "member": member,
            "run": run,
            "versions": _offered(version, version) if run else [],
        }
        context["can_choose"] = input_providers.can_preview_members(
            version.template.slug
        ) and request.user.has_perm("recommendations.view_member_data")
        try:
            context |= self._previewed(request, version, member=member, run=run)
        except (PromptError, MissingVariables) as error:
            messages.error(request, str(error))
        return self.version_page(request, version, "preview", **context)

    def _previewed(
        self, request: HttpRequest, version: PromptVersion, *, member: str, run: str
    ) -> dict[str, Any]:
        resolved = as_resolved(version)
        logged = _logged(version.template.slug, run) if run else None
        given = (
            logged.given
            if logged
            else input_providers.input_for(
                version.template.slug, version.template.contract_key, member, resolved.params
            )
        )
        text = playground.render_for(resolved, given)
        context: dict[str, Any] = {
            "rendered": text,
            "estimate": playground.estimate(resolved, text),
        }
        if request.method == "POST":
            options = (
                {"run_uuid": logged.run.run_uuid, "seed": logged.run.seed, "trigger": "replay"}
                if logged
                else {"member_key": member}
            )
            context |= self._tried(request, version, resolved, given, options)
        return context

    def _tried(
        self,
        request: HttpRequest,
        version: PromptVersion,
        resolved: ResolvedVersion,
        given: input_providers.Input,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        """Ask the model for real: costs money, so it needs its own permission."""
        needed = (
            "recommendations.replay_run" if "run_uuid" in options else "prompts.run_paid_preview"
        )
        if not request.user.has_perm(needed):
            raise PermissionDenied
        tried, beside = playground.try_beside(
            resolved, playground.live_of(version.template), given, **options
        )
        _note_try(request, version, options)
        return {"tried": tried, "beside": beside}

    # --- compare ---
    def compare_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        version = self.seen(request, version_id)
        other = _other(version, request.GET.get("with", ""))
        context: dict[str, Any] = {"other": other}
        if other is not None:
            context["others"] = [row for row in _offered(version, other) if row[0] != version.pk]
            context["was_live"] = releases.was_live(other)
            context |= _comparison(version, other)
        return self.version_page(request, version, "compare", **context)

    # --- evaluate ---
    def evaluate_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        """Verdicts of this version; a POST starts another run on a set."""
        version = self.seen(request, version_id)
        if request.method == "POST":
            start_evaluation(request, version, request.POST.get("eval_set", ""))
            return redirect(_url("evaluate", version))
        runs = EvalRun.objects.filter(version=version).select_related("eval_set")[:20]
        sets = EvalSet.objects.filter(template=version.template)[:20]
        return self.version_page(request, version, "evaluate", runs=list(runs), sets=list(sets))

    # --- publish ---
    def publish_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        """“Now X → will be Y”, with everything the decision stands on."""
        version = self.seen(request, version_id)
        lock = {"seen_lock": version.template.lock_version}
        form = PublishForm(initial=lock)
        if request.method == "POST":
            form = PublishForm(request.POST)
            if form.is_valid() and self._published(request, version, form):
                return redirect(
                    reverse("admin:prompts_prompttemplate_change", args=[version.template_id])
                )
        return self._publish_page(request, version, form, RolloutForm(initial=lock))

    def _published(self, request: HttpRequest, version: PromptVersion, form: PublishForm) -> bool:
        values, who = form.cleaned_data, actor_of(request, form.cleaned_data["reason"])
        if values["go_live_at"]:
            return attempt(
                request,
                lambda: releases.schedule(version, at=values["go_live_at"], actor=who),
                gettext("배포를 예약했습니다."),
            )
        return attempt(
            request,
            lambda: releases.publish(
                version,
                seen_lock=values["seen_lock"],
                actor=who,
                break_glass=values["break_glass"],
            ),
            gettext("배포했습니다. 모든 서버에 2초 안에 적용됩니다."),
        )

    def _publish_page(
        self,
        request: HttpRequest,
        version: PromptVersion,
        form: PublishForm,
        rollout_form: RolloutForm,
    ) -> HttpResponse:
        live = playground.live_of(version.template)
        gate = guards.gate(version)
        return self.version_page(
            request,
            version,
            "publish",
            form=form,
            rollout_form=rollout_form,
            gate=gate,
            needs_glass=version.state != State.APPROVED or not gate.open,
            findings=as_json(lint(drafts.draft_of(version))),
            system_diff=words(live.system_text if live else "", version.system_text),
            user_diff=words(live.user_text if live else "", version.user_text),
            params=_param_changes(version.template.live_version, version),
            live_figures=figures_of(live.label) if live else None,
            now=timezone.now(),
        )

    def rollout_view(self, request: HttpRequest, version_id: int) -> HttpResponse:
        """Start giving this version to a part of the members."""
        version = self.seen(request, version_id)
        form = RolloutForm(request.POST)
        if not form.is_valid():
            blank = PublishForm(initial={"seen_lock": version.template.lock_version})
            return self._publish_page(request, version, blank, form)
        values = form.cleaned_data
        made: list[Any] = []
        if attempt(
            request,
            lambda: made.append(
                rollout_moves.start_rollout(
                    version,
                    seen_lock=values["seen_lock"],
                    actor=actor_of(request, values["reason"]),
                    steps=values["steps"],
                    min_runs=values["min_runs"],
                    guardrails=form.guardrails,
                )
            ),
            gettext("롤아웃을 시작했습니다."),
        ):
            return redirect(reverse("admin:prompts_rollout_change", args=[made[0].pk]))
        return redirect(_url("publish", version))


def _url(name: str, version: PromptVersion) -> str:
    return reverse(f"admin:prompts_promptversion_{name}", args=[version.pk])


def _may(request: HttpRequest, version: PromptVersion) -> dict[str, bool]:
    """What this account may do with this version in its state; buttons show only that."""
    has = request.user.has_perm
    approved = version.state == State.APPROVED
    return {
        "edit": version.is_draft and has("prompts.change_promptversion"),
        "fork": has("prompts.add_promptversion"),
        "submit": version.is_draft and has("prompts.submit_promptversion"),
        "decide": version.state == State.IN_REVIEW and has("prompts.review_promptversion"),
        "archive": version.state in {State.DRAFT, State.APPROVED, State.CHANGES_REQUESTED}
        and has("prompts.submit_promptversion"),
        "publish": approved and has("prompts.publish_promptversion"),
        "unschedule": bool(version.go_live_at) and has("prompts.publish_promptversion"),
        "break_glass": version.state in {State.DRAFT, State.IN_REVIEW, State.APPROVED}
        and bool(getattr(request.user, "is_superuser", False)),
        "rollout": approved and has("prompts.manage_rollout"),
        "evaluate": has("prompts.run_evalset"),
        "try": has("prompts.run_paid_preview"),
        "replay": has("recommendations.replay_run"),
    }


def _param_rows(version: PromptVersion) -> list[tuple[Any, Any]]:
    agreed = version.template.contract
    values = agreed.defaults() | version.params
    return [(param.label, values[param.name]) for param in agreed.params]


def _param_changes(before: PromptVersion | None, after: PromptVersion) -> list[dict[str, Any]]:
    """Every parameter of both, the changed ones marked."""
    old = dict(_param_rows(before)) if before else {}
    rows = [
        {"label": label, "before": old.get(label, "–"), "after": value}
        for label, value in _param_rows(after)
    ]
    rows.append(
        {
            "label": _("모델 프로필"),
            "before": (before and before.model_profile) or _("기본 모델"),
            "after": after.model_profile or _("기본 모델"),
        }
    )
    return [row | {"changed": str(row["before"]) != str(row["after"])} for row in rows]


def _as_typed(version: PromptVersion, form: VersionForm) -> PromptVersion:
    """The version as the (valid) form would make it; nothing is saved."""
    body = form.body().cleaned()
    version.system_text, version.user_text = body.system_text, body.user_text
    version.params = dict(body.params)
    version.model_profile = form.cleaned_data["model_profile"]
    return version


def _last_editor(version: PromptVersion) -> str:
    edits = AuditEvent.objects.filter(
        object_type=version._meta.label_lower, object_id=str(version.pk), verb="version.edited"
    )
    return edits.values_list("actor_name", flat=True).first() or ""


def _offered(version: PromptVersion, chosen: PromptVersion) -> list[tuple[int, str]]:
    """Versions to choose from, newest first; the one chosen is among them however old it is."""
    rows = PromptVersion.objects.filter(template=version.template)
    newest = list(rows.values_list("pk", "number", "note")[:MOST_OTHERS])
    if chosen.pk not in {pk for pk, _number, _note in newest}:
        newest.append((chosen.pk, chosen.number, chosen.note))
    return [(pk, f"@{number} · {note}" if note else f"@{number}") for pk, number, note in newest]


def _other(version: PromptVersion, raw: str) -> PromptVersion | None:
    """The version to compare with: the one asked for, else what is live, else what it came from, else the newest."""
    rows = (
        PromptVersion.objects.filter(template=version.template)
        .exclude(pk=version.pk)
        .select_related("template", "model_profile")
    )
    release = version.template.live_release
    wanted = (raw if raw.isdigit() else None, release and release.version_id, version.parent_id)
    key = next((int(key) for key in wanted if key and int(key) != version.pk), None)
    return rows.filter(pk=key).first() if key else rows.first()


def _comparison(version: PromptVersion, other: PromptVersion) -> dict[str, Any]:
    given = input_providers.synthetic(version.template.contract_key)
    return {
        "system_diff": words(other.system_text, version.system_text),
        "user_diff": words(other.user_text, version.user_text),
        "params": _param_changes(other, version),
        "rendered_diff": words(_rendered(other, given), _rendered(version, given)),
        "figures": figures_of(version.label),
        "other_figures": figures_of(other.label),
    }


def _note_try(request: HttpRequest, version: PromptVersion, options: dict[str, Any]) -> None:
    """A call that costs money and may show a member's taste leaves a trace."""
    who = actor_of(request)
    audit.record(
        actor=who.user,
        verb="version.replayed" if "run_uuid" in options else "version.tried",
        object=version,
        after={name: str(value) for name, value in options.items()},
        request_id=who.request_id,
        ip=who.ip,
    )


def _rendered(version: PromptVersion, given: input_providers.Input) -> str:
    """Both texts for the synthetic member; a draft that can't be rendered says why instead."""
    try:
        text = playground.render_for(as_resolved(version), given)
    except MissingVariables as error:
        return str(error)
    return f"{text.system}\n\n{text.user}"


def _logged(slug: str, run: str) -> input_providers.Replayable:
    """A logged run by its id. Raises PromptError in words for staff."""
    try:
        return input_providers.replayable(slug, UUID(run))
    except ValueError as error:
        raise input_providers.NoSuchRun(
            gettext("실행 번호가 아닙니다: %(run)s") % {"run": run}
        ) from error


__all__ = ["VersionAdmin"]
