"""What the audit log records about jobs, dead letters, schedules and models of the engine."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class RecommendationVerb(models.TextChoices):
    """The values are stored in audit rows and never change."""

    JOB_CANCEL = "job.cancel", _("작업을 취소함")
    JOB_RETRY = "job.retry", _("작업을 다시 보냄")
    DEADLETTER_RETRY = "deadletter.retry", _("실패한 메시지를 다시 보냄")
    DEADLETTER_EDIT_AND_RETRY = "deadletter.edit_and_retry", _("실패한 메시지를 고쳐 다시 보냄")
    DEADLETTER_DISCARD = "deadletter.discard", _("실패한 메시지를 버림")
    SCHEDULE_ADD = "schedule.add", _("예약을 추가함")
    SCHEDULE_CHANGE = "schedule.change", _("예약을 바꿈")
    SCHEDULE_RUN_NOW = "schedule.run_now", _("예약을 지금 실행함")
    SCHEDULE_ENABLE = "schedule.enable", _("예약을 켬")
    SCHEDULE_DISABLE = "schedule.disable", _("예약을 끔")
    ACTIVATE = "activate", _("학습된 모델을 적용함")
    ENGINE_SETTINGS = "engine_settings", _("엔진 설정을 바꿈")
