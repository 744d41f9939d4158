"""The backend's queue on a real RabbitMQ, MariaDB and Redis, spoken to as songs_be speaks."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

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


@pytest.fixture(scope="module")
def made() -> Iterator[Installation]:
    if not available():
        missing_service("mariadbd, redis-server and rabbitmq-server")
    with installation() as made:
        with made.amqp() as channel:
            declare_as_spring(channel)
        yield made


@pytest.fixture(autouse=True)
def _stop_workers(made: Installation) -> Iterator[None]:
    """Each test starts the workers it wants, and leaves none."""
    yield
    for name in list(made.processes):
        if name not in ("mariadb", "redis", "rabbitmq"):
            made.processes.pop(name).kill()
    for queue in (QUEUE, DEAD):
        made.drain(queue)


def publish(made: Installation, *bodies: bytes) -> None:
    with made.amqp() as channel:
        for body in bodies:
            publish_as_spring(channel, body)


def status(made: Installation, job_id: str) -> dict[str, str]:
    found = made.redis.hgetall(f"job:status:{job_id}")
    return {name.decode(): value.decode() for name, value in found.items()}


def ended(made: Installation, *job_ids: str) -> bool:
    return all(status(made, job).get("status") in ("succeeded", "failed") for job in job_ids)


def runs(made: Installation, job_id: str) -> list[tuple[Any, ...]]:
    return made.rows(
        "SELECT attempt, outcome, TIMESTAMPDIFF(MICROSECOND, started_at, finished_at)/1e6,"
        " UNIX_TIMESTAMP(started_at) FROM recommendations_jobrun"
        f" WHERE job_id = '{job_id.replace('-', '')}' ORDER BY attempt"
    )


# --- The plain way --------------------------------------------------------------------------------
def test_jobs_end_in_redis_as_the_backend_reads_them(made: Installation) -> None:
    made.start_consumer()
    made.redis.hset("idem:7", "x", "1")  # the backend's own: left alone
    jobs = dict(spring_body(member, strategy="default") for member in range(1, 9))
    bodies = list(jobs.values())
    publish(made, *bodies, *bodies[:3])  # three of them twice
    wait_until(lambda: ended(made, *jobs), "all jobs", seconds=120)
    for job_id, body in jobs.items():
        member = json.loads(body)["memberId"]
        shown = status(made, job_id)
        assert (shown["status"], shown["progress"]) == ("succeeded", "100")
        assert shown["startedAt"] < shown["finishedAt"]
        assert shown["finishedAt"].endswith("Z")
        result = made.redis.get(f"job:result:{job_id}")
        answer = json.loads(result)
        assert answer["status"] == "completed"
        assert 0 < len(answer["candidates"]) <= 20
        assert made.redis.get(f"latest:recommendation:{member}") == result
        assert made.redis.ttl(f"latest:recommendation:{member}") == -1
        assert 86_000 < made.redis.ttl(f"job:status:{job_id}") <= 86_400
        assert json.loads(made.redis.get(f"recommend:{member}"))["groups"]
        assert len(runs(made, job_id)) == 1
    assert made.redis.exists("idem:7")
    assert made.drain(DEAD) == []


def test_what_cannot_be_served_goes_to_the_dlq_with_its_headers(made: Installation) -> None:
    made.start_consumer()
    gone_id, gone = spring_body(10**9)
    publish(made, b"{not json", gone)
    wait_until(lambda: made.depth(DEAD) == 2, "dead letters", seconds=60)
    assert status(made, gone_id)["error.code"] == "MEMBER_NOT_FOUND"
    assert status(made, gone_id)["error.message"]
    letters = {bytes(letter.body): letter for letter in made.drain(DEAD)}
    assert set(letters) == {b"{not json", gone}
    headers = letters[gone].headers
    assert headers["__TypeId__"] == "com.utabox.recommendation.RecommendationMessage"
    assert letters[gone].properties["content_encoding"] == "UTF-8"
    kept = made.rows("SELECT code, body FROM recommendations_deadletter ORDER BY id DESC LIMIT 2")
    assert {(code, bytes(body)) for code, body in kept} == {
        ("INVALID_MESSAGE", b"{not json"),
        ("MEMBER_NOT_FOUND", gone),
    }


def test_a_member_that_a_replica_does_not_have_yet_is_looked_for_once_more(
    made: Installation,
) -> None:
    """The second connection leads to the same server here: what counts is that it could be a replica."""
    made.start_consumer(CATALOG_DATABASE_URL=made.environment["DATABASE_URL"])
    (new_id, new), (gone_id, gone) = spring_body(10**9 + 1), spring_body(10**9 + 2)
    publish(made, new, gone)
    wait_until(
        lambda: runs(made, new_id) and runs(made, new_id)[0][1] == "retried", "the first look"
    )
    with made.mysql() as cursor:
        cursor.execute(
            "INSERT INTO member (member_id, email) VALUES (1000000001, 'new@example.com')"
        )
    wait_until(lambda: ended(made, new_id, gone_id), "the second look", seconds=60)
    assert status(made, new_id)["status"] == "succeeded"
    assert status(made, gone_id)["error.code"] == "MEMBER_NOT_FOUND"
    assert [bytes(letter.body) for letter in made.drain(DEAD)] == [
        gone.replace(b'"attempt":0', b'"attempt":1')
    ]


# --- The ladder, with real time-outs --------------------------------------------------------------
def test_a_job_that_takes_too_long_comes_back_after_5_and_after_30_seconds(
    made: Installation,
) -> None:
    made.start_consumer(JOB_TIME_LIMIT_S="3", **_hanging_model(made))
    job_id, body = spring_body(11, strategy="deep")
    publish(made, body)
    wait_until(lambda: len(runs(made, job_id)) == 3, "the third attempt", seconds=90)
    first, second, third = runs(made, job_id)
    assert [first[1], second[1]] == ["retried", "retried"]
    first_end, second_end = float(first[3]) + float(first[2]), float(second[3]) + float(second[2])
    assert 4.5 < float(second[3]) - first_end < 9
    assert 29 < float(third[3]) - second_end < 36
    # The third one waits for two minutes now; the message there is the one that was sent.
    wait_until(lambda: made.depth("rec.recommendation.retry.120s.q") == 1, "the third retry")
    waiting = made.drain("rec.recommendation.retry.120s.q")[0]
    assert bytes(waiting.body) == body.replace(b'"attempt":0', b'"attempt":3')
    assert status(made, job_id)["status"] == "queued"
    # Its last attempt, without the two minutes.
    publish(made, bytes(waiting.body))
    wait_until(lambda: ended(made, job_id), "the end", seconds=30)
    assert status(made, job_id)["error.code"] == "GENERATION_TIMEOUT"
    assert [bytes(letter.body) for letter in made.drain(DEAD)] == [bytes(waiting.body)]


def _hanging_model(made: Installation) -> dict[str, str]:
    """A port that takes connections and never answers."""
    code = "import socket,time; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); time.sleep(600)"
    process = made.start("hanging", "python3", "-c", code)
    log = process.log
    wait_until(lambda: log.exists() and log.read_text().strip(), "the hanging server")
    port = log.read_text().split()[-1]
    return {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": "sk-test",
        "LLM_DEADLINE_DEEP_S": "30",
    }


# --- Stopping and dying ---------------------------------------------------------------------------
def test_sigterm_finishes_what_is_at_work_and_returns_the_rest(made: Installation) -> None:
    consumer = made.start_consumer()
    jobs = dict(spring_body(1 + n % 100, strategy="default") for n in range(60))
    publish(made, *jobs.values())
    wait_until(lambda: sum(ended(made, job) for job in jobs) >= 5, "the first jobs", seconds=90)
    consumer.stop()
    assert consumer.popen is not None
    assert consumer.popen.returncode == 0
    done = sum(ended(made, job) for job in jobs)
    assert made.depth(QUEUE) == len(jobs) - done
    stuck = [job for job in jobs if status(made, job).get("status") == "running"]
    assert stuck == []
    made.start_consumer()
    wait_until(lambda: ended(made, *jobs), "the rest", seconds=120)
    assert all(len(runs(made, job)) == 1 for job in jobs)


def test_a_worker_killed_at_work_loses_nothing_and_its_job_is_taken_over(
    made: Installation,
) -> None:
    consumer = made.start_consumer()
    jobs = dict(spring_body(1 + n % 100, strategy="default") for n in range(30))
    publish(made, *jobs.values())
    wait_until(lambda: any(ended(made, job) for job in jobs), "the first job", seconds=90)
    consumer.kill()
    made.start_consumer("second")
    wait_until(lambda: ended(made, *jobs), "all jobs", seconds=120)
    assert {status(made, job)["status"] for job in jobs} == {"succeeded"}
    assert made.depth(QUEUE) == 0
    assert made.drain(DEAD) == []


def test_a_pool_process_killed_at_work_is_replaced(made: Installation) -> None:
    consumer = made.start_consumer(processes=1, JOB_TIME_LIMIT_S="60", **_hanging_model(made))
    job_id, body = spring_body(12, strategy="deep")
    publish(made, body)
    wait_until(lambda: status(made, job_id).get("status") == "running", "the job", seconds=60)
    (worker,) = made.rows(
        f"SELECT worker FROM recommendations_job WHERE uuid = '{job_id.replace('-', '')}'"
    )[0]
    os.kill(int(worker.split("|")[1]), signal.SIGKILL)
    wait_until(
        lambda: (
            made.rows(
                f"SELECT losses FROM recommendations_job WHERE uuid = '{job_id.replace('-', '')}'"
            )[0][0]
            == 1
        ),
        "somebody to take it over",
        seconds=30,
    )
    assert consumer.running


def test_the_job_of_a_consumer_that_fell_silent_goes_to_another_and_has_one_outcome(
    made: Installation,
) -> None:
    """SIGSTOP stands for a host that was cut off: its connections stay open, and nothing comes through them."""
    silent = made.start_consumer("silent", processes=1, **_hanging_model(made))
    job_id, body = spring_body(15, strategy="deep")
    publish(made, body)
    wait_until(lambda: status(made, job_id).get("status") == "running", "the job", seconds=60)
    silent.send(signal.SIGSTOP)
    made.start_consumer("second", processes=1)
    wait_until(lambda: ended(made, job_id), "the other consumer's outcome", seconds=75)
    result = made.redis.get(f"job:result:{job_id}")
    silent.send(signal.SIGCONT)
    wait_until(lambda: made.consumers(QUEUE) == 2, "the silent one to come back", seconds=60)
    next_id, next_body = spring_body(16)
    publish(made, next_body)
    wait_until(lambda: ended(made, next_id), "the next job", seconds=60)
    assert status(made, job_id)["status"] == "succeeded"
    assert made.redis.get(f"job:result:{job_id}") == result
    assert [(attempt, outcome) for attempt, outcome, *_ in runs(made, job_id)] == [(0, "succeeded")]
    assert made.depth(QUEUE) == 0
    assert made.drain(DEAD) == []


# --- Two of everything ----------------------------------------------------------------------------
def test_two_consumers_and_two_schedulers_do_no_double_work(made: Installation) -> None:
    made.shell(
        "from django_celery_beat.models import *\n"
        "i, _ = IntervalSchedule.objects.get_or_create(every=5, period='seconds')\n"
        "PeriodicTask.objects.filter(name='DLQ 감시').update(interval=i)\n"
        "PeriodicTasks.update_changed()"
    )
    for name in ("one", "two"):
        made.start_consumer(name, processes=1)
        made.start_beat(f"beat-{name}")
    made.start_worker("worker", "songs_ai.default", processes=1)
    jobs = dict(spring_body(1 + n % 100, strategy="default") for n in range(40))
    publish(made, *jobs.values(), *jobs.values())  # everything twice
    wait_until(lambda: ended(made, *jobs), "all jobs", seconds=180)
    assert all(len(runs(made, job)) == 1 for job in jobs)
    workers = made.rows(
        "SELECT DISTINCT worker FROM recommendations_jobrun ORDER BY id DESC LIMIT 40"
    )
    assert len(workers) >= 2
    before = made.rows("SELECT COUNT(*) FROM recommendations_schedulerun WHERE schedule='DLQ 감시'")
    time.sleep(21)
    after = made.rows("SELECT COUNT(*) FROM recommendations_schedulerun WHERE schedule='DLQ 감시'")
    assert 3 <= after[0][0] - before[0][0] <= 5  # one each five seconds, not two
    doubled = made.rows(
        "SELECT schedule_run_id FROM recommendations_job WHERE name='watch_dead_letters'"
        " GROUP BY schedule_run_id HAVING COUNT(*) > 1"
    )
    assert list(doubled) == []


# --- A broker that disagrees ----------------------------------------------------------------------
def test_a_queue_with_other_arguments_is_named_and_the_rest_is_served(made: Installation) -> None:
    retry = "rec.recommendation.retry.30s.q"
    with made.amqp() as channel:
        channel.queue_delete(retry)
        channel.queue_declare(
            retry, durable=True, auto_delete=False, arguments={"x-message-ttl": 31_000}
        )
    consumer = made.start_consumer()
    job_id, body = spring_body(13)
    publish(made, body)
    wait_until(lambda: ended(made, job_id), "the job", seconds=60)
    told = consumer.log.read_text()
    assert retry in told
    assert "x-message-ttl" in told
    assert "31000" in told
    with made.amqp() as channel:
        channel.queue_delete(retry)
        declare_as_spring(channel)


def test_the_main_queue_with_other_arguments_is_left_alone_until_it_is_right(
    made: Installation,
) -> None:
    with made.amqp() as channel:
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        channel.queue_bind(QUEUE, "rec.exchange", "recommendation.generate")
    consumer = made.start_consumer()
    job_id, body = spring_body(14)
    publish(made, body)
    wait_until(
        lambda: "x-dead-letter-exchange" in consumer.log.read_text(), "the error", seconds=60
    )
    time.sleep(3)
    assert consumer.running
    assert made.depth(QUEUE) == 1  # rejected from a queue without a DLX it would be lost
    with made.amqp() as channel:
        channel.queue_delete(QUEUE)
        declare_as_spring(channel)
    publish(made, body)
    wait_until(lambda: ended(made, job_id), "the job, within the next look", seconds=60)
