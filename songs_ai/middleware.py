"""What is done around every request that reaches Django."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers

from recommendations.api import authentication
from recommendations.api.cached_reads import takes_gzip
from songs_ai.logging import request_id

#: Django compresses nothing shorter.
SHORTEST_COMPRESSED = 200
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestId:
    """Names the request in every line logged for it; the caller's own name where it sent a decent one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("X-Request-Id", "")
        name = sent if _GOOD_ID.fullmatch(sent) else uuid4().hex
        request.request_id = name  # type: ignore[attr-defined]
        request_id.set(name)  # and not taken back: Django logs a failed request after this returns
        response = self._get_response(request)
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
        if request.META.get("HTTP_X_FORWARDED_PROTO") == "https" and authentication.is_from_proxy(
            request.META
        ):
            request.environ["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined]
        return self._get_response(request)


class Compressed(GZipMiddleware):
    """Compresses for who asks for it. Django's own overlooks a refusal (`gzip;q=0`)."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if takes_gzip(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            return super().process_response(request, response)
        if not isinstance(response, HttpResponse) or len(response.content) >= SHORTEST_COMPRESSED:
            patch_vary_headers(response, ("Accept-Encoding",))
        return response


class StaffLanguage(LocaleMiddleware):
    """Staff read their language, chosen by browser; the API speaks English whoever calls."""

    def process_request(self, request: HttpRequest) -> None:
        if is_staff_page(request.path_info):
            super().process_request(request)
        else:
            translation.activate("en")
            request.LANGUAGE_CODE = "en"

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if not is_staff_page(request.path_info):
            return response
        return super().process_response(request, response)


def is_staff_page(path: str) -> bool:
    return path == "/" or path.startswith("/admin")
