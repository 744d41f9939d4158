"""Hands every request on with a whole, bounded body and its length.

songs_be sends its JSON chunked, without Content-Length; Django reads that as an empty body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import orjson

from recommendations.api.cached_reads import COMMON_HEADERS
from recommendations.api.json_content import MAX_BODY_BYTES, BodyTooLarge
from recommendations.errors import problem

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Staff's forms hold prompt texts and evaluation sets; Django limits those by itself.
STAFF_PREFIX = "/admin/"
MOST_STAFF_BYTES = 8 * 1024 * 1024
#: Read and thrown away before the answer, so that a client that only writes first gets to see it.
MOST_DRAINED_BYTES = 4 * 1024 * 1024
PIECE = 64 * 1024


class WholeBodies:
    """WSGI layer that reads bodies of unknown length to their end and refuses those that are too large."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return self._application(environ, start_response)
        most = _most_bytes(environ["PATH_INFO"])
        length, stream = environ.get("CONTENT_LENGTH") or "", environ["wsgi.input"]
        if _has_unknown_length(environ, length):
            body = _read(stream, most + 1)
            environ["wsgi.input"], length = BytesIO(body), str(len(body))
            environ["CONTENT_LENGTH"] = length
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        if length.isdecimal() and int(length) > most:
            return _refuse(stream, start_response)
        return self._application(environ, start_response)


def _most_bytes(path: str) -> int:
    return MOST_STAFF_BYTES if path.startswith(STAFF_PREFIX) else MAX_BODY_BYTES


def _has_unknown_length(environ: Environ, length: str) -> bool:
    """Reading an input that does not end by itself would wait for ever."""
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    return not length and (chunked or bool(environ.get("wsgi.input_terminated")))


def _read(stream: Any, most: int) -> bytes:
    """Up to `most` bytes: a read may return less than was asked for before the end."""
    pieces, left = [], most
    while left > 0 and (piece := stream.read(min(left, PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _refuse(stream: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    _read(stream, MOST_DRAINED_BYTES)
    told = problem(BodyTooLarge.default_code, BodyTooLarge.default_detail)
    body = orjson.dumps(told)
    start_response("413 Content Too Large", [*COMMON_HEADERS, ("Content-Length", str(len(body)))])
    return (body,)
