"""What the queue and the batches stand and cost, on servers of their own. See docs/operations.md.

python bench/jobs.py survive      1 000 jobs while everything is killed once
python bench/jobs.py throughput   the queue path without the model
python bench/jobs.py nightly      1 000 members regenerated with a model
python bench/jobs.py drain        interactive service while 10 000 members are regenerated
python bench/jobs.py sync         the cost of finding changed likes among 1 000 000
python bench/jobs.py rush         100 jobs at once with the model, beside the same without the rule for a rush

The model is bench/fake_model.py, as slow as a hosted one (0.4 s to the first token, 75 tokens a second), or
--model-url: another fake that counts its calls at /__stats.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import amqp
import pymysql

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import (
    LOOPBACK,
    Installation,
    Process,
    declare_as_spring,
    installation,
    publish_as_spring,
    spring_body,
    wait_until,
)
from bench.machine import stop_on_sigterm

RESULTS = Path(__file__).parent / "results"
FIRST_MEMBER = 100_000


def say(text: str) -> None:
    print(text, flush=True)


# --- Members --------------------------------------------------------------------------------------
def populate(made: Installation, members: int, *, likes: int = 12) -> list[int]:
    """Add members with likes in one of the demo's genres each; returns their ids."""
    rng = random.Random(7)
    ids = list(range(FIRST_MEMBER, FIRST_MEMBER + members))
    songs: dict[str, list[int]] = {}
    for song_id, genre in made.rows("SELECT song_id, COALESCE(genre, '') FROM song"):
        songs.setdefault(genre, []).append(song_id)
    shelves = [shelf for shelf in songs.values() if len(shelf) >= likes]
    rows = [(n, song) for n in ids for song in rng.sample(rng.choice(shelves), likes)]
    with made.mysql() as cursor:
        cursor.executemany(
            "INSERT INTO member (member_id, email) VALUES (%s, %s)",
            [(n, f"m{n}@example.com") for n in ids],
        )
        cursor.executemany(
            "INSERT INTO member_role_list (id, role) VALUES (%s, 'USER')", [(n,) for n in ids]
        )
        for start in range(0, len(rows), 10_000):
            cursor.executemany(
                "INSERT INTO song_like (member_id, song_id, created_at, modified_at)"
                " VALUES (%s, %s, NOW(), NOW())",
                rows[start : start + 10_000],
            )
    return ids


def count(made: Installation, where: str) -> int:
    return int(made.rows(f"SELECT COUNT(*) FROM recommendations_job WHERE {where}")[0][0])


# --- Survive --------------------------------------------------------------------------------------
class Publisher(threading.Thread):
    """songs_be: publishes with confirms, and again when the broker went away meanwhile."""

    def __init__(self, made: Installation, bodies: list[bytes], *, per_second: float) -> None:
        super().__init__(daemon=True)
        self.made, self.bodies, self.pause_s = made, bodies, 1 / per_second

    def run(self) -> None:
        waiting = list(reversed(self.bodies))
        while waiting:
            with suppress(OSError, amqp.AMQPError), self.made.amqp() as channel:
                while waiting:
                    publish_as_spring(channel, waiting[-1])
                    waiting.pop()
                    time.sleep(self.pause_s)


def keep_alive(made: Installation, names: tuple[str, ...], stop: threading.Event) -> None:
    """What a supervisor does: start again what died."""
    while not stop.wait(0.5):
        for name in names:
            if not made.processes[name].running:
                made.processes[name].start()


def disasters(made: Installation) -> list[tuple[str, Callable[[], None]]]:
    def kill_consumer() -> None:
        made.processes["consumer"].kill()

    def restart_redis() -> None:
        made.processes["redis"].kill()
        time.sleep(2)
        made.processes["redis"].start()

    def restart_mariadb() -> None:
        made.processes["mariadb"].kill()
        time.sleep(3)
        made.processes["mariadb"].start()

    def restart_rabbitmq() -> None:
        made.processes["rabbitmq"].kill()
        time.sleep(2)
        made.processes["rabbitmq"].start()
        wait_until(made.rabbitmq_answers, "RabbitMQ", seconds=90)

    return [
        ("consumer and its workers: SIGKILL", kill_consumer),
        ("Redis: SIGKILL, comes back empty", restart_redis),
        ("consumer and its workers: SIGKILL", kill_consumer),
        ("MariaDB: SIGKILL, restarted", restart_mariadb),
        ("RabbitMQ: SIGKILL, restarted", restart_rabbitmq),
        ("consumer and its workers: SIGKILL", kill_consumer),
    ]


