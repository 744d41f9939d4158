"""Dead letters: messages of the backend's queue that could not be served."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class DeadLetterState(models.TextChoices):
    OPEN = "open", _("미처리")
    RETRIED = "retried", _("재시도함")
    DISCARDED = "discarded", _("폐기함")


class DeadLetter(models.Model):
    """A message that ended in the dead-letter queue, kept here because songs_be empties that queue at once."""

    State = DeadLetterState

    job_uuid = models.CharField(_("작업 ID"), max_length=64, blank=True, db_index=True)
    member_key = models.CharField(_("회원"), max_length=64, blank=True)
    code = models.CharField(_("사유"), max_length=40)
    detail = models.CharField(_("설명"), max_length=500)
    body = models.BinaryField(_("본문"))
    headers = models.JSONField(_("헤더"), default=dict)
    #: Body and job are one letter however often the message is delivered.
    digest = models.CharField(max_length=40, unique=True, editable=False)
    state = models.CharField(
        _("처리"), max_length=10, choices=State.choices, default=State.OPEN, db_index=True
    )
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, verbose_name=_("처리자")
    )
    handled_reason = models.CharField(_("처리 사유"), max_length=300, blank=True)
    handled_at = models.DateTimeField(_("처리 시각"), null=True, blank=True)
    arrived_at = models.DateTimeField(_("도착"), db_index=True)
    #: When the operators were told; NULL until the watch has seen it.
    told_at = models.DateTimeField(_("알림"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("처리 못 한 메시지")
        verbose_name_plural = _("처리 못 한 메시지(DLQ)")
        ordering = ("-arrived_at",)
        permissions = (
            ("retry_deadletter", _("DLQ 메시지를 다시 보낼 수 있음")),
            ("edit_deadletter", _("DLQ 메시지를 고쳐 보낼 수 있음")),
            ("discard_deadletter", _("DLQ 메시지를 폐기할 수 있음")),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.job_uuid}"
