"""Admin pages of background work: jobs, messages nobody could serve, schedules and their runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import django_celery_beat.admin  # noqa: F401 - registers its own pages first, so that ours can replace them
from celery.schedules import ParseException, crontab
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from infrastructure import audit
from infrastructure.admin import ReadOnlyAdmin, preformatted, pretty_json, seoul_time, table

from ..jobs import dead_letters, execution, queue, schedule_progress
from ..jobs.broker import BrokerUnavailable
from ..jobs.kinds import TASK_PREFIX, JobKind
from ..jobs.rabbitmq_messages import InvalidMessage
from ..models import DeadLetter, Job, JobRun, ScheduleRun
from ..schedules import defaults, runs, timing
from ..serving import answer_store

MEMBER_DATA = "recommendations.view_member_data"
HIDDEN = "•••"
SHOWN_RUNS = 20


def _shown_bytes(body: bytes) -> str:
    """A message's body exactly as it came: parsed and printed again, its numbers would be others."""
    return preformatted(body.decode("utf-8", "backslashreplace"))


def _report(request: HttpRequest, done: int, problems: list[str]) -> None:
    if done:
        messages.success(request, gettext("%(count)d건을 처리했습니다.") % {"count": done})
    for problem in problems[:10]:
        messages.error(request, problem)
    if len(problems) > 10:
        messages.error(request, gettext("외 %(count)d건") % {"count": len(problems) - 10})