def survive(options: argparse.Namespace) -> dict[str, Any]:
    with installation(LOG_LEVEL="WARNING") as made:
        members = populate(made, options.jobs)
        with made.amqp() as channel:
            declare_as_spring(channel)
        made.start_consumer()
        made.start_beat()
        stop = threading.Event()
        keeper = threading.Thread(
            target=keep_alive, args=(made, ("consumer", "beat"), stop), daemon=True
        )
        keeper.start()
        jobs = dict(spring_body(member, strategy="default") for member in members)
        poison = [b"{poison %d" % n for n in range(6)]
        gone = dict(spring_body(10**9 + n) for n in range(4))
        # As fast as lasts through all disasters, so that each of them meets work.
        per_second = options.jobs / (12 * options.pause_s)
        bodies = [*poison, *gone.values(), *jobs.values()]
        publisher = Publisher(made, bodies, per_second=per_second)
        began = time.monotonic()
        publisher.start()
        wait_until(lambda: count(made, "state = 'succeeded'") > options.jobs * 0.03, "first jobs")
        suffered = []
        for name, disaster in disasters(made):
            met = {"at_s": round(time.monotonic() - began), "what": name}
            suffered.append(met | {"succeeded_before": _succeeded(made)})
            say(f"  {suffered[-1]}")
            disaster()
            time.sleep(options.pause_s)
        publisher.join()
        wait_until(lambda: _all_ended(made, jobs), "all jobs", seconds=3600, every_s=1)
        took_s = time.monotonic() - began
        time.sleep(30)  # what Redis owes within 30 s
        stop.set()
        keeper.join()
        made.processes["consumer"].stop()
        made.processes["consumer"].kill()
        return (
            {"disasters": suffered}
            | verdict(made, jobs, gone, poison)
            | {"seconds": round(took_s, 1)}
        )


def _succeeded(made: Installation) -> int:
    """Jobs done so far; the database may still be coming up."""
    with suppress(pymysql.MySQLError):
        return count(made, "state = 'succeeded'")
    time.sleep(1)
    return _succeeded(made)


def _all_ended(made: Installation, jobs: dict[str, bytes]) -> bool:
    with suppress(Exception):  # the database may be restarting
        ended = count(made, "state IN ('succeeded', 'failed') AND error_code <> 'MEMBER_NOT_FOUND'")
        return ended >= len(jobs)
    return False


def verdict(
    made: Installation, jobs: dict[str, bytes], gone: dict[str, bytes], poison: list[bytes]
) -> dict[str, Any]:
    rows = {
        str(job).replace("-", ""): (state, code)
        for job, state, code in made.rows("SELECT uuid, state, error_code FROM recommendations_job")
    }
    states = [rows.get(job.replace("-", ""), ("missing", "")) for job in jobs]
    doubled = _doubled(made)
    keys = {"status": 0, "result": 0, "latest": 0, "recommend": 0, "different": 0}
    redis = made.redis
    for job, body in jobs.items():
        member = json.loads(body)["memberId"]
        result = redis.get(f"job:result:{job}")
        keys["status"] += redis.hget(f"job:status:{job}", "status") == b"succeeded"
        keys["result"] += result is not None
        latest = redis.get(f"latest:recommendation:{member}")
        keys["latest"] += latest is not None
        keys["recommend"] += redis.exists(f"recommend:{member}")
        keys["different"] += latest != result
    dead = [bytes(message.body) for message in made.drain("rec.recommendation.dlq")]
    wanted = sorted([*poison, *gone.values()])
    return {
        "jobs": len(jobs),
        "succeeded": sum(state == "succeeded" for state, _ in states),
        "failed_with_code": sum(state == "failed" and bool(code) for state, code in states),
        "missing_or_open": sum(state not in ("succeeded", "failed") for state, _ in states),
        "with_two_results": len(doubled),
        "redis": keys,
        "workers_lost_jobs": int(
            made.rows("SELECT COALESCE(SUM(losses), 0) FROM recommendations_job")[0][0]
        ),
        "left_in_queue": made.depth("rec.recommendation.q"),
        "dead_letters": len(dead),
        "dead_letters_as_sent": sorted(dead) == wanted,
    }


