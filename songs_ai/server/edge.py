"""Stands between the server and the WSGI application: whole bodies only, header names without underscores.

Everything that a caller may draw out happens here on the event loop, where waiting costs no thread. The application
runs in the threads, with the body in memory.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from typing import Any, Protocol

import orjson
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from recommendations.api.cached_reads import COMMON_HEADERS, CachedReply, Environ, Headers
from recommendations.errors import problem
from songs_ai.server.request_bodies import BodyRefused, WholeBodies, may_be_large

log = logging.getLogger(__name__)
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class AsyncReads(Protocol):
    """Answers what needs no thread; None for everything else."""

    def __call__(self, environ: Environ) -> Awaitable[CachedReply | None]: ...


class Edge:
    """RSGI application around a WSGI application."""

    def __init__(self, application: Application, *, threads: int, reads: AsyncReads) -> None:
        self._application, self._reads = application, reads
        self._threads = ThreadPoolExecutor(threads, "request")
        self._bodies = WholeBodies()

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        environ = environ_of(scope)
        large = may_be_large(environ)
        try:
            body = await self._bodies.read(environ, proto, large=large)
        except BodyRefused as refused:
            _tell(proto, refused.status, refused.code, refused.detail)
            return
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body)), BytesIO(body)
        try:
            await self._answer(environ, proto)
        finally:
            if large:
                self._bodies.release_large()

    async def _answer(self, environ: Environ, proto: HTTPProtocol) -> None:
        reply = await self._reads(environ)
        if reply is not None:
            status, headers, answer = reply
            proto.response_bytes(_number(status), COMMON_HEADERS + headers, answer)
            return
        await self._in_a_thread(environ, proto)

    async def _in_a_thread(self, environ: Environ, proto: HTTPProtocol) -> None:
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._threads, run, self._application, environ, proto)
        await asyncio.wait((done,))
        if error := done.exception():
            log.error("A request failed outside of Django", exc_info=error)
            # Nothing is sent where the answer had begun.
            _tell(proto, 500, "INTERNAL", "Something went wrong here. The log names the request.")


def environ_of(scope: Scope) -> Environ:
    """The WSGI environ of a request, still without its body.

    WSGI knows `X_Forwarded_For` and `X-Forwarded-For` by the same name, so a caller could speak for a
    proxy: names with an underscore are left out.
    """
    server, port = _address(scope.server)
    environ: Environ = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Granian",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "REMOTE_ADDR": _address(scope.client)[0],  # "" behind a Unix socket, never absent
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue
        key = _OWN_NAMES.get(name) or "HTTP_" + name.replace("-", "_").upper()
        if key in environ:
            value = f"{environ[key]}{'; ' if name == 'cookie' else ','}{value}"
        environ[key] = value
    environ.setdefault("HTTP_HOST", scope.authority or "")
    return environ


_OWN_NAMES = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


def _address(text: str) -> tuple[str, str]:
    """Host and port out of `127.0.0.1:8000` or `[::1]:8000`; a Unix socket has no port."""
    host, colon, port = text.rpartition(":")
    return (host.strip("[]"), port) if colon else (text, "0")


def run(application: Application, environ: Environ, proto: HTTPProtocol) -> None:
    """Call a WSGI application and send what it answers."""
    started: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> None:
        started[:] = [(_number(status), headers)]

    answer = application(environ, start_response)
    try:
        pieces = iter(answer)
        first = next(pieces, b"")  # a generator starts its response only now
        _send(proto, *started[0], first, pieces)
    finally:
        if hasattr(answer, "close"):
            answer.close()


def _send(
    proto: HTTPProtocol, status: int, headers: Headers, first: bytes, rest: Iterator[bytes]
) -> None:
    if any(name.lower() == "content-length" for name, _ in headers) or status in (204, 304):
        proto.response_bytes(status, headers, b"".join((first, *rest)))
        return
    transport = proto.response_stream(status, headers)
    try:
        for piece in filter(None, chain((first,), rest)):
            # Sent when the call returns; its awaitable is there to raise, without a loop.
            for _ in transport.send_bytes(piece).__await__():
                pass
    except ProtocolClosed:
        log.info("A client left in the middle of an answer")


def _tell(proto: HTTPProtocol, status: int, code: str, detail: str) -> None:
    proto.response_bytes(status, list(COMMON_HEADERS), orjson.dumps(problem(code, detail)))


def _number(status: str) -> int:
    """`404 Not Found` as 404."""
    return int(status.partition(" ")[0])
