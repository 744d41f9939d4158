"""A WSGI application that shows what reaches it, behind the real server: plain for granian's own WSGI, and behind our edge."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
django.setup()

from songs_ai.server.edge import Edge  # noqa: E402

Environ = dict[str, Any]
closed: list[str] = []
go = threading.Event()


class Pieces:
    """A body of unknown length, whose second half waits for a request to /go; says when it was closed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __iter__(self) -> Iterator[bytes]:
        yield b"one,"
        if self.path == "/fails-later":
            raise ValueError("failed in the middle")
        go.wait(60)
        yield b"two"

    def close(self) -> None:
        closed.append(self.path)


def plain(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ValueError("failed before the answer")
    if path in ("/pieces", "/fails-later"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces(path)
    if path == "/go":
        go.set()
    if path == "/slow":
        time.sleep(1)
    if path == "/nothing":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return (b"",)
    shown = {name: value for name, value in environ.items() if isinstance(value, str | bool)}
    body = environ["wsgi.input"].read()
    told = {"environ": shown, "body": len(body), "closed": closed}
    answer = json.dumps(told).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


async def no_reads(environ: Environ) -> None:
    """Everything goes to the threads."""


application = Edge(plain, threads=4, reads=no_reads)
