"""Admin pages of background jobs: look at them, run them again, cancel them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from infrastructure import audit
from infrastructure.admin import (
    ReadOnlyAdmin,
    known_values_filter,
    preformatted_bytes,
    pretty_json,
    report_results,
    seoul_time,
    table,
)

from ..jobs import execution, queue, status_store
from ..jobs.backend_queue import dead_letters
from ..jobs.kinds import JobKind
from ..models import Job, JobRun
from .labels import ATTEMPT_OUTCOMES, ERROR_CODES, JOB_KINDS, error_label, label
from .member_data import HIDDEN, shows_member_data, with_member_data


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = (
        "submitted_at",
        "short_id",
        "kind",
        "state",
        "source",
        "member",
        "attempt",
        "took",
        "error",
    )
    list_display_links = ("submitted_at", "short_id")
    list_filter = (
        "state",
        known_values_filter("name", _("작업"), lambda: JOB_KINDS, labels=JOB_KINDS),
        "source",
        known_values_filter("error_code", _("오류 코드"), lambda: ERROR_CODES, labels=ERROR_CODES),
        "submitted_at",
    )
    search_fields = ("=uuid", "=member_key")
    search_help_text = _("작업 ID 전체 또는 회원 번호로 찾습니다.")
    actions = ("retry", "cancel")
    fieldsets = (
        (None, {"fields": ("uuid", "kind", "key", "state", "progress", "source", "queue", "member", "trace_id")}),
        (_("결과"), {"fields": ("error", "error_message", "note", "result_shown")}),
        (_("시각"), {"fields": ("submitted_at", "started_at", "finished_at", "not_before", "published_at", "lease_until", "worker")}),
        (_("요청"), {"fields": ("arguments_shown", "headers_shown", "message_shown")}),
        (_("시도"), {"fields": ("attempt", "round", "losses", "attempts_shown")}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return with_member_data(super().get_queryset(request).defer("message"), request.user)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Search by id or member, both indexed; other text finds nothing, so that no search scans the table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            found = queryset.filter(pk=Job._meta.pk.to_python(term))
        except ValidationError:
            found = queryset.filter(member_key=term)
        return found, False

    @admin.display(description=_("작업 ID"), ordering="uuid")
    def short_id(self, job: Job) -> str:
        return str(job.pk)[:8]

    @admin.display(description=_("작업"), ordering="name")
    def kind(self, job: Job) -> str:
        return label(JOB_KINDS, job.name)

    @admin.display(description=_("오류 코드"), ordering="error_code")
    def error(self, job: Job) -> str:
        return error_label(job.error_code)

    @admin.display(description=_("회원"), ordering="member_key")
    def member(self, job: Job) -> str:
        return job.member_key if shows_member_data(job) or not job.member_key else HIDDEN

    @admin.display(description=_("소요"))
    def took(self, job: Job) -> str:
        if job.started_at is None or job.finished_at is None:
            return "–"
        return f"{(job.finished_at - job.started_at).total_seconds():.2f} s"

    @admin.display(description=_("결과"))
    def result_shown(self, job: Job) -> str:
        return pretty_json(job.result)

    @admin.display(description=_("인자"))
    def arguments_shown(self, job: Job) -> str:
        return pretty_json(job.arguments) if shows_member_data(job) else HIDDEN

    @admin.display(description=_("헤더"))
    def headers_shown(self, job: Job) -> str:
        return pretty_json(job.headers) if job.headers else "–"

    @admin.display(description=_("받은 메시지"))
    def message_shown(self, job: Job) -> str:
        return preformatted_bytes(bytes(job.message)) if shows_member_data(job) else HIDDEN

    @admin.display(description=_("시도 기록"))
    def attempts_shown(self, job: Job) -> str:
        head = (_("회차"), _("시도"), _("작업자"), _("시작"), _("종료"), _("결과"), _("오류"))
        tries = JobRun.objects.filter(job=job).order_by("round", "attempt")
        rows = [
            (run.round, run.attempt, run.worker, seoul_time(run.started_at), seoul_time(run.finished_at),
             label(ATTEMPT_OUTCOMES, run.outcome),
             format_html("{} {}", error_label(run.error_code), run.error_message))
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
        report_results(request, done, problems)

    @admin.action(description=_("취소"), permissions=("cancel",))
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        done = 0
        for job in queryset[: dead_letters.MOST_AT_ONCE]:
            if job.cancel(now=timezone.now()):
                audit.record(actor=request.user, verb="job.cancel", object=job)
                execution.announce(Job.objects.get(pk=job.pk))
                done += 1
        report_results(request, done, [])

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.retry_job")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recommendations.cancel_job")


@transaction.atomic
def retry_job(job: Job, *, by: Any) -> str:
    """Run an ended job again with what it was asked with; returns why not, or ""."""
    if job.name not in list(JobKind):
        return gettext("이 버전에는 없는 작업입니다.")
    if job.name == JobKind.SERVE and not job.arguments:
        return gettext("메시지를 읽을 수 없었습니다. DLQ에서 고쳐 보내십시오.")
    if not job.reopen(now=timezone.now()):
        return gettext("아직 끝나지 않았습니다.")
    status_store.delete(str(job.pk))
    audit.record(actor=by, verb="job.retry", object=job)
    transaction.on_commit(lambda: queue.publish(job))
    return ""
