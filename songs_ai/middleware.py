"""What is done around every request that reaches Django."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

from recommendations import access
from songs_ai.logging import request_id

_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestId:
    """Names the request in every line logged for it; the caller's own name where it sent a decent one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("X-Request-Id", "")
        name = sent if _GOOD_ID.fullmatch(sent) else uuid4().hex
        request.request_id = name  # type: ignore[attr-defined]
        token = request_id.set(name)
        try:
            response = self._get_response(request)
        finally:
            request_id.reset(token)
        if sent or response.status_code >= 500:
            response["X-Request-Id"] = name
        if response.status_code == 304:
            # Django would say 0; a 304 tells nothing of its body's length.
            del response["Content-Length"]
        return response


class BehindProxy:
    """Believes a configured proxy that the caller came over TLS (secure cookies, CSRF's origin check)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("HTTP_X_FORWARDED_PROTO") == "https" and access.is_from_proxy(
            request.META
        ):
            request.environ["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined]
        return self._get_response(request)


class StaffLanguage(LocaleMiddleware):
    """Staff read their language, chosen by browser; the API speaks English whoever calls."""

    def process_request(self, request: HttpRequest) -> None:
        if is_staff_page(request.path_info):
            super().process_request(request)
        else:
            translation.activate("en")
            request.LANGUAGE_CODE = "en"

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not is_staff_page(request.path_info):
            return response
        return super().process_response(request, response)


def is_staff_page(path: str) -> bool:
    return path == "/" or path.startswith("/admin")
