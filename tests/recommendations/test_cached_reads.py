"""Cached reads: the path before Django gives what the documented view gives, byte for byte."""

from __future__ import annotations

import gzip
from io import BytesIO
from typing import Any

import orjson
import pytest
from django.core.handlers.wsgi import WSGIHandler

from recommendations import metrics, services
from recommendations.api.cached_reads import CachedReadLayer
from recommendations.serving.request import Request
from recommendations.serving.stored_answers import answer_store, memory_cache

from .conftest import World

pytestmark = pytest.mark.django_db


class Answered:
    """What a WSGI application answered."""

    def __init__(self, application: Any, environ: dict[str, Any]) -> None:
        self.status, self.headers = "", {}
        body = application(environ, self._start)
        self.body = b"".join(body)
        if hasattr(body, "close"):
            body.close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        assert len({name.lower() for name, _ in headers}) == len(headers)
        self.status, self.headers = status, {name.lower(): value for name, value in headers}


def asked(method: str, path: str, body: bytes = b"", **environ: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "songs-ai",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "wsgi.url_scheme": "http",
        "wsgi.errors": BytesIO(),
        **environ,
    }


class Refused(Exception):
    """The request was passed on to Django."""


def _pass_on(environ: Any, start_response: Any) -> Any:
    raise Refused


@pytest.fixture
def cached(world: World) -> World:
    services.recommend(Request(member_key=world.alice))
    services.recommend(Request(member_key="user123"))
    return world