# --- Jobs -----------------------------------------------------------------------------------------
@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = (
        "submitted_at",
        "short_id",
        "name",
        "state",
        "source",
        "member",
        "attempt",
        "took",
        "error_code",
    )
    list_display_links = ("submitted_at", "short_id")
    list_filter = ("state", "name", "source", "error_code", "submitted_at")
    search_fields = ("=uuid", "=member_key")
    search_help_text = _("작업 ID 전체 또는 회원 번호로 찾습니다.")
    actions = ("retry", "cancel")
    fieldsets = (
        (None, {"fields": ("uuid", "name", "key", "state", "progress", "source", "queue", "member", "trace_id")}),
        (_("결과"), {"fields": ("error_code", "error_message", "note", "result_shown")}),
        (_("시각"), {"fields": ("submitted_at", "started_at", "finished_at", "not_before", "published_at", "lease_until", "worker")}),
        (_("요청"), {"fields": ("arguments_shown", "headers_shown", "message_shown")}),
        (_("시도"), {"fields": ("attempt", "round", "losses", "attempts_shown")}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        self._may_see_member = request.user.has_perm(MEMBER_DATA)
        return super().get_queryset(request).defer("message")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """An id or a member, by index; anything else finds nothing rather than scan the table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        job_uuid = _uuid(term)
        found = queryset.filter(pk=job_uuid) if job_uuid else queryset.filter(member_key=term)
        return found, False

    @admin.display(description=_("작업 ID"), ordering="uuid")
    def short_id(self, job: Job) -> str:
        return str(job.pk)[:8]

    @admin.display(description=_("회원"), ordering="member_key")
    def member(self, job: Job) -> str:
        return job.member_key if self._may_see_member or not job.member_key else HIDDEN

    @admin.display(description=_("소요"))
    def took(self, job: Job) -> str:
        if job.started_at is None or job.finished_at is None:
            return "–"
        return f"{(job.finished_at - job.started_at).total_seconds():.2f} s"

    @admin.display(description=_("결과"))
    def result_shown(self, job: Job) -> str:
        return pretty_json(job.result) if job.result is not None else "–"

    @admin.display(description=_("인자"))
    def arguments_shown(self, job: Job) -> str:
        return pretty_json(job.arguments) if self._may_see_member else HIDDEN

    @admin.display(description=_("헤더"))
    def headers_shown(self, job: Job) -> str:
        return pretty_json(job.headers) if job.headers else "–"

    @admin.display(description=_("받은 메시지"))
    def message_shown(self, job: Job) -> str:
        return _shown_bytes(bytes(job.message)) if self._may_see_member else HIDDEN

    @admin.display(description=_("시도 기록"))
    def attempts_shown(self, job: Job) -> str:
        head = (_("회차"), _("시도"), _("작업자"), _("시작"), _("종료"), _("결과"), _("오류"))
        tries = JobRun.objects.filter(job=job).order_by("round", "attempt")
        rows = [
            (run.round, run.attempt, run.worker, seoul_time(run.started_at), seoul_time(run.finished_at),
             run.outcome or _("실행 중"), f"{run.error_code} {run.error_message}".strip() or "–")
            for run in tries
        ]  # fmt: skip
        return table(head, rows)

    # --- actions ---
    @admin.action(description=_("같은 인자로 다시 실행"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        done, problems = 0, []
        for job in queryset[: dead_letters.MOST_AT_ONCE]:
            problem = retry_job(job, by=request.user)
            done += not problem
            if problem:
                problems.append(f"{str(job.pk)[:8]}: {problem}")
        _report(request, done, problems)

    @admin.action(description=_("취소"), permissions=("cancel",))
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        done = 0
        for job in queryset[: dead_letters.MOST_AT_ONCE]:
            if job.cancel(now=timezone.now()):
                audit.record(actor=request.user, verb="job.cancel", object=job)
                execution.announce(Job.objects.get(pk=job.pk))
                done += 1
        _report(request, done, [])

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.retry_job")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.cancel_job")


def _uuid(text: str) -> Any:
    try:
        return Job._meta.pk.to_python(text)
    except forms.ValidationError:
        return None


@transaction.atomic
def retry_job(job: Job, *, by: Any) -> str:
    """Run an ended job again with what it was asked with; returns why not, or ""."""
    if job.name not in list(JobKind):
        return gettext("이 버전에는 없는 작업입니다.")
    if job.name == JobKind.SERVE and not job.arguments:
        return gettext("메시지를 읽을 수 없었습니다. DLQ에서 고쳐 보내십시오.")
    if not job.reopen(now=timezone.now()):
        return gettext("아직 끝나지 않았습니다.")
    answer_store.forget_job(str(job.pk))
    audit.record(actor=by, verb="job.retry", object=job)
    transaction.on_commit(lambda: queue.publish(job))
    return ""


# --- Dead letters ---------------------------------------------------------------------------------
class LetterForm(forms.ModelForm):
    """The corrected body of a message."""

    text = forms.CharField(
        label=_("본문"),
        widget=forms.Textarea(attrs={"rows": 18, "cols": 100, "spellcheck": "false"}),
        help_text=_("고친 뒤 ‘고쳐서 다시 보내기’를 누르면 이 본문이 백엔드 대기열로 갑니다."),
    )
    reason = forms.CharField(label=_("사유"), max_length=300, required=True)

    class Meta:
        model = DeadLetter
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["text"].initial = bytes(self.instance.body).decode("utf-8", "backslashreplace")


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = (
        "arrived_at",
        "age",
        "code",
        "state",
        "short_id",
        "member",
        "detail",
        "handled_by",
    )
    list_display_links = ("arrived_at", "code")
    list_filter = ("state", "code", "arrived_at")
    list_select_related = ("handled_by",)
    search_fields = ("=job_uuid",)
    search_help_text = _("작업 ID 전체로 찾습니다.")
    actions = ("retry", "discard")
    form = LetterForm
    shown = ("arrived_at", "age", "code", "detail", "job_uuid", "member", "state", "handled_by",
             "handled_reason", "handled_at", "headers_shown")  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        self._may_see_member = request.user.has_perm(MEMBER_DATA)
        return super().get_queryset(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only to correct and send again, by those who may see what stands in it."""
        editable = obj is None or obj.state == DeadLetter.State.OPEN
        may = request.user.has_perm("recommendations.edit_deadletter")
        return editable and may and request.user.has_perm(MEMBER_DATA)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.shown, "body_shown")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        editing = ("text", "reason") if self.has_change_permission(request, obj) else ()
        return (*self.shown, *(editing or ("body_shown",)))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        context |= {
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
            "show_delete": False,
        }
        return super().render_change_form(request, context, *args, **options)

    def save_model(self, request: HttpRequest, obj: DeadLetter, form: Any, change: bool) -> None:
        """Nothing of the row is edited: the corrected text is sent by `response_change`."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit record says it."""

    def response_change(self, request: HttpRequest, obj: DeadLetter) -> HttpResponse:
        text, reason = request.POST.get("text", ""), request.POST.get("reason", "")
        try:
            # A form sends \r\n; JSON does not care, but what was not touched must stay as it was.
            body = text.replace("\r\n", "\n").encode()
            dead_letters.retry(obj.pk, by=request.user, reason=reason, body=body)
        except (InvalidMessage, dead_letters.LetterHandled, dead_letters.NoBackendQueue) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)
        except BrokerUnavailable:
            messages.error(request, _("브로커에 연결할 수 없습니다. 메시지는 그대로 있습니다."))
            return HttpResponseRedirect(request.path)
        messages.success(request, _("고쳐서 다시 보냈습니다."))
        return self.response_post_save_change(request, obj)

    # --- columns ---
    @admin.display(description=_("작업 ID"), ordering="job_uuid")
    def short_id(self, letter: DeadLetter) -> str:
        return letter.job_uuid[:8]

    @admin.display(description=_("경과"), ordering="arrived_at")
    def age(self, letter: DeadLetter) -> str:
        return timesince(letter.arrived_at, depth=1)

    @admin.display(description=_("회원"), ordering="member_key")
    def member(self, letter: DeadLetter) -> str:
        return letter.member_key if self._may_see_member or not letter.member_key else HIDDEN

    @admin.display(description=_("헤더"))
    def headers_shown(self, letter: DeadLetter) -> str:
        return pretty_json(letter.headers)

    @admin.display(description=_("본문"))
    def body_shown(self, letter: DeadLetter) -> str:
        return _shown_bytes(bytes(letter.body)) if self._may_see_member else HIDDEN

    # --- actions ---
    @admin.action(description=_("그대로 다시 보내기"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self._each(request, queryset, lambda pk: dead_letters.retry(pk, by=request.user))

    @admin.action(description=_("폐기(사유 필요)"), permissions=("discard",))
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        reason = request.POST.get("reason", "").strip()
        if reason:
            self._each(
                request,
                queryset,
                lambda pk: dead_letters.discard(pk, by=request.user, reason=reason),
            )
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("메시지 폐기"),
            "opts": self.opts,
            "letters": queryset[: dead_letters.MOST_AT_ONCE],
            "count": min(queryset.count(), dead_letters.MOST_AT_ONCE),
            "action": "discard",
        }
        return TemplateResponse(request, "admin/recommendations/deadletter/discard.html", context)

    def _each(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], step: Callable[[int], None]
    ) -> None:
        chosen = list(queryset.order_by("arrived_at").values_list("pk", flat=True))
        if len(chosen) > dead_letters.MOST_AT_ONCE:
            messages.warning(
                request,
                gettext("한 번에 %(most)d건까지 처리합니다.") % {"most": dead_letters.MOST_AT_ONCE},
            )
        _report(request, *dead_letters.each(chosen, step))

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.retry_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.discard_deadletter")