def _doubled(made: Installation) -> list[tuple[Any, ...]]:
    return made.rows(
        "SELECT job_id FROM recommendations_jobrun WHERE outcome = 'succeeded'"
        " GROUP BY job_id HAVING COUNT(*) > 1"
    )


# --- Throughput -----------------------------------------------------------------------------------
def throughput(options: argparse.Namespace) -> dict[str, Any]:
    with installation(LOG_LEVEL="WARNING") as made:
        members = populate(made, options.jobs)
        with made.amqp() as channel:
            declare_as_spring(channel)
            for member in members:
                publish_as_spring(channel, spring_body(member, strategy="default")[1])
        made.start_consumer()
        wait_until(lambda: count(made, "state = 'succeeded'") >= 20, "warm-up")
        before, began = count(made, "state = 'succeeded'"), time.monotonic()
        wait_until(lambda: count(made, "state = 'succeeded'") >= len(members), "jobs", seconds=600)
        rate = (len(members) - before) / (time.monotonic() - began)
        return {"jobs": len(members), "per_second": round(rate, 1), "processes": 2}


# --- Nightly --------------------------------------------------------------------------------------
RUN_NIGHTLY = """
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from recommendations.schedules import scheduler
from recommendations.models import ScheduleRun
task = PeriodicTask.objects.get(task="recommendations.tasks.nightly_regeneration")
now = timezone.now()
scheduler.start(task, slot=now, now=now, trigger=ScheduleRun.Trigger.STAFF)
"""


#: The figures are about time, not about what staff would pay for it.
BUDGET_WITHOUT_END = {
    "LLM_CONCURRENCY": "40",
    "LLM_BUDGET_DAY_USD": "10000",
    "LLM_BUDGET_MONTH_USD": "100000",
    "LLM_BUDGET_MEMBER_DAY_USD": "100",
}


@contextmanager
def with_model(
    model_url: str | None = None,
    *,
    address: str = LOOPBACK,
    settings: Mapping[str, str] | None = None,
    **model: float,
) -> Iterator[Installation]:
    """An installation whose processes ask a fake model: the one at `model_url`, else one with these options."""
    usual = {
        "LOG_LEVEL": "WARNING",
        "OPENAI_API_KEY": "sk-bench",
        "SONGS_AI_CONSUME_QUEUE": "0",
        **BUDGET_WITHOUT_END,
    }
    with installation(address=address, **usual | dict(settings or {})) as made:
        made.environment["OPENAI_BASE_URL"] = model_url or made.start_model(**model)
        only_mine(made)
        yield made


def model_calls(made: Installation) -> int:
    """As the model counts them: our own rows lack what a killed worker had asked."""
    stats = made.environment["OPENAI_BASE_URL"].removesuffix("/v1") + "/__stats"
    with urllib.request.urlopen(stats, timeout=10) as answer:
        return int(json.load(answer).get("calls", 0))


def run_nightly(made: Installation, *, seconds: float = 900) -> dict[str, Any]:
    """Start the nightly run, wait for its end; returns its figures."""
    calls, began = model_calls(made), time.monotonic()
    made.shell(RUN_NIGHTLY)
    wait_until(lambda: _newest_run(made)[0] != "queued", "the run's start")
    wait_until(
        lambda: _newest_run(made)[0] not in ("queued", "running"), "the run", seconds=seconds
    )
    state, summary = _newest_run(made)
    return {
        "state": state,
        "seconds": round(time.monotonic() - began, 1),
        "model_calls": model_calls(made) - calls,
        **{name: n for name, n in json.loads(summary).items() if isinstance(n, int)},
    }


def _newest_run(made: Installation) -> tuple[str, str]:
    rows = made.rows(
        "SELECT state, summary FROM recommendations_schedulerun"
        " WHERE schedule = '야간 재생성' ORDER BY id DESC LIMIT 1"
    )
    return rows[0] if rows else ("queued", "{}")


def change_likes(made: Installation, members: list[int]) -> None:
    with made.mysql() as cursor:
        for member in members:
            cursor.execute(
                "DELETE FROM song_like WHERE member_id = %s ORDER BY id LIMIT 1", (member,)
            )