FORMS = {
    "memberId": ("POST", "/recommend/cached", b'{"memberId": "1"}', {}),
    "trailing slash": ("POST", "/recommend/cached/", b'{"memberId":"1"}', {}),
    "user_id": ("POST", "/recommend/cached", b' {"user_id" : "user123" }\n', {}),
    "gzip": (
        "POST",
        "/recommend/cached",
        b'{"memberId":"1"}',
        {"HTTP_ACCEPT_ENCODING": "gzip, br"},
    ),
    "gzip refused": (
        "POST",
        "/recommend/cached",
        b'{"memberId":"1"}',
        {"HTTP_ACCEPT_ENCODING": "br, gzip;q=0"},
    ),
    "POST knows no 304": (
        "POST",
        "/recommend/cached",
        b'{"memberId":"1"}',
        {"HTTP_IF_NONE_MATCH": "*"},
    ),
    "GET": ("GET", "/recommend/cached/1", b"", {}),
    "GET of a user": ("GET", "/recommend/cached/user123/", b"", {}),
    "GET zeros": ("GET", "/recommend/cached/001", b"", {}),
    "304": ("GET", "/recommend/cached/1", b"", {"HTTP_IF_NONE_MATCH": "@etag"}),
    "304 weak, one of several": (
        "GET",
        "/recommend/cached/1",
        b"",
        {"HTTP_IF_NONE_MATCH": '"other", W/@etag', "HTTP_ACCEPT_ENCODING": "gzip"},
    ),
    "another tag": ("GET", "/recommend/cached/1", b"", {"HTTP_IF_NONE_MATCH": '"other"'}),
    "404": ("POST", "/recommend/cached", b'{"memberId":"404"}', {}),
    "404 GET": ("GET", "/recommend/cached/nobody", b"", {"HTTP_ACCEPT_ENCODING": "gzip"}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("warm", [True, False], ids=["L1", "L2"])
def test_cached_reads_before_django_answer_as_the_view_does(
    cached: World, form: str, warm: bool
) -> None:
    method, path, body, environ = FORMS[form]
    etag = answer_store.read_cached(cached.alice).etag
    environ = {name: value.replace("@etag", etag) for name, value in environ.items()}
    if not warm:
        memory_cache.answers.clear()
    early = Answered(CachedReadLayer(_pass_on), asked(method, path, body, **environ))
    if not warm:
        memory_cache.answers.clear()
    view = Answered(WSGIHandler(), asked(method, path, body, **environ))
    assert (early.status, early.headers, early.body) == (view.status, view.headers, view.body)


def test_the_answer_is_the_stored_bytes_with_the_flag_behind(cached: World) -> None:
    answer = Answered(
        CachedReadLayer(_pass_on), asked("POST", "/recommend/cached", b'{"memberId":"1"}')
    )
    stored = answer_store.read(cached.alice)
    assert answer.body == stored.body[:-1] + b',"cached":true}'
    told = orjson.loads(answer.body)
    assert list(told) == ["favorite_song_ids", "groups", "candidates", "generated_date", "cached"]
    assert answer.headers["content-length"] == str(len(answer.body))


def test_compressed_bytes_are_the_same_answer(cached: World) -> None:
    plain = Answered(CachedReadLayer(_pass_on), asked("GET", "/recommend/cached/1"))
    packed = Answered(
        CachedReadLayer(_pass_on), asked("GET", "/recommend/cached/1", HTTP_ACCEPT_ENCODING="gzip")
    )
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


UNUSUAL = {
    "another method": asked("PUT", "/recommend/cached", b'{"memberId":"1"}'),
    "HEAD": asked("HEAD", "/recommend/cached/1"),
    "another address": asked("POST", "/recommend", b'{"memberId":"1"}'),
    "more fields": asked("POST", "/recommend/cached", b'{"memberId":"1","x":1}'),
    "both fields": asked("POST", "/recommend/cached", b'{"memberId":"1","user_id":"1"}'),
    "a number": asked("POST", "/recommend/cached", b'{"memberId":1}'),
    "escapes": asked("POST", "/recommend/cached", rb'{"memberId":"\u0031"}'),
    "Korean": asked("POST", "/recommend/cached", '{"user_id":"가수"}'.encode()),
    "too long a key": asked("POST", "/recommend/cached", b'{"memberId":"' + b"1" * 65 + b'"}'),
    "a long body": asked("POST", "/recommend/cached", b'{"memberId":"1"' + b" " * 300 + b"}"),
    "rubbish behind": asked("POST", "/recommend/cached", b'{"memberId":"1"}}'),
    "another type": asked(
        "POST", "/recommend/cached", b'{"memberId":"1"}', CONTENT_TYPE="text/plain"
    ),
    "a likeness of the type": asked(
        "POST", "/recommend/cached", b'{"memberId":"1"}', CONTENT_TYPE="application/jsonp"
    ),
    "no length": asked("POST", "/recommend/cached", b'{"memberId":"1"}', CONTENT_LENGTH=""),
    "a short length": asked("POST", "/recommend/cached", b'{"memberId":"1"}', CONTENT_LENGTH="3"),
    "a stranger": asked(
        "POST", "/recommend/cached", b'{"memberId":"1"}', REMOTE_ADDR="203.0.113.9"
    ),
    "a deeper address": asked("GET", "/recommend/cached/1/2"),
    "a named request": asked("GET", "/recommend/cached/1", HTTP_X_REQUEST_ID="abc"),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_anything_unusual_goes_to_the_view(what: str) -> None:
    with pytest.raises(Refused):
        CachedReadLayer(_pass_on)(dict(UNUSUAL[what]), lambda *_: None)


def test_the_view_still_finds_a_body_that_was_read_before_django(cached: World) -> None:
    body = b'{"memberId":"1","favorite_song_ids":null}'
    answer = Answered(CachedReadLayer(WSGIHandler()), asked("POST", "/recommend/cached", body))
    assert answer.status == "200 OK"


def test_a_refused_caller_gets_the_views_refusal(cached: World) -> None:
    environ = asked("POST", "/recommend/cached", b'{"memberId":"1"}', REMOTE_ADDR="203.0.113.9")
    answer = Answered(CachedReadLayer(WSGIHandler()), environ)
    assert answer.status.startswith("403")
    assert set(orjson.loads(answer.body)) == {"code", "detail", "errors"}


def test_reads_are_counted_on_both_ways(cached: World) -> None:
    def counts() -> tuple[float, float]:
        metrics.flush()
        return (
            metrics.LOOKUPS.labels("hit")._value.get(),
            metrics.LOOKUPS.labels("miss")._value.get(),
        )

    hits, misses = counts()
    for way in (CachedReadLayer(_pass_on), WSGIHandler()):
        Answered(way, asked("POST", "/recommend/cached", b'{"memberId":"1"}'))
        Answered(way, asked("GET", "/recommend/cached/nobody"))
    assert counts() == (hits + 2, misses + 2)


def test_an_l1_hit_costs_no_query(cached: World, django_assert_num_queries) -> None:
    answer_store.read_cached(cached.alice)
    with django_assert_num_queries(0):
        Answered(CachedReadLayer(_pass_on), asked("POST", "/recommend/cached", b'{"memberId":"1"}'))
