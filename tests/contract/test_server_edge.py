"""What callers may do to the real server with bodies and headers, as `make run` starts it, over plain sockets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from recommendations.management.commands.run_all import web_command
from tests.conftest import _wait_for_port, free_port

ROOT = Path(__file__).resolve().parents[2]
HALF_SENT = 200
#: Threads that half-sent bodies would hold for five seconds each: the last caller would wait for minutes.
THREADS = 4
#: A socket's patience; nothing finer is asserted of time.
PATIENCE_S = 60


@contextmanager
def serving(
    command: tuple[str, ...], port: int, folder: Path, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = kept | {"DATA_DIR": str(folder), "WEB_THREADS": str(THREADS)} | settings
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for_port(port, seconds=PATIENCE_S)
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The product on an empty installation that knows one proxy, this host, and one key; yields its port."""
    port = free_port()
    with override_settings(HOST="127.0.0.1", PORT=port, EMBEDDED=True):
        command = web_command()
    trust = {"SONGS_AI_TRUSTED_PROXIES": "127.0.0.1", "SONGS_AI_API_KEYS": "the-key"}
    with serving(command, port, tmp_path_factory.mktemp("data"), **trust):
        yield port


@contextmanager
def echo(interface: str, name: str, folder: Path) -> Iterator[tuple[int, Any]]:
    port = free_port()
    command = (
        *(sys.executable, "-m", "granian", "--interface", interface),
        *(f"tests.contract.echo_application:{name}", "--host", "127.0.0.1", "--port", str(port)),
        *("--no-ws", "--log-level", "error"),
    )
    with serving(command, port, folder) as process:
        yield port, process


@pytest.fixture(scope="module")
def behind_the_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with echo("rsgi", "application", tmp_path_factory.mktemp("edge")) as (port, _):
        yield port


@pytest.fixture(scope="module")
def behind_granian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with echo("wsgi", "plain", tmp_path_factory.mktemp("wsgi")) as (port, _):
        yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def said(connection: socket.socket) -> bytes:
    """Everything until the server closes; nothing when it closed without a word."""
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def exchanged(port: int, request: bytes) -> bytes:
    """The raw answer to one request that asks for the connection to be closed."""
    with connected(port) as connection:
        connection.sendall(request)
        return said(connection)