# --- Schedules ------------------------------------------------------------------------------------
for replaced in (PeriodicTask, CrontabSchedule, IntervalSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(replaced)

_WEEKDAYS = ("일", "월", "화", "수", "목", "금", "토")


def readable(task: PeriodicTask) -> str:
    """When a schedule runs, as people say it."""
    if task.interval is not None:
        seconds = int(task.interval.schedule.run_every.total_seconds())
        if seconds % 60:
            return gettext("%(n)d초마다") % {"n": seconds}
        return gettext("%(n)d분마다") % {"n": seconds // 60}
    if task.crontab is None:
        return str(task.scheduler or "–")
    return _readable_crontab(task.crontab)


def _readable_crontab(rule: CrontabSchedule) -> str:
    written = (
        f"{rule.minute} {rule.hour} {rule.day_of_month} {rule.month_of_year} {rule.day_of_week}"
    )
    if not (rule.minute.isdecimal() and rule.hour.isdecimal()) or rule.month_of_year != "*":
        return written
    time = f"{int(rule.hour):02d}:{int(rule.minute):02d}"
    match (rule.day_of_month, rule.day_of_week):
        case ("*", "*"):
            return gettext("매일 %(time)s") % {"time": time}
        case ("*", day) if day.isdecimal():
            return gettext("매주 %(day)s요일 %(time)s") % {
                "day": gettext(_WEEKDAYS[int(day) % 7]),
                "time": time,
            }
        case (day, "*") if day.isdecimal():
            return gettext("매월 %(day)s일 %(time)s") % {"day": day, "time": time}
    return written


class ScheduleForm(forms.ModelForm):
    """A schedule as staff think of it: when, and with which arguments."""

    cron = forms.CharField(
        label=_("cron"),
        required=False,
        help_text=_("분 시 일 월 요일(Asia/Seoul). 예: 0 3 * * * 은 매일 03:00."),
    )
    every_s = forms.IntegerField(
        label=_("간격(초)"), required=False, min_value=5, help_text=_("cron 대신 일정 간격으로.")
    )

    class Meta:
        model = PeriodicTask
        fields = ("name", "description", "enabled", "task", "kwargs")
        labels = {"name": _("이름"), "description": _("설명"), "enabled": _("사용"), "task": _("작업"), "kwargs": _("인자(JSON)")}  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(TASK_PREFIX + name, name) for name in sorted(JobKind)]
        if "task" in self.fields:
            self.fields["task"] = forms.ChoiceField(label=_("작업"), choices=choices)
        if "kwargs" in self.fields:
            self.fields["kwargs"].required = False
        if "cron" in self.fields and self.instance.pk:
            self._show_timing(self.instance)

    def _show_timing(self, task: PeriodicTask) -> None:
        if task.crontab is not None:
            rule = task.crontab
            self.fields[
                "cron"
            ].initial = f"{rule.minute} {rule.hour} {rule.day_of_month} {rule.month_of_year} {rule.day_of_week}"
        if task.interval is not None:
            every = task.interval.schedule.run_every.total_seconds()
            self.fields["every_s"].initial = int(every)

    def clean_cron(self) -> str:
        written = " ".join(self.cleaned_data["cron"].split())
        if not written:
            return ""
        parts = written.split()
        if len(parts) != 5:
            raise forms.ValidationError(_("다섯 칸이어야 합니다: 분 시 일 월 요일."))
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        try:
            crontab(**dict(zip(names, parts, strict=True)))
        except (ParseException, ValueError) as error:
            raise forms.ValidationError(_("읽을 수 없습니다: %s") % error) from error
        return written

    def clean_kwargs(self) -> str:
        written = self.cleaned_data["kwargs"] or "{}"
        try:
            if isinstance(json.loads(written), dict):
                return written
        except ValueError:
            pass
        raise forms.ValidationError(_('JSON 객체여야 합니다. 예: {"limit": 500}'))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and bool(cleaned.get("cron")) == bool(cleaned.get("every_s")):
            raise forms.ValidationError(_("cron과 간격 가운데 하나만 적으십시오."))
        # The row's own check looks at these.
        rows = timing.rows(cron=cleaned.get("cron", ""), every_s=cleaned.get("every_s") or 0)
        if not self.errors:
            self.instance.crontab = rows.get("crontab")
            self.instance.interval = rows.get("interval")
            self.instance.solar = self.instance.clocked = None
        return cleaned


@admin.register(PeriodicTask)
class ScheduleAdmin(admin.ModelAdmin):
    form = ScheduleForm
    list_display = ("name", "enabled", "when", "next_run", "last_outcome", "last_run")
    list_filter = ("enabled",)
    search_fields = ("name", "task")
    list_select_related = ("crontab", "interval", "clocked", "solar")
    actions = ("run_now", "enable", "disable")
    change_form_template = "admin/recommendations/schedule/change_form.html"
    readonly_fields = ("next_run", "last_runs")
    fields = ("name", "description", "enabled", "task", "cron", "every_s", "kwargs", "next_run", "last_runs")  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        # Celery's own clean-up is no business of staff.
        return super().get_queryset(request).filter(task__startswith=TASK_PREFIX)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What is installed with the product is switched off, not deleted: an upgrade would bring it back."""
        installed = {TASK_PREFIX + schedule.task for schedule in defaults.SCHEDULES}
        own = obj is not None and obj.task not in installed
        return own and super().has_delete_permission(request, obj)

    # --- columns ---
    @admin.display(description=_("시각"))
    def when(self, task: PeriodicTask) -> str:
        return readable(task)

    @admin.display(description=_("다음 실행(서울)"))
    def next_run(self, task: PeriodicTask) -> str:
        return seoul_time(timing.next_due(task, timezone.now())) if task.pk else "–"

    @admin.display(description=_("마지막 결과"))
    def last_outcome(self, task: PeriodicTask) -> str:
        run = self._newest(task)
        return run.get_state_display() if run is not None else "–"

    @admin.display(description=_("마지막 실행(서울)"))
    def last_run(self, task: PeriodicTask) -> str:
        run = self._newest(task)
        return seoul_time(run.slot) if run is not None else "–"

    def _newest(self, task: PeriodicTask) -> ScheduleRun | None:
        return ScheduleRun.objects.filter(schedule=task.name).first()

    @admin.display(description=_("최근 실행"))
    def last_runs(self, task: PeriodicTask) -> str:
        head = (_("예정"), _("계기"), _("상태"), _("소요"), _("요약"), _("기록"))
        latest = ScheduleRun.objects.filter(schedule=task.name)[:SHOWN_RUNS]
        return table(head, [_run_row(run) for run in latest])

    # --- changes ---
    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        before = PeriodicTask.objects.filter(pk=obj.pk).first() if change else None
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if before is not None and before.name != obj.name:
                ScheduleRun.objects.filter(schedule=before.name).update(schedule=obj.name)
            audit.record(
                actor=request.user,
                verb="schedule.change" if change else "schedule.add",
                object=obj,
                before=_described(before) if before is not None else None,
                after=_described(obj),
            )

    def response_change(self, request: HttpRequest, obj: PeriodicTask) -> HttpResponse:
        if "_run_now" in request.POST:
            if not self.has_run_permission(request):
                raise PermissionDenied
            self._start(request, obj)
            return HttpResponseRedirect(request.path)
        return super().response_change(request, obj)

    @admin.action(description=_("지금 실행"), permissions=("run",))
    def run_now(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        for task in queryset:
            self._start(request, task)

    def _start(self, request: HttpRequest, task: PeriodicTask) -> None:
        now = timezone.now()
        run = runs.start(
            task,
            slot=now,
            now=now,
            trigger=ScheduleRun.Trigger.STAFF,
            requested_by=request.user.get_username(),
        )
        audit.record(actor=request.user, verb="schedule.run_now", object=task)
        if run is not None and run.state == ScheduleRun.State.SKIPPED:
            messages.warning(request, f"{task.name}: {run.log.strip()}")
        else:
            messages.success(request, gettext("%(name)s: 시작했습니다.") % {"name": task.name})

    @admin.action(description=_("사용"), permissions=("change",))
    def enable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description=_("사용 안 함"), permissions=("change",))
    def disable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, on: bool) -> None:
        changed = 0
        for task in queryset.exclude(enabled=on):
            # Moments before this change were not missed.
            PeriodicTask.objects.filter(pk=task.pk).update(enabled=on, date_changed=timezone.now())
            verb = "schedule.enable" if on else "schedule.disable"
            audit.record(actor=request.user, verb=verb, object=task)
            changed += 1
        PeriodicTasks.update_changed()
        _report(request, changed, [])

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.run_schedule")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        context["may_run"] = self.has_run_permission(request)
        return super().render_change_form(request, context, *args, **options)


def _described(task: PeriodicTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "enabled": task.enabled,
        "task": task.task,
        "when": readable(task),
        "kwargs": task.kwargs,
    }


def _run_row(run: ScheduleRun) -> tuple[Any, ...]:
    took = "–"
    if run.started_at and run.finished_at:
        took = f"{(run.finished_at - run.started_at).total_seconds():.1f} s"
    figures = ", ".join(f"{name} {value}" for name, value in sorted(_figures(run).items()))
    trigger = run.get_trigger_display()
    by = f"{trigger} ({run.requested_by})" if run.requested_by else trigger
    log = format_html('<pre style="margin:0">{}</pre>', run.log.strip()) if run.log else "–"
    return seoul_time(run.slot), by, run.get_state_display(), took, figures or "–", log


def _figures(run: ScheduleRun) -> dict[str, Any]:
    """Of an open run, how far it is."""
    if run.finished_at is None and run.jobs.exists():
        return run.summary | schedule_progress.tally(run)
    return dict(run.summary)


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnlyAdmin):
    list_display = ("slot", "schedule", "trigger", "state", "took", "figures", "requested_by")
    list_filter = ("state", "schedule", "trigger", "slot")
    fields = ("schedule", "slot", "trigger", "requested_by", "state", "started_at", "finished_at", "figures_shown", "log_shown")  # fmt: skip
    readonly_fields = ("figures_shown", "log_shown")

    @admin.display(description=_("소요"))
    def took(self, run: ScheduleRun) -> str:
        return str(_run_row(run)[3])

    @admin.display(description=_("요약"))
    def figures(self, run: ScheduleRun) -> str:
        return str(_run_row(run)[4])[:120]

    @admin.display(description=_("요약"))
    def figures_shown(self, run: ScheduleRun) -> str:
        return pretty_json(_figures(run))

    @admin.display(description=_("기록"))
    def log_shown(self, run: ScheduleRun) -> str:
        return format_html("<pre>{}</pre>", run.log or "–")
