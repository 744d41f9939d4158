"""Bodies as songs_be sends them, against the real server over a plain socket: chunked, without a length."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.conftest import _wait_for_port, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """granian as `run_all` starts it, on an empty installation; yields its port."""
    port = free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "PROMETHEUS_MULTIPROC_DIR"}
    } | {"DATA_DIR": str(tmp_path_factory.mktemp("data")), "WEB_THREADS": "4"}
    command = (
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "songs_ai.rsgi:application"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-ws"),
        *("--log-level", "error"),
    )
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            _wait_for_port(port, seconds=60)
            yield port
        finally:
            process.terminate()


@pytest.fixture
def caller(server: int) -> Iterator[Caller]:
    with (
        socket.create_connection(("127.0.0.1", server), timeout=60) as connection,
        connection.makefile("rb") as answers,
    ):
        yield Caller(connection, answers)


class Caller:
    """Speaks HTTP/1.1 by hand on one connection."""

    def __init__(self, connection: socket.socket, answers: IO[bytes]) -> None:
        self.socket, self.file = connection, answers

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", "0")))
        return status, headers, json.loads(body) if body else None

    def post_chunked(self, path: str, *chunks: bytes) -> tuple[int, dict[str, str], Any]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: songs-ai:8000\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.send(head.encode())
        for chunk in chunks:
            self.send(b"%x\r\n" % len(chunk), chunk, b"\r\n")
        self.send(b"0\r\n\r\n")
        return self.answer()


def test_chunked_bodies_are_read_to_their_end(caller: Caller) -> None:
    # On the hot path: an unknown member, so the body was understood.
    status, _, told = caller.post_chunked("/recommend/cached", b'{"memb', b'erId": "4', b'2"}')
    assert (status, told["code"]) == (404, "NOT_CACHED")
    # In the view: more fields than the hot path reads, in many small chunks, on the same connection.
    body = json.dumps({"memberId": "42", "favorite_song_ids": list(range(20_000))}).encode()
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    status, _, told = caller.post_chunked("/recommend", *pieces)
    assert status == 400
    assert told["errors"][0]["field"] == "favorite_song_ids"


def test_a_chunked_body_without_end_is_refused(caller: Caller) -> None:
    status, _, told = caller.post_chunked("/recommend", *[b" " * 32_768] * 12)
    assert (status, told["code"]) == (413, "BODY_TOO_LARGE")


def test_a_large_body_with_its_length_is_refused(caller: Caller) -> None:
    body = b" " * 300_000
    caller.send(
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body),
        body,
    )
    status, headers, told = caller.answer()
    assert (status, told["code"]) == (413, "BODY_TOO_LARGE")
    assert headers["content-type"] == "application/json"


def test_a_post_without_any_body_is_answered(caller: Caller) -> None:
    caller.send(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert caller.answer()[0] == 400
    caller.send(b"POST /recommend HTTP/1.1\r\nHost: x\r\n\r\n")
    assert caller.answer()[0] == 400


def test_forwarded_addresses_sent_twice_do_not_help_a_stranger(caller: Caller) -> None:
    caller.send(
        b"GET /recommend/cached/1 HTTP/1.1\r\nHost: x\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
    )
    assert caller.answer()[0] == 404  # let in by its own address: no proxy is configured


def test_a_server_without_a_catalog_says_when_to_come_back(caller: Caller) -> None:
    status, headers, told = caller.post_chunked("/recommend", b'{"memberId": "42"}')
    assert (status, told["code"]) == (503, "CATALOG_UNAVAILABLE")
    assert int(headers["retry-after"]) > 0
    assert "timeout" not in json.dumps(told).lower()
    caller.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert caller.answer()[0] == 200
    caller.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    status, _, told = caller.answer()
    assert (status, told["status"]) == (503, "down")
    assert told["checks"]["database"]["status"] == "ok"
