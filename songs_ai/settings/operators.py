"""Sets what operators get: mail and the log."""

from __future__ import annotations

import environ
from django.core.exceptions import ImproperlyConfigured

from .base import env

OPERATORS_MAIL = env.words(
    "OPERATORS_MAIL", help="Addresses that get mail about budget and failed batches."
)
EMAIL_URL = env.url(
    "EMAIL_URL",
    schemes=("smtp", "smtps", "smtp+tls", "consolemail"),
    help="Mail server: smtp+tls://user:password@host:587.",
)
vars().update(environ.Env.email_url_config(EMAIL_URL or "consolemail://"))
DEFAULT_FROM_EMAIL = env.text(
    "DEFAULT_FROM_EMAIL", "songs-ai@localhost", help="Sender of that mail."
)
LOG_LEVEL = env.text("LOG_LEVEL", "INFO", help="DEBUG, INFO, WARNING or ERROR.").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
    raise ImproperlyConfigured(f"LOG_LEVEL={LOG_LEVEL!r}: use DEBUG, INFO, WARNING or ERROR.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "songs_ai.logging.OneLine",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        }
    },
    "filters": {"outages": {"()": "infrastructure.outages.OutageFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["outages"]}
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "httpx2": {"level": "WARNING"},  # one line per model call: the ModelCall row says more
    },
}
