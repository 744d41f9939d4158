"""What the audit log records about members' tastes."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ProfileVerb(models.TextChoices):
    """The values are stored in audit rows and never change; the first three follow `OverrideAction`."""

    TASTE_PIN = "taste.pin", _("취향을 고정함")
    TASTE_ADD = "taste.add", _("취향을 추가함")
    TASTE_BAR = "taste.bar", _("취향에서 제외함")
    TASTE_UNDO = "taste.undo", _("취향 조정을 취소함")