def asked(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


# --- Bodies that do not come ----------------------------------------------------------------------
PATHS = ("/recommend", "/recommend/cached", "/admin/login/", "/favorites/updated")


def half_sent(number: int) -> bytes:
    """A request whose body stops in the middle: of a known length, or in chunks without an end."""
    path = PATHS[number % len(PATHS)]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    if number % 8 < 4:
        return f'{head}Content-Length: 100\r\n\r\n{{"memb'.encode()
    return f'{head}Transfer-Encoding: chunked\r\n\r\n6\r\n{{"memb\r\n'.encode()


def test_half_sent_bodies_hold_up_nobody_and_are_ended(server: int) -> None:
    with ExitStack() as opened:
        waiting = [opened.enter_context(connected(server)) for _ in range(HALF_SENT)]
        for number, connection in enumerate(waiting):
            connection.sendall(half_sent(number))
        # Who sends whole bodies is answered meanwhile, and again.
        for _ in range(3):
            json_type = {"Content_Type": "application/json"}
            response, _ = asked(
                server, "POST", "/recommend/cached", b'{"memberId": "42"}', **json_type
            )
            assert response.status == 404
            response, _ = asked(server, "POST", "/recommend", b'{"memberId": "42"}', **json_type)
            assert response.status == 503  # no catalog: what the view says
            assert asked(server, "GET", "/health")[0].status == 200
        answers = [said(connection) for connection in waiting]
    for answer in filter(None, answers):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == b"408"
        assert b"application/json" in head
        assert b"timeout" not in body.lower()
        told = json.loads(body)
        assert (told["code"], told["errors"]) == ("BODY_INCOMPLETE", [])
    assert any(answers)


def test_a_body_that_comes_slowly_but_in_time_is_whole(behind_the_edge: int) -> None:
    with connected(behind_the_edge) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"):
            connection.sendall(piece)
        told = json.loads(said(connection).partition(b"\r\n\r\n")[2])
    assert told["body"] == 5
    assert told["environ"]["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in told["environ"]


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/", 262_144, 200),
        ("/", 262_145, 413),
        ("/admin/x", 8 * MIB, 200),
        ("/admin/x", 9 * MIB, 413),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_only_staff_send_large_bodies(
    behind_the_edge: int, path: str, size: int, status: int, chunked: bool
) -> None:
    connection = HTTPConnection("127.0.0.1", behind_the_edge, timeout=PATIENCE_S)
    body = b"x" * size
    pieces = iter([body[start : start + 65_536] for start in range(0, size, 65_536)])
    connection.request("POST", path, pieces if chunked else body, encode_chunked=chunked)
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    assert response.status == status
    assert (told["body"] == size) if status == 200 else (told["code"] == "BODY_TOO_LARGE")


# --- Names of headers -----------------------------------------------------------------------------
def test_a_header_with_an_underscore_does_not_stand_for_the_real_one(server: int) -> None:
    """The proxy names a stranger; the stranger wrote an address of ours under a name that WSGI takes for the same."""
    head = b"GET /recommend/cached/42 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.9\r\n"
    stranger = exchanged(server, head + b"\r\n")
    assert stranger.split()[1] == b"401"
    for name in (b"X_Forwarded_For", b"X_Forwarded-For", b"x_forwarded_for"):
        assert exchanged(server, head + name + b": 127.0.0.1\r\n\r\n").split()[1] == b"401"
    for name in (b"X_API_Key", b"X-API_Key"):
        assert exchanged(server, head + name + b": the-key\r\n\r\n").split()[1] == b"401"
    assert exchanged(server, head + b"X-API-Key: the-key\r\n\r\n").split()[1] == b"404"


def environ_at(port: int, request: bytes) -> dict[str, Any]:
    told = json.loads(exchanged(port, request).partition(b"\r\n\r\n")[2])
    environ: dict[str, Any] = told["environ"]
    return environ


REQUESTS = {
    "plain": b"GET /a HTTP/1.1\r\nHost: songs-ai:8000\r\nConnection: close\r\n\r\n",
    "escaped": b"GET /%EA%B0%80%20b%2Fc?q=%EA%B0%80&x=1+2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "repeated": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n",
    "body": b"POST /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nab",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("what", REQUESTS)
def test_the_environ_is_the_one_granian_makes(
    behind_the_edge: int, behind_granian: int, what: str
) -> None:
    ours = environ_at(behind_the_edge, REQUESTS[what])
    theirs = environ_at(behind_granian, REQUESTS[what])
    assert ours.pop("SERVER_PORT") == str(behind_the_edge)
    assert theirs.pop("SERVER_PORT") == str(behind_granian)
    # Theirs holds the process's environment too, and no length where there is no body.
    length = "0" if ours["REQUEST_METHOD"] == "GET" else "2"
    assert ours.pop("CONTENT_LENGTH") == theirs.pop("CONTENT_LENGTH", length) == length
    assert ours == {name: value for name, value in theirs.items() if name in ours}
    assert {name for name in theirs if name.startswith("HTTP_")} <= set(ours)
    assert ours["REMOTE_ADDR"] == "127.0.0.1"


def test_cookies_of_several_lines_are_one_header(behind_the_edge: int) -> None:
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n"
    )
    assert environ_at(behind_the_edge, request)["HTTP_COOKIE"] == "a=1; b=2"


# --- Answers --------------------------------------------------------------------------------------
def test_a_body_of_unknown_length_is_streamed_and_closed(behind_the_edge: int) -> None:
    connection = HTTPConnection("127.0.0.1", behind_the_edge, timeout=PATIENCE_S)
    connection.request("GET", "/pieces")
    response = connection.getresponse()
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.read(4) == b"one,"  # there before the second half is
    assert asked(behind_the_edge, "GET", "/go")[0].status == 200
    assert response.read() == b"two"
    connection.close()
    assert "/pieces" in json.loads(asked(behind_the_edge, "GET", "/")[1])["closed"]


def test_an_application_that_fails_is_a_500_in_the_one_shape(behind_the_edge: int) -> None:
    response, body = asked(behind_the_edge, "GET", "/fails")
    assert response.status == 500
    assert json.loads(body)["code"] == "INTERNAL"
    assert asked(behind_the_edge, "GET", "/")[0].status == 200


def test_an_answer_that_fails_in_the_middle_is_closed(behind_the_edge: int) -> None:
    response, body = asked(behind_the_edge, "GET", "/fails-later")
    assert (response.status, body) == (200, b"one,")
    assert "/fails-later" in json.loads(asked(behind_the_edge, "GET", "/")[1])["closed"]


def test_not_modified_says_nothing_of_a_length(behind_the_edge: int) -> None:
    response, body = asked(behind_the_edge, "GET", "/nothing")
    assert (response.status, body) == (304, b"")
    assert response.headers["ETag"] == '"x"'
    assert "Content-Length" not in response.headers


def test_a_client_that_leaves_is_no_ones_trouble(behind_the_edge: int) -> None:
    for request in (
        b"GET /slow HTTP/1.1",
        b"GET /pieces HTTP/1.1",
        b"POST /b HTTP/1.1\r\nContent-Length: 9",
    ):
        with connected(behind_the_edge) as connection:
            connection.sendall(request + b"\r\nHost: x\r\n\r\n")
    assert asked(behind_the_edge, "GET", "/")[0].status == 200


def test_static_files_come_whole_and_head_has_their_length(server: int) -> None:
    path = "/static/admin/css/base.css"
    response, body = asked(server, "GET", path)
    assert response.status == 200
    assert int(response.headers["Content-Length"]) == len(body) > 1_000
    head, nothing = asked(server, "HEAD", path)
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == str(len(body))
    unchanged, nothing = asked(
        server, "GET", path, If_Modified_Since=response.headers["Last-Modified"]
    )
    assert (unchanged.status, nothing) == (304, b"")
    page, nothing = asked(server, "HEAD", "/health")
    assert (page.status, nothing) == (200, b"")


def test_what_is_under_way_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    with (
        echo("rsgi", "application", tmp_path) as (port, process),
        connected(port) as connection,
    ):
        assert asked(port, "GET", "/")[0].status == 200
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        _in_the_application(port)
        process.terminate()
        assert said(connection).split()[1] == b"200"
        assert process.wait(PATIENCE_S) == 0


def _in_the_application(port: int) -> None:
    """One more request is answered, so the server has taken the one before."""
    assert asked(port, "GET", "/")[0].status == 200
