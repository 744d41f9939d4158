"""Runs of schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from infrastructure.time import SEOUL


class ScheduleRunState(models.TextChoices):
    QUEUED = "queued", _("대기")
    RUNNING = "running", _("실행 중")
    SUCCEEDED = "succeeded", _("성공")
    FAILED = "failed", _("실패")
    SKIPPED = "skipped", _("건너뜀")
    MISSED = "missed", _("놓침")


class ScheduleRunTrigger(models.TextChoices):
    CLOCK = "clock", pgettext_lazy("schedule", "예약 시각")
    STAFF = "staff", _("지금 실행")


class ScheduleRun(models.Model):
    """One run of a schedule, or the note that one was missed."""

    State = ScheduleRunState
    Trigger = ScheduleRunTrigger

    schedule = models.CharField(pgettext_lazy("schedule", "예약"), max_length=200)
    #: The moment the schedule named; two beats that both see it make one run.
    slot = models.DateTimeField(_("예정 시각"))
    trigger = models.CharField(_("계기"), max_length=5, choices=Trigger.choices)
    state = models.CharField(_("상태"), max_length=10, choices=State.choices, default=State.QUEUED)
    requested_by = models.CharField(_("요청자"), max_length=150, blank=True)
    summary = models.JSONField(_("요약"), default=dict, blank=True)
    log = models.TextField(_("기록"), blank=True)
    started_at = models.DateTimeField(_("시작"), null=True, blank=True)
    finished_at = models.DateTimeField(_("종료"), null=True, blank=True)

    class Meta:
        verbose_name = _("예약 실행")
        verbose_name_plural = _("예약 실행")
        ordering = ("-slot", "-pk")
        constraints = (
            models.UniqueConstraint(fields=("schedule", "slot"), name="schedule_slot_once"),
        )
        indexes = (models.Index(fields=("schedule", "state"), name="schedule_state"),)
        permissions = (("run_schedule", _("예약을 지금 실행할 수 있음")),)

    def __str__(self) -> str:
        return f"{self.schedule} {self.slot.astimezone(SEOUL):%Y-%m-%d %H:%M}"

    def say(self, text: str, *, now: datetime) -> None:
        """Add a line to the log, shown in the admin."""
        self.log += f"{now:%H:%M:%S} {text}\n"
        self.save(update_fields=["log"])

    def end(self, state: ScheduleRunState, *, now: datetime, **summary: Any) -> bool:
        """Close an open run; False when it was closed already."""
        open_ = ScheduleRun.objects.filter(
            pk=self.pk, state__in=(self.State.QUEUED, self.State.RUNNING)
        )
        self.summary = self.summary | summary
        self.state, self.finished_at = state, now
        return open_.update(state=state, finished_at=now, summary=self.summary) == 1
