"""Admin pages of schedules and their runs: change when they run, switch them, run them now."""

from __future__ import annotations

import json
from typing import Any

import django_celery_beat.admin  # noqa: F401 - registers its own pages first, so that ours can replace them
from celery.schedules import ParseException, crontab
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
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
from infrastructure.admin import ReadOnlyAdmin, preformatted, report_results, seoul_time, table

from ..jobs import schedule_progress
from ..jobs.kinds import TASK_PREFIX, JobKind
from ..models import ScheduleRun
from ..schedules import defaults, runs, timing
from .labels import FIGURES, JOB_KINDS, label

SHOWN_RUNS = 20

for replaced in (PeriodicTask, CrontabSchedule, IntervalSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(replaced)

#: By their number in a crontab.
_WEEKDAYS = (_("일"), _("월"), _("화"), _("수"), _("목"), _("금"), _("토"))


def readable(task: PeriodicTask) -> str:
    """When a schedule runs, in words."""
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
                "day": _WEEKDAYS[int(day) % 7],
                "time": time,
            }
        case (day, "*") if day.isdecimal():
            return gettext("매월 %(day)s일 %(time)s") % {"day": day, "time": time}
    return written


class ScheduleForm(forms.ModelForm):
    """A schedule: what runs, when, and with which arguments."""

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
        choices = [(TASK_PREFIX + name, label(JOB_KINDS, name)) for name in sorted(JobKind)]
        if "task" in self.fields:
            self.fields["task"] = forms.ChoiceField(label=_("작업"), choices=choices)
        if "kwargs" in self.fields:
            self.fields["kwargs"].required = False
        task = self.instance
        if "cron" not in self.fields or not task.pk:
            return
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
        # The validation of the model reads these.
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
        # Celery's own clean-up is not shown to staff.
        return super().get_queryset(request).filter(task__startswith=TASK_PREFIX)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Schedules of the product can be switched off, not deleted: an upgrade would install them again."""
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
            # Times before this change do not count as missed.
            PeriodicTask.objects.filter(pk=task.pk).update(enabled=on, date_changed=timezone.now())
            verb = "schedule.enable" if on else "schedule.disable"
            audit.record(actor=request.user, verb=verb, object=task)
            changed += 1
        PeriodicTasks.update_changed()
        report_results(request, changed, [])

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
    trigger = run.get_trigger_display()
    by = f"{trigger} ({run.requested_by})" if run.requested_by else trigger
    log = preformatted(run.log.strip()) if run.log else "–"
    state = run.get_state_display()
    return seoul_time(run.slot), by, state, _duration(run), _figures_line(run), log


def _duration(run: ScheduleRun) -> str:
    if not run.started_at or not run.finished_at:
        return "–"
    return f"{(run.finished_at - run.started_at).total_seconds():.1f} s"


def _figures_line(run: ScheduleRun) -> str:
    return ", ".join(f"{name} {value}" for name, value in _labelled_figures(run)) or "–"


def _labelled_figures(run: ScheduleRun) -> list[tuple[str, Any]]:
    """Figures of a run with their labels; those of an open run are counted now."""
    figures = dict(run.summary)
    if run.finished_at is None and run.jobs.exists():
        figures |= schedule_progress.tally(run)
    return [(label(FIGURES, name), value) for name, value in sorted(figures.items())]


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnlyAdmin):
    list_display = ("slot", "schedule", "trigger", "state", "took", "figures", "requested_by")
    list_filter = ("state", "schedule", "trigger", "slot")
    fields = ("schedule", "slot", "trigger", "requested_by", "state", "started_at", "finished_at", "figures_shown", "log_shown")  # fmt: skip
    readonly_fields = ("figures_shown", "log_shown")

    @admin.display(description=_("소요"))
    def took(self, run: ScheduleRun) -> str:
        return _duration(run)

    @admin.display(description=_("요약"))
    def figures(self, run: ScheduleRun) -> str:
        return _figures_line(run)[:120]

    @admin.display(description=_("요약"))
    def figures_shown(self, run: ScheduleRun) -> str:
        return table((_("항목"), _("값")), _labelled_figures(run))

    @admin.display(description=_("기록"))
    def log_shown(self, run: ScheduleRun) -> str:
        return preformatted(run.log)
