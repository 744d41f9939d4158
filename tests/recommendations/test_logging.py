"""Log lines: one per event, with the request's id, without what must not be kept."""

from __future__ import annotations

import logging
import sys

import pytest

from songs_ai.logging import OneLine, request_id, without_secrets


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("mail to hong.gildong+a@uta-box.co.kr failed", "mail to (e-mail) failed"),
        ("using sk-proj-abc123DEF456", "using (key)"),
        ("amqp://guest:pa55@mq:5672//", "amqp://(hidden)@mq:5672//"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer (key)"),
        ("password=hunter2, retrying", "password=(hidden), retrying"),
        ("api_key: abc", "api_key: (hidden)"),
        ("아이돌 – YOASOBI (TJ 68134)", "아이돌 – YOASOBI (TJ 68134)"),
    ],
)
def test_secrets_and_addresses_are_hidden(said: str, kept: str) -> None:
    assert without_secrets(said) == kept


def test_a_traceback_is_one_line_with_the_requests_id() -> None:
    formatter = OneLine("%(levelname)s [%(request_id)s] %(message)s")
    request_id.set("req-7")
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "broke", (), sys.exc_info())
    line = formatter.format(record)
    assert "\n" not in line
    assert line.startswith("ERROR [req-7] broke ⏎ Traceback")
    assert line.endswith("second line")


@pytest.mark.django_db
def test_a_callers_request_id_is_used_when_decent_and_told_back(client) -> None:
    answer = client.get("/health", headers={"X-Request-Id": "trace-42"})
    assert answer["X-Request-Id"] == "trace-42"
    answer = client.get("/health", headers={"X-Request-Id": "bad id\twith blanks"})
    assert len(answer["X-Request-Id"]) == 32
    assert "X-Request-Id" not in client.get("/health")
