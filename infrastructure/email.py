"""Sends mail to the operators. A failing mail server never fails the job that reports."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.mail import send_mail

log = logging.getLogger(__name__)


def notify_operators(subject: str, text: str, *, level: int = logging.ERROR) -> bool:
    """Log the message and mail it to OPERATORS_MAIL; False when the mail could not be sent.

    Takes at most EMAIL_TIMEOUT seconds. Without configured addresses the log line is all there is.
    """
    log.log(level, "%s: %s", subject, text.replace("\n", " | "))
    if not settings.OPERATORS_MAIL:
        return True
    try:
        send_mail(f"[Songs AI] {subject}", text, None, settings.OPERATORS_MAIL)
    except OSError as error:  # SMTPException is one
        log.warning("The mail could not be sent: %s", type(error).__name__)
        return False
    return True
