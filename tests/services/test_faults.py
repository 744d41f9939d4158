"""The API answers while a store or the broker is away, against real servers that are killed or stopped dead."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bench.installation import Installation, available, installation, listens, wait_until
from tests.conftest import missing_service

pytestmark = [pytest.mark.services, pytest.mark.django_db(databases=[])]

#: songs_be gives up after 60 s; nobody here may take longer than a small part of it.
CLIENT_TIMEOUT_S = 15


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    if not available():
        missing_service("mariadbd, redis-server and rabbitmq-server")
    with installation(DATABASE_TIMEOUT_S="1", L1_TTL_S="0") as made:
        made.start_web(workers=1)
        wait_until(lambda: post(made, "/recommend", memberId="1")[0] == 200, "a first answer")
        yield made


def post(made: Installation, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """Status and parsed body of a call, as the backend makes it."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{made.web_port}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=CLIENT_TIMEOUT_S) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    answer = json.loads(text)
    seconds = time.monotonic() - began
    print(f"{path} {body}: {status} {answer.get('degraded')} in {seconds:.2f} s")  # noqa: T201
    return status, answer


def songs_of(answer: dict[str, Any]) -> list[int]:
    return [song["song_id"] for song in answer["candidates"]]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["refused", "hanging"])
def test_without_redis_everybody_is_served_and_told(
    running: Installation, fault: signal.Signals
) -> None:
    known = post(running, "/recommend", memberId="1")[1]
    running.processes["redis"].kill(fault) if fault is signal.SIGKILL else _stop(running, "redis")
    try:
        status, again = post(running, "/recommend", memberId="1")
        assert (status, songs_of(again)) == (200, songs_of(known))
        status, other = post(running, "/recommend", memberId=f"{10 + fault}")
        assert (status, other["degraded"]) == (200, "redis")
        status, cached = post(running, "/recommend/cached", memberId="1")
        assert (status, cached["cached"]) == (200, True)
    finally:
        _bring_back(running, "redis", fault, running.redis_port)
    wait_until(lambda: post(running, "/recommend", memberId="1")[1]["degraded"] != "redis", "Redis")


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL], ids=["hanging", "refused"])
def test_without_mysql_cached_reads_and_recommendations_go_on(
    running: Installation, fault: signal.Signals
) -> None:
    known = post(running, "/recommend", memberId="2")[1]
    running.processes["mariadb"].kill(fault) if fault is signal.SIGKILL else _stop(
        running, "mariadb"
    )
    try:
        status, cached = post(running, "/recommend/cached", memberId="2")
        assert (status, songs_of(cached)) == (200, songs_of(known))
        status, last_known = post(running, "/recommend", memberId="2")
        assert (status, last_known["degraded"]) == (200, "database")
        assert last_known["favorite_song_ids"] == known["favorite_song_ids"]
        status, sent = post(running, "/recommend", memberId="3", favorite_song_ids=[1, 2, 3])
        assert (status, sent["degraded"], sent["favorite_song_ids"]) == (200, "database", [1, 2, 3])
        assert sent["candidates"]
        status, updated = post(running, "/favorites/updated", memberId="2", favorite_song_ids=[5])
        assert (status, updated["status"], updated["degraded"]) == (200, "queued", "database")
    finally:
        _bring_back(running, "mariadb", fault, running.mysql_port)
    wait_until(
        lambda: post(running, "/recommend", memberId="2")[1]["degraded"] != "database", "MariaDB"
    )


def test_without_a_broker_work_is_kept_and_done_later(running: Installation) -> None:
    running.processes["rabbitmq"].kill()
    try:
        liked = post(running, "/recommend", memberId="4")[1]["candidates"][0]["song_id"]
        status, answer = post(
            running,
            "/favorites/updated",
            user_id="user123",
            action="add_favorite",
            song_data={"song_id": liked},
        )
        assert (status, answer["status"], answer["favorite_song_ids"]) == (200, "queued", [liked])
        status, warmed = post(running, "/warm/active?limit=3")
        assert (status, warmed["status"]) == (200, "queued")
        state = _state(running, warmed["task_id"])
        assert state == "queued"
    finally:
        running.processes["rabbitmq"].start()
        wait_until(running.rabbitmq_answers, "RabbitMQ")
    running.start_worker("worker", "songs_ai.default", processes=1)
    wait_until(
        lambda: _state(running, warmed["task_id"]) == "succeeded", "the kept work", seconds=90
    )


LOCK_AND_FALL_SILENT = """
import time
from django.db import transaction
from prompts.models import LedgerScope
with transaction.atomic():
    LedgerScope.objects.update_or_create(key="month:cut-off", defaults={"reserved_micro_usd": 1})
    print("locked", flush=True)
    time.sleep(600)
"""


def test_rows_that_a_silent_host_had_locked_are_free_again(running: Installation) -> None:
    """A host cut off inside a transaction ends none; MySQL's own patience would be eight hours."""
    silent = running.start(
        *("silent", sys.executable, "manage.py", "shell", "-v", "0", "-c", LOCK_AND_FALL_SILENT),
        DATABASE_SILENCE_S="5",
    )
    wait_until(lambda: "locked" in silent.log.read_text(), "the lock")
    silent.send(signal.SIGSTOP)
    with running.mysql() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 30")
        cursor.execute(
            "INSERT INTO prompts_ledgerscope (`key`, spent_micro_usd, reserved_micro_usd, created_at)"
            " VALUES ('month:cut-off', 0, 0, NOW())"
        )
    assert running.rows(
        "SELECT COUNT(*) FROM prompts_ledgerscope WHERE `key` = 'month:cut-off'"
    ) == [(1,)]


def _state(running: Installation, job_id: str) -> str:
    key = job_id.replace("-", "")
    rows = running.rows(
        f"SELECT state FROM recommendations_job WHERE REPLACE(uuid, '-', '') = '{key}'"
    )
    return str(rows[0][0])


def _stop(running: Installation, name: str) -> None:
    """Hang a server: it still takes connections (the kernel does), and never answers."""
    popen = running.processes[name].popen
    assert popen is not None
    popen.send_signal(signal.SIGSTOP)


def _bring_back(running: Installation, name: str, fault: signal.Signals, port: int) -> None:
    popen = running.processes[name].popen
    assert popen is not None
    if fault is signal.SIGSTOP:
        popen.send_signal(signal.SIGCONT)
    else:
        running.processes[name].start()
        wait_until(lambda: listens(port), name)
