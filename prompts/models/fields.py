"""A reference to a staff account, as every model of this app holds it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models


def staff_account(label: Any, **kwargs: Any) -> models.ForeignKey[Any, Any]:
    """A reference to an account that may be deleted later."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=label,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        **kwargs,
    )
