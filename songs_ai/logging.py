"""Writes one line per event, with the request it belongs to, and without what must not be kept."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar

#: Id of the request this thread works on; "-" outside requests.
request_id: ContextVar[str] = ContextVar("request_id", default="-")

_HIDDEN = (
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "(e-mail)"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@"), r"\1(hidden)@"),  # user:password@ in a URL
    (re.compile(r"\bsk-[\w-]{6,}"), "(key)"),
    (re.compile(r"(?i)\b(bearer|x-api-key:?)\s+\S+"), r"\1 (key)"),
    (
        re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key)(\s*[=:]\s*)[^\s,;]+"),
        r"\1\2(hidden)",
    ),
)


class OneLine(logging.Formatter):
    """Joins tracebacks and texts of several lines into one, and hides addresses, keys and passwords."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        return without_secrets(super().format(record)).replace("\r", "").replace("\n", " ⏎ ")


def without_secrets(text: str) -> str:
    for pattern, shown in _HIDDEN:
        text = pattern.sub(shown, text)
    return text
