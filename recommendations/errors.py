"""Names the errors of serving, by what a caller will do about them, and the shape of every error on the wire."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TypedDict

#: Most errors listed in one answer; 10 000 wrong ids are not all repeated to the caller.
MAX_ERRORS_SHOWN = 20


class SongsError(Exception):
    """Something went wrong that a caller can act on."""

    code = "INTERNAL"
    status = 500
    retryable = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or inspect.getdoc(self))


class RunNotFound(SongsError):
    """There is no run with this id; runs are kept for a limited time."""

    code = "RUN_NOT_FOUND"
    status = 404


class NothingCached(SongsError):
    """Nothing is cached for this member; ask POST /recommend."""

    code = "NOT_CACHED"
    status = 404


class JobNotFound(SongsError):
    """There is no job with this id; jobs are kept for a limited time."""

    code = "JOB_NOT_FOUND"
    status = 404


class JobHasEnded(SongsError):
    """The job has ended; there is nothing left to cancel."""

    code = "JOB_ENDED"
    status = 409


class KeyUsedOtherwise(SongsError):
    """This Idempotency-Key was used with another body within the last day."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 409


# --- The one shape --------------------------------------------------------------------------------
class FieldError(TypedDict):
    field: str
    message: str


class Problem(TypedDict):
    """What every error looks like on the wire."""

    code: str
    detail: str
    errors: list[FieldError]


def problem(code: str, detail: str, errors: Sequence[FieldError] = ()) -> Problem:
    return Problem(code=code, detail=detail, errors=list(errors)[:MAX_ERRORS_SHOWN])
