"""Names what can go wrong in serving, by what the caller will do about it."""

from __future__ import annotations

import inspect


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
