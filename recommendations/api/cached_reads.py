"""Answers cached reads before Django: same rules, counters, bytes and headers as the documented view.

Whatever is not plainly one of the two calls goes on to the view, which then decides. A test holds
both equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import orjson

from .. import services
from ..errors import NothingCached, problem
from ..serving.memory_cache import CachedAnswer
from . import authentication

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]
#: status line, headers, body
Reply = tuple[str, Headers, bytes]

POST_PATHS = frozenset({"/recommend/cached", "/recommend/cached/"})
GET_PREFIX = "/recommend/cached/"
#: The body songs_be sends, in either generation. Escapes, other fields and longer bodies are the view's.
_PLAIN_BODY = re.compile(
    rb'\s*\{\s*"(?:memberId|user_id)"\s*:\s*"([A-Za-z0-9_.@:-]{1,64})"\s*\}\s*'
)
_PLAIN_KEY = re.compile(r"([A-Za-z0-9_.@:-]{1,64})/?")
LONGEST_PLAIN_BODY = 256
PLAIN_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)

#: What SecurityMiddleware and XFrameOptionsMiddleware add to every answer of a view.
COMMON_HEADERS: Headers = [
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
]
NOT_CACHED = orjson.dumps(problem(NothingCached.code, str(NothingCached())))


# --- What is answered, here and in the view -------------------------------------------------------
def takes_gzip(accept_encoding: str) -> bool:
    """Whether the caller asked for gzip (and did not refuse it with q=0)."""
    if "gzip" not in accept_encoding:
        return False
    for part in accept_encoding.split(","):
        name, _, weight = part.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def names_tag(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match names the tag; compared weakly, as RFC 9110 wants for GET."""
    named = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in named or "*" in named


def reply_for(served: CachedAnswer | None, *, accept_encoding: str, if_none_match: str) -> Reply:
    """Status, own headers and body of a cached read; if_none_match is "" for a POST."""
    if served is None:
        return "404 Not Found", [("Content-Length", str(len(NOT_CACHED)))], NOT_CACHED
    packed = takes_gzip(accept_encoding)
    tag = f"W/{served.etag}" if packed else served.etag
    headers = [("ETag", tag), ("Vary", "Accept-Encoding")]
    if if_none_match and names_tag(if_none_match, served.etag):
        return "304 Not Modified", headers, b""
    body = served.gzipped if packed else served.body
    if packed:
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(len(body))))
    return "200 OK", headers, body


# --- Before Django --------------------------------------------------------------------------------
class HotPath:
    """WSGI layer around Django."""

    def __init__(self, application: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        member_key, if_none_match = _asked(environ)
        if not member_key or authentication.refusal(environ) is not None:
            return self._application(environ, start_response)
        status, headers, body = reply_for(
            services.cached(member_key),
            accept_encoding=environ.get("HTTP_ACCEPT_ENCODING", ""),
            if_none_match=if_none_match,
        )
        start_response(status, COMMON_HEADERS + headers)
        return (body,)


def _asked(environ: Environ) -> tuple[str, str]:
    """Member key and If-None-Match of a plain cached read; ("", "") for anything else."""
    path = environ["PATH_INFO"]
    if not path.startswith("/recommend/cached") or "HTTP_X_REQUEST_ID" in environ:
        return "", ""
    method = environ["REQUEST_METHOD"]
    if method == "POST" and path in POST_PATHS:
        return _posted_key(environ), ""
    if method == "GET" and path.startswith(GET_PREFIX):
        plain = _PLAIN_KEY.fullmatch(path, len(GET_PREFIX))
        return (_canonical(plain[1]) if plain else ""), environ.get("HTTP_IF_NONE_MATCH", "")
    return "", ""


def _posted_key(environ: Environ) -> str:
    """The key in a small plain body, "" for any other; the body stays readable for the view."""
    if environ.get("CONTENT_TYPE", "").lower() not in PLAIN_TYPES:
        return ""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal() or int(length) > LONGEST_PLAIN_BODY:
        return ""
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = BytesIO(body)
    plain = _PLAIN_BODY.fullmatch(body)
    return _canonical(plain[1].decode("ascii")) if plain else ""


def _canonical(key: str) -> str:
    return str(int(key)) if key.isdigit() else key
