"""Servers that are away, a broker that blocks publishers, and messages that break readers: no job is lost."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import amqp
import pytest

from bench.installation import (
    Installation,
    available,
    declare_as_spring,
    installation,
    publish_as_spring,
    spring_body,
    wait_until,
)
from tests.conftest import missing_service

pytestmark = [pytest.mark.services, pytest.mark.slow]
QUEUE, DEAD = "rec.recommendation.q", "rec.recommendation.dlq"
RABBITMQCTL = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")


@pytest.fixture(scope="module")
def made() -> Iterator[Installation]:
    if not available() or not RABBITMQCTL.exists():
        missing_service("mariadbd, redis-server, rabbitmq-server and rabbitmqctl")
    with installation() as made:
        with made.amqp() as channel:
            declare_as_spring(channel)
        yield made


@pytest.fixture(autouse=True)
def _stop_workers(made: Installation) -> Iterator[None]:
    yield
    for name in list(made.processes):
        if name not in ("mariadb", "redis", "rabbitmq"):
            made.processes.pop(name).kill()
    for queue in (QUEUE, DEAD):
        made.drain(queue)


def status(made: Installation, job_id: str) -> str:
    found = made.redis.hget(f"job:status:{job_id}", "status")
    return found.decode() if found else ""


def states(made: Installation, *job_ids: str) -> set[str]:
    uuids = ", ".join(f"'{job_id.replace('-', '')}'" for job_id in job_ids)
    found = made.rows(f"SELECT state FROM recommendations_job WHERE uuid IN ({uuids})")
    return {state for (state,) in found} if len(found) == len(job_ids) else {"missing"}


def unacknowledged(made: Installation, queue: str, total: int) -> bool:
    """Whether consumers hold messages of a queue that was given `total`."""
    return made.depth(queue) < total


def bring_back(made: Installation) -> None:
    made.processes["mariadb"].start()
    wait_until(lambda: _answers(made), "MariaDB")


def _answers(made: Installation) -> bool:
    try:
        return bool(made.rows("SELECT 1"))
    except Exception:  # noqa: BLE001 - whatever a database that starts says
        return False


# --- The database is away -------------------------------------------------------------------------
def test_messages_delivered_again_without_the_database_wait_for_it(made: Installation) -> None:
    made.start_consumer()
    jobs = dict(spring_body(1 + n) for n in range(6))
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer")
    made.processes["mariadb"].kill()
    with made.amqp() as channel:
        for body in jobs.values():
            publish_as_spring(channel, body)
    wait_until(lambda: unacknowledged(made, QUEUE, len(jobs)), "the consumer to hold some")
    made.processes["consumer"].kill()
    wait_until(lambda: made.depth(QUEUE) == len(jobs), "the broker to take them back")
    made.start_consumer()  # what it gets now is marked as redelivered
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer")
    time.sleep(8)
    assert made.depth(DEAD) == 0
    bring_back(made)
    wait_until(
        lambda: all(status(made, job) == "succeeded" for job in jobs), "all jobs", seconds=90
    )
    assert made.drain(DEAD) == []


def test_own_jobs_fetched_without_the_database_run_when_it_is_back(made: Installation) -> None:
    made.shell(
        "from recommendations.jobs import queue\n"
        "for n in range(3): queue.enqueue('warm_active', f'w{n}', limit=1)"
    )
    assert made.depth("songs_ai.default") == 3
    made.processes["mariadb"].kill()
    made.start_worker("worker", "songs_ai.default")
    wait_until(lambda: made.depth("songs_ai.default") < 3, "the worker", seconds=90)
    time.sleep(8)
    bring_back(made)
    wait_until(lambda: _ended(made, "warm_active", 3), "the jobs", seconds=60)


def _ended(made: Installation, name: str, count: int) -> bool:
    found = made.rows(f"SELECT state FROM recommendations_job WHERE name = '{name}'")
    return [state for (state,) in found] == ["succeeded"] * count


def test_a_job_that_meets_locked_tables_is_tried_again_and_fails_not(made: Installation) -> None:
    made.start_consumer(JOB_TIME_LIMIT_S="3")
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer")
    jobs = dict(spring_body(21 + n) for n in range(2))
    with made.mysql() as cursor:
        cursor.execute("LOCK TABLES song_like WRITE, playlist_song WRITE, member WRITE")
        with made.amqp() as channel:
            for body in jobs.values():
                publish_as_spring(channel, body)
        time.sleep(8)
        cursor.execute("UNLOCK TABLES")
    wait_until(
        lambda: all(status(made, job) == "succeeded" for job in jobs), "the jobs", seconds=90
    )
    assert made.drain(DEAD) == []


# --- Messages that break readers ------------------------------------------------------------------
def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"in": value}
    return value


def odd_messages() -> Iterator[amqp.Message]:
    for field in ("topK", "attempt", "memberId", "novelty"):
        for number in ("1E+1000000", "1e99999999999999999999", "2147483648"):
            body = f'{{"jobId":"{uuid.uuid4()}","memberId":3,"{field}":{number}}}'
            yield amqp.Message(body.encode(), delivery_mode=2)
    for body in (b"\xff\xfe{", b"[" * 90_000, b'{"jobId":"\\ud83c\\u0000","memberId":[]}', b""):
        yield amqp.Message(body, content_type="text/odd", content_encoding="no-such-charset")
    good = f'{{"jobId":"{uuid.uuid4()}","memberId":3}}'.encode()
    for headers in (
        {"deep": nested(40)},
        {"compression": "zlib"},
        {"task": "other.task", "id": 7, "retries": "x", "eta": "soon"},
        {"far": datetime(9999, 12, 31, tzinfo=UTC), "bytes": b"\xff", "none": None},
    ):
        yield amqp.Message(good, application_headers=headers, content_type="application/json")
    # In milliseconds, as careless publishers write it.
    yield amqp.Message(good, application_headers={"__TypeId__": "x", "at": Milliseconds()})


class Milliseconds(datetime):
    """A timestamp whose seconds are milliseconds."""

    def __new__(cls) -> Milliseconds:
        return super().__new__(cls, 2026, 1, 1, tzinfo=UTC)

    def utctimetuple(self) -> Any:
        return (2026, 1, 1, 480_000_000, 0, 0)


def test_no_message_stops_the_queue(made: Installation) -> None:
    made.start_consumer()
    sent = list(odd_messages())
    job_id, body = spring_body(5)
    with made.amqp() as channel:
        for message in sent:
            channel.basic_publish(message, "rec.exchange", "recommendation.generate")
        publish_as_spring(channel, body)
    wait_until(lambda: status(made, job_id) == "succeeded", "the job behind them", seconds=120)
    wait_until(lambda: made.depth(QUEUE) == 0, "the rest")
    kept = {bytes(body) for (body,) in made.rows("SELECT body FROM recommendations_deadletter")}
    served = {bytes(body) for (body,) in made.rows("SELECT message FROM recommendations_job")}
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer, still there")
    missing = [bytes(message.body) for message in sent if bytes(message.body) not in kept | served]
    assert missing == []


# --- A broker under an alarm ----------------------------------------------------------------------
def rabbitmqctl(made: Installation, *arguments: str) -> None:
    home = made.folder / "rabbitmq"
    environment = dict(os.environ) | {"HOME": str(home), "RABBITMQ_LOG_BASE": str(home)}
    node = f"songs{made.amqp_port}@localhost"
    done = subprocess.run(
        [str(RABBITMQCTL), "-n", node, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def memory_alarm(made: Installation) -> Iterator[None]:
    """The broker stops reading from connections that publish."""
    rabbitmqctl(made, "set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        rabbitmqctl(made, "set_vm_memory_high_watermark", "0.6")


def post(made: Installation, path: str, body: dict[str, Any]) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{made.web_port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def test_an_alarm_blocks_no_request_and_loses_no_job(made: Installation) -> None:
    made.start_web(workers=1)
    post(
        made, "/favorites/updated", {"memberId": "1", "favorite_song_ids": [1]}
    )  # a connection is open
    with memory_alarm(made):
        with ThreadPoolExecutor(80) as callers:  # more than the server has threads
            updated = callers.map(
                lambda n: post(
                    made, "/favorites/updated", {"memberId": str(1 + n), "favorite_song_ids": [1]}
                ),
                range(80),
            )
            asked = callers.map(
                lambda n: post(made, "/recommend/jobs", {"memberId": str(1 + n)}), range(20)
            )
            assert set(updated) == {200}
            assert set(asked) == {202}
        assert post(made, "/recommend", {"memberId": "1"}) == 200
    made.start_beat()
    made.start_worker("worker", "songs_ai.default")
    wait_until(
        lambda: (
            not made.rows("SELECT 1 FROM recommendations_job WHERE state IN ('queued', 'running')")
        ),
        "all jobs",
        seconds=180,
    )


def test_an_alarm_stops_no_consumer_and_loses_no_retry(made: Installation) -> None:
    code = "import socket,time; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); time.sleep(600)"
    hanging = made.start("hanging", "python3", "-c", code)
    wait_until(lambda: hanging.log.exists() and hanging.log.read_text().strip(), "a silent model")
    port = hanging.log.read_text().split()[-1]
    consumer = made.start_consumer(
        processes=1,
        JOB_TIME_LIMIT_S="3",
        OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
        OPENAI_API_KEY="sk-test",
        LLM_DEADLINE_DEEP_S="30",
    )
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer")
    job_id, body = spring_body(11, strategy="deep")
    quick_id, quick = spring_body(12)
    with made.amqp() as channel:
        publish_as_spring(channel, body)
    with memory_alarm(made):
        wait_until(
            lambda: "BrokerUnavailable" in consumer.log.read_text(), "a refused retry", seconds=60
        )
        time.sleep(15)
        assert consumer.running
        assert status(made, job_id) in ("queued", "running")
    with made.amqp() as channel:
        publish_as_spring(channel, quick)
    wait_until(lambda: status(made, quick_id) == "succeeded", "the next job", seconds=60)
    wait_until(
        lambda: (
            made.rows(
                f"SELECT attempt FROM recommendations_job WHERE uuid = '{job_id.replace('-', '')}'"
            )[0][0]
            >= 1
        ),
        "the retry, sent when the alarm is over",
        seconds=60,
    )


def test_a_consumer_can_be_stopped_during_an_alarm(made: Installation) -> None:
    consumer = made.start_consumer()
    wait_until(lambda: made.consumers(QUEUE) == 1, "the consumer")
    with memory_alarm(made):
        time.sleep(10)
        consumer.stop()
        assert consumer.popen is not None
        assert consumer.popen.returncode == 0
