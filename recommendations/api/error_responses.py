"""Turns exceptions of any origin into error responses: one shape, a fitting status."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.views import set_rollback

from catalog.snapshot import CatalogUnavailable
from infrastructure.database import DATABASE_FAULTS

from ..errors import FieldError, Problem, SongsError, problem
from .json_content import BodyTooLarge

log = logging.getLogger(__name__)
#: Retry-After of a process that has no catalog or no database yet.
RETRY_AFTER_S = 5


def handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer for what a view raised; None leaves it to Django (logged, and a bare 500)."""
    answer = _answer(error)
    if answer is not None:
        set_rollback()
    return answer


def _answer(error: Exception) -> HttpResponse | None:
    if isinstance(error, exceptions.APIException):
        return _from_rest_framework(error)
    if isinstance(error, SongsError):
        return _response(error.status, problem(error.code, str(error)))
    if isinstance(error, CatalogUnavailable):
        return _unavailable(problem(error.code, "No catalog has been read yet; come back shortly."))
    if isinstance(error, DATABASE_FAULTS):
        log.error("The database failed in a request: %s", type(error).__name__)
        return _unavailable(
            problem("DATABASE_UNAVAILABLE", "The database does not answer just now.")
        )
    if isinstance(error, Http404):
        return _response(404, problem("NOT_FOUND", "There is nothing at this address."))
    if isinstance(error, PermissionDenied):
        return _response(403, problem("FORBIDDEN", "This is not allowed."))
    if isinstance(error, RequestDataTooBig):
        return _from_rest_framework(BodyTooLarge())
    return None


def _response(status: int, body: Problem, headers: Mapping[str, str] | None = None) -> HttpResponse:
    # Not REST framework's response: the documentation pages would render that as HTML.
    return HttpResponse(
        orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


def _unavailable(body: Problem) -> HttpResponse:
    return _response(503, body, {"Retry-After": str(RETRY_AFTER_S)})


#: Codes of REST framework's own exceptions, in our words.
_CODES = {
    "parse_error": "INVALID_JSON",
    "invalid": "INVALID_REQUEST",
    "not_found": "NOT_FOUND",
    "method_not_allowed": "METHOD_NOT_ALLOWED",
    "unsupported_media_type": "UNSUPPORTED_MEDIA_TYPE",
    "permission_denied": "FORBIDDEN",
    "not_authenticated": "KEY_MISSING",
    "authentication_failed": "KEY_WRONG",
    "not_acceptable": "NOT_ACCEPTABLE",
    "throttled": "TOO_MANY_REQUESTS",
    "error": "INTERNAL",
}


def _from_rest_framework(error: exceptions.APIException) -> HttpResponse:
    if isinstance(error, exceptions.ValidationError):
        body = problem(
            "INVALID_REQUEST",
            "The request can't be understood; see errors.",
            [FieldError(field=name, message=text) for name, text in _flattened(error.detail, "")],
        )
        return _response(error.status_code, body)
    code = str(getattr(error.detail, "code", "error"))
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait_s := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait_s))
    body = problem(_CODES.get(code, code.upper()), str(error.detail))
    return _response(error.status_code, body, headers)


def _flattened(detail: Any, path: str) -> Iterator[tuple[str, str]]:
    """`{"a": [{}, {"b": ["no"]}]}` as `a[1].b: no`."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            at = f"{path}[{name}]" if str(name).isdecimal() else f"{path}.{name}".strip(".")
            yield from _flattened(inner, path if name == "non_field_errors" else at)
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for index, inner in enumerate(detail):
            at = path if isinstance(inner, str) else f"{path}[{index}]"
            yield from _flattened(inner, at)
    else:
        yield path, str(detail)