def shortest_life_s(made: Installation, members: list[int]) -> int:
    redis = made.redis
    keys = [f"{kind}:{n}" for n in members for kind in ("recommend", "preference")]
    return min(redis.ttl(key) for key in keys)


def nightly(options: argparse.Namespace) -> dict[str, Any]:
    with with_model(options.model_url) as made:
        members = populate(made, options.members)
        made.start_worker("worker", "songs_ai.default")
        made.start_worker("nightly", "songs_ai.nightly")
        time.sleep(8)
        first = run_nightly(made)
        say(f"  first:  {first}")
        made.manage("train_model")  # fails when the new model was refused
        time.sleep(5)  # the workers look for a new model every few seconds
        changed = random.Random(3).sample(members, len(members) // 20)
        change_likes(made, changed)
        age(made, members, days=1)
        second = run_nightly(made)
        life = round(shortest_life_s(made, members) / 86_400, 2)
        say(f"  second: {second}, shortest life {life} days")
        age(made, members, days=1)
        third = run_nightly(made)
        say(f"  third, nothing changed: {third}")
        killed = _killed_halfway(made, members)
        say(f"  killed: {killed}")
        return {
            "members": len(members),
            "first": first,
            "second_after_training_with_5_percent_changed": second,
            "shortest_life_days": life,
            "third_with_nothing_changed": third,
            "killed_halfway": killed,
        }


def age(made: Installation, members: list[int], *, days: int) -> None:
    """Leave the members' keys so little life that only a renewal brings it back."""
    pipe = made.redis.pipeline()
    for member in members:
        for kind in ("recommend", "preference"):
            pipe.expire(f"{kind}:{member}", days * 86_400)
    assert all(pipe.execute()), "every member has both keys"


def only_mine(made: Installation) -> None:
    """Leave the demo's members out of the batch, so that the figures are about the ones counted."""
    with made.mysql() as cursor:
        cursor.execute("DELETE FROM member_role_list")


def _killed_halfway(made: Installation, members: list[int]) -> dict[str, Any]:
    """All members changed; the nightly workers die by SIGKILL when half of them are done."""
    change_likes(made, members)
    calls = model_calls(made)
    made.shell(RUN_NIGHTLY)
    half = calls + len(members)  # two calls a member
    wait_until(lambda: model_calls(made) >= half, "half of the members", seconds=600)
    made.start_beat()
    made.restart("nightly")
    wait_until(lambda: _newest_run(made)[0] not in ("queued", "running"), "the run", seconds=900)
    asked, needed = model_calls(made) - calls, 2 * len(members)
    return {
        "state": _newest_run(made)[0],
        "model_calls": asked,
        "needed": needed,
        "repeated": asked - needed,
        "in_flight_at_most": 2 * 16,
    }


# --- Drain ----------------------------------------------------------------------------------------
def drain(options: argparse.Namespace) -> dict[str, Any]:
    with with_model(options.model_url) as made:
        members = populate(made, options.members)
        made.start_web(workers=2)
        made.start_worker("worker", "songs_ai.default", processes=1)
        offered = [str(n) for n in range(1, 100)]
        open_loop(made, offered, seconds=20)  # warm
        made.shell(RUN_NIGHTLY)
        idle, busy, rates = [], [], []
        for round_ in range(options.rounds):
            idle.append(p99(open_loop(made, offered, seconds=options.seconds)))
            with nightly_workers(made):
                before, began = done_members(made), time.monotonic()
                busy.append(p99(open_loop(made, offered, seconds=options.seconds)))
                rates.append((done_members(made) - before) / (time.monotonic() - began))
            say(
                f"  {round_ + 1}: idle {idle[-1]:.0f} ms, busy {busy[-1]:.0f} ms, {rates[-1]:.1f} members/s"
            )
        return {
            "members": len(members),
            "p99_idle_ms": round(statistics.median(idle), 1),
            "p99_busy_ms": round(statistics.median(busy), 1),
            "ratio": round(statistics.median(b / i for b, i in zip(busy, idle, strict=True)), 2),
            "drained_per_second": round(statistics.median(rates), 1),
        }


def start_nightly_worker(made: Installation) -> Process:
    return made.start(
        "nightly",
        *("nice", "-n", "10", sys.executable, "-m", "celery", "-A", "songs_ai", "-q"),
        *("--skip-checks", "worker", "-n", "nightly@%h", "-Q", "songs_ai.nightly", "-c", "2"),
        *("--loglevel", "WARNING"),
    )


@contextmanager
def nightly_workers(made: Installation) -> Iterator[None]:
    """The batch's worker, as `make run` starts it: with the lower claim to the processor."""
    worker = start_nightly_worker(made)
    wait_until(lambda: done_members(made) > 0 or time.sleep(2), "the batch", seconds=60)
    time.sleep(6)
    try:
        yield
    finally:
        worker.kill()


def done_members(made: Installation) -> int:
    return int(
        made.rows(
            "SELECT COUNT(*) FROM recommendations_storedanswer WHERE CAST(member_key AS UNSIGNED)"
            f" >= {FIRST_MEMBER}"
        )[0][0]
    )


def open_loop(
    made: Installation, members: list[str], *, seconds: float, per_second: float = 20
) -> list[float]:
    """Ask at a fixed rate, however slow the answers are; returns milliseconds from when each was due."""
    took: list[float] = []
    rng = random.Random(1)

    def ask(due: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", made.web_port, timeout=30)
        body = json.dumps({"memberId": rng.choice(members), "strategy": "fast"})
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, answer.status
        took.append((time.monotonic() - due) * 1000)

    with ThreadPoolExecutor(64) as pool:
        began = time.monotonic()
        for number in range(int(seconds * per_second)):
            due = began + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            pool.submit(ask, due)
    return took


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


# --- Sync -----------------------------------------------------------------------------------------
TIME_SYNC = """
import time
from recommendations.jobs import like_changes
began = time.monotonic()
found = like_changes.look()
print(len(found.members), len(found.chunks), round(time.monotonic() - began, 3))
found.note()
"""


def sync(options: argparse.Namespace) -> dict[str, Any]:
    with installation(LOG_LEVEL="WARNING") as made:
        populate(made, options.likes // 12)
        looks = {}
        for name in ("first", "nothing changed", "300 unliked"):
            if name == "300 unliked":
                change_likes(made, list(range(FIRST_MEMBER, FIRST_MEMBER + 30_000, 100)))
            members, chunks, seconds = made.shell(TIME_SYNC).split()
            looks[name] = {
                "members": int(members),
                "stretches_read": int(chunks),
                "seconds": float(seconds),
            }
            say(f"  {name}: {looks[name]}")
        kept = made.rows("SELECT SUM(LENGTH(members)) FROM recommendations_likechunk")[0][0]
        return {
            "likes": int(made.rows("SELECT COUNT(*) FROM song_like")[0][0]),
            "looks": looks,
            "kept_mib": round(float(kept) / 2**20, 1),
        }


# --- Rush -----------------------------------------------------------------------------------------
def rush(options: argparse.Namespace) -> dict[str, Any]:
    """Everybody logs in: jobs through both doors, each with and without the rule, on default settings otherwise."""
    consume = {"SONGS_AI_CONSUME_QUEUE": "1", "LLM_CONCURRENCY": "16"}
    with with_model(options.model_url, settings=consume) as made:
        members = populate(made, 4 * options.jobs + 2)
        made.start_web(workers=2)
        made.start_beat()
        start_nightly_worker(made)
        with made.amqp() as channel:
            declare_as_spring(channel)
        found: dict[str, Any] = {"jobs": options.jobs, "processes": 2}
        doors = {"backend's queue": _Backend(made), "POST /recommend/jobs": _Api(made)}
        for door, ask in doors.items():
            found[door] = {}
            for rule, at in (("rule", "10"), ("baseline", "0")):
                mine, members = members[: options.jobs], members[options.jobs :]
                # Its catalog, engine and clients are loaded by a job of its own.
                ask.start(JOBS_RUSH_AT=at)
                _ends(made, ask([members[-1 if rule == "rule" else -2]] * 2), seconds=90)
                found[door][rule] = _one_rush(made, ask, mine, follows=rule == "rule")
                say(f"  {door}, {rule}: {found[door][rule]}")
                ask.stop()
        return found


class _Backend:
    def __init__(self, made: Installation) -> None:
        self.made = made

    def start(self, **settings: str) -> None:
        self.made.start_consumer(**settings)
        wait_until(lambda: self.made.consumers("rec.recommendation.q"), "the consumer")

    def __call__(self, members: list[int]) -> list[str]:
        jobs = dict(spring_body(member, strategy="default") for member in members)
        with self.made.amqp() as channel:
            for body in jobs.values():
                publish_as_spring(channel, body)
        return list(jobs)

    def stop(self) -> None:
        self.made.processes.pop("consumer").stop()


class _Api:
    def __init__(self, made: Installation) -> None:
        self.made = made

    def start(self, **settings: str) -> None:
        self.made.start_worker("worker", "songs_ai.default", **settings)

    def __call__(self, members: list[int]) -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self._post, members))

    def _post(self, member: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.made.web_port, timeout=30)
        body = json.dumps({"memberId": str(member)})
        connection.request("POST", "/recommend/jobs", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        assert answer.status == 202, told
        return str(told["job_id"])

    def stop(self) -> None:
        self.made.processes.pop("worker").stop()


def _one_rush(
    made: Installation, ask: Callable[[list[int]], list[str]], members: list[int], *, follows: bool
) -> dict[str, Any]:
    load, began = os.getloadavg()[0], time.time()
    jobs = ask(members)
    asked_s = time.time() - began
    _ends(made, jobs, seconds=600)
    ended = sorted(_ended_at(made, job) - began for job in jobs)
    answers = [json.loads(made.redis.get(f"job:result:{job}")) for job in jobs]
    found = {
        "asked_s": round(asked_s, 1),
        "first_s": round(ended[0], 1),
        "median_s": round(statistics.median(ended), 1),
        "last_s": round(ended[-1], 1),
        "local": sum(answer["degraded"] == "busy" for answer in answers),
        "model": sum(answer["source"] == "model" for answer in answers),
        # Below the threshold, with a model that did not answer within LLM_DEADLINE_S.
        "model_too_late": sum(
            answer["source"] != "model" and answer["degraded"] != "busy" for answer in answers
        ),
        "with_two_results": len(_doubled(made)),
        "load": round(load, 1),
    }
    if follows:
        hurried = [
            m for m, answer in zip(members, answers, strict=True) if answer["degraded"] == "busy"
        ]
        by_model = lambda: all(_latest_by_model(made, member) for member in hurried)  # noqa: E731
        wait_until(by_model, "the model's versions", seconds=600, every_s=0.5)
        found["all_by_model_s"] = round(time.time() - began, 1)
    return found


def _ends(made: Installation, jobs: list[str], *, seconds: float) -> None:
    status = lambda job: made.redis.hget(f"job:status:{job}", "status")  # noqa: E731
    wait_until(lambda: all(status(job) == b"succeeded" for job in jobs), "jobs", seconds=seconds)


def _ended_at(made: Installation, job: str) -> float:
    said = made.redis.hget(f"job:status:{job}", "finishedAt").decode()
    return datetime.fromisoformat(said).timestamp()


def _latest_by_model(made: Installation, member: int) -> bool:
    """What the app reads and what is served as cached, both by the model."""
    latest = json.loads(made.redis.get(f"latest:recommendation:{member}"))
    meta = json.loads(made.redis.get(f"songs_ai:meta:{member}"))
    return latest["degraded"] != "busy" and meta["source"] == "model"


SCENARIOS = {
    "rush": rush,
    "survive": survive,
    "throughput": throughput,
    "nightly": nightly,
    "drain": drain,
    "sync": sync,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--members", type=int, default=0)
    parser.add_argument("--likes", type=int, default=1_000_000)
    parser.add_argument("--pause-s", type=float, default=8.0, help="between two disasters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model-url", help="a fake model that counts its calls at /__stats")
    options = parser.parse_args()
    stop_on_sigterm()
    options.jobs = options.jobs or (100 if options.scenario == "rush" else 1_000)
    options.members = options.members or (10_000 if options.scenario == "drain" else 1_000)
    say(f"{options.scenario} …")
    figures = SCENARIOS[options.scenario](options)
    say(json.dumps(figures, indent=2, ensure_ascii=False))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"jobs-{options.scenario}.json").write_text(
        json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
