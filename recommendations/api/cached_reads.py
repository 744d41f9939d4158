"""Answers cached reads before Django: same rules, counters, bytes and headers as the documented view.

Whatever is not plainly one of the two calls is passed on to the view. A test holds both equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, NamedTuple

import orjson

from .. import services
from ..errors import NothingCached, problem
from ..serving.stored_answers.memory_cache import CachedAnswer
from . import authentication

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]


class CachedReply(NamedTuple):
    status: str  #: the status line, "200 OK"
    headers: Headers
    body: bytes


class PlainRead(NamedTuple):
    """One of the calls that are answered here."""

    member_key: str
    if_none_match: str  #: "" for a POST


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


def reply_for(
    answer: CachedAnswer | None, *, accept_encoding: str, if_none_match: str
) -> CachedReply:
    """Status, own headers and body of a cached read; if_none_match is "" for a POST."""
    if answer is None:
        return CachedReply("404 Not Found", [("Content-Length", str(len(NOT_CACHED)))], NOT_CACHED)
    gzipped = takes_gzip(accept_encoding)
    tag = f"W/{answer.etag}" if gzipped else answer.etag
    headers = [("ETag", tag), ("Vary", "Accept-Encoding")]
    if if_none_match and names_tag(if_none_match, answer.etag):
        return CachedReply("304 Not Modified", headers, b"")
    body = answer.gzipped if gzipped else answer.body
    if gzipped:
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(len(body))))
    return CachedReply("200 OK", headers, body)


# --- Before Django --------------------------------------------------------------------------------
class CachedReadLayer:
    """WSGI layer around Django."""

    def __init__(self, application: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        read = plain_read(environ)
        if read is None or authentication.refusal(environ) is not None:
            return self._application(environ, start_response)
        reply = reply_for(
            services.cached(read.member_key),
            accept_encoding=environ.get("HTTP_ACCEPT_ENCODING", ""),
            if_none_match=read.if_none_match,
        )
        start_response(reply.status, COMMON_HEADERS + reply.headers)
        return (reply.body,)


def plain_read(environ: Environ) -> PlainRead | None:
    """The cached read that is asked for; None for anything else, which the view decides."""
    path = environ["PATH_INFO"]
    if not path.startswith("/recommend/cached") or "HTTP_X_REQUEST_ID" in environ:
        return None
    method = environ["REQUEST_METHOD"]
    if method == "POST" and path in POST_PATHS:
        member_key, if_none_match = _posted_key(environ), ""
    elif method == "GET" and path.startswith(GET_PREFIX):
        plain = _PLAIN_KEY.fullmatch(path, len(GET_PREFIX))
        member_key = _canonical(plain[1]) if plain else ""
        if_none_match = environ.get("HTTP_IF_NONE_MATCH", "")
    else:
        return None
    return PlainRead(member_key, if_none_match) if member_key else None


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
