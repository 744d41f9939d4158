"""Checks that no job was lost: in the database, in Redis, in the dead-letter queue and over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import amqp
import pymysql
import redis

from bench.disasters import STORES, Keeper, Outages
from bench.http_callers import Callers
from bench.installation import Installation
from bench.songs_be import DeadLetterListener, Sent

#: Redis holds everything so long after everything is quiet.
REDIS_WITHIN_S = 30.0
#: A job of our own that waits longer, outages left out, was lost.
QUEUED_AT_MOST_S = 120.0
#: What has just come back needs so long to work again.
BACK_TO_WORK_S = 15.0
#: What a job of our own needs to leave the queue.
NEEDED = (*STORES, "worker", "nightly", "beat")
QUEUES = (
    "rec.recommendation.q",
    "rec.recommendation.retry.5s.q",
    "rec.recommendation.retry.30s.q",
    "rec.recommendation.retry.120s.q",
)
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold for each of `of`, and those for which it does not."""

    name: str
    of: int
    wrong: Sequence[str]

    @property
    def failed(self) -> bool:
        return bool(self.wrong)

    def line(self) -> str:
        verdict = f"FAIL {len(self.wrong):5}" if self.wrong else "  ok      "
        return f"  {verdict} of {self.of:5}  {self.name}"

    def examples(self) -> list[str]:
        more = len(self.wrong) - SHOWN
        return [*self.wrong[:SHOWN], *([f"… and {more} more"] if more > 0 else [])]

    def figures(self) -> dict[str, Any]:
        return {"of": self.of, "wrong": len(self.wrong), "examples": self.examples()}


# --- While it runs --------------------------------------------------------------------------------
class Watch(threading.Thread):
    """Measures how long our own jobs wait for a worker, not counting outages."""

    PERIOD_S = 1.0

    def __init__(self, made: Installation, keeper: Keeper, outages: Outages) -> None:
        super().__init__(daemon=True, name="watch")
        self.made, self.keeper, self.outages = made, keeper, outages
        self.stopped = threading.Event()
        #: Seconds in which nothing that a job needs was away.
        self.clock_s = 0.0
        self.seen = 0
        self._since: dict[tuple[str, int, int], tuple[float, str]] = {}
        #: Longest wait of each job that waited too long.
        self.late: dict[str, str] = {}

    def run(self) -> None:
        before = time.monotonic()
        while not self.stopped.wait(self.PERIOD_S):
            now = time.monotonic()
            if self._everything_works():
                self.clock_s += now - before
            before = now
            with suppress(pymysql.MySQLError):
                self._look()

    def _everything_works(self) -> bool:
        starting = [n for n in NEEDED if n not in STORES and self.keeper.up_s(n) < BACK_TO_WORK_S]
        return not starting and not self.outages.away(NEEDED, within_s=BACK_TO_WORK_S)

    def _look(self) -> None:
        waiting = self.made.rows(
            "SELECT uuid, attempt, fence, name FROM recommendations_job WHERE state = 'queued'"
            " AND source <> 'queue' AND (not_before IS NULL OR not_before < NOW())"
        )
        known, self._since = self._since, {}
        for job, attempt, fence, name in waiting:
            key = (str(job), attempt, fence)  # each claim by a worker raises the fence
            self._since[key] = known.get(key, (self.clock_s, name))
            waited_s = self.clock_s - self._since[key][0]
            if waited_s > QUEUED_AT_MOST_S:
                self.late[str(job)] = f"{name} {job}: queued for {waited_s:.0f} s"

    def waiting_longer_than(self, seconds: float) -> list[str]:
        return [
            name for since, name in list(self._since.values()) if self.clock_s - since > seconds
        ]


# --- Outcomes -------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the database says of the jobs."""

    states: dict[str, tuple[str, str]]  #: job id → state, error code
    successes: dict[str, int]  #: job id → attempts that succeeded
    answers: set[str]
    letter_jobs: set[str]
    letter_bodies: set[bytes]

    def in_letters(self, message: Sent) -> bool:
        return message.job_id in self.letter_jobs or message.body in self.letter_bodies


def read_rows(made: Installation) -> Rows:
    letters = made.rows("SELECT job_uuid, body FROM recommendations_deadletter")
    return Rows(
        states={
            _id(job): (state, code)
            for job, state, code in made.rows(
                "SELECT uuid, state, error_code FROM recommendations_job"
            )
        },
        successes={
            _id(job): int(n)
            for job, n in made.rows(
                "SELECT job_id, COUNT(*) FROM recommendations_jobrun"
                " WHERE outcome = 'succeeded' GROUP BY job_id"
            )
        },
        answers={_id(job) for (job,) in made.rows("SELECT job_id FROM recommendations_jobanswer")},
        letter_jobs={job for job, _ in letters if job},
        letter_bodies={bytes(body) for _, body in letters},
    )


def _id(job: object) -> str:
    return str(UUID(str(job)))


def unsettled(made: Installation, sent: Sequence[Sent], listener: DeadLetterListener) -> int:
    """Messages that have no outcome yet."""
    rows = read_rows(made)
    ended = ("succeeded", "failed")
    return sum(
        rows.states.get(m.job_id, ("", ""))[0] not in ended
        if m.kind == "good"
        else bool(_poison_problem(m, rows, listener))
        for m in sent
    )


def _good_problem(message: Sent, rows: Rows) -> str:
    state, code = rows.states.get(message.job_id, ("no row", ""))
    if state != "succeeded":
        return f"{message.job_id}: {state} {code}"
    runs = rows.successes.get(message.job_id, 0)
    if runs != 1 or message.job_id not in rows.answers:
        kept = message.job_id in rows.answers
        return f"{message.job_id}: {runs} results, answer {'kept' if kept else 'missing'}"
    return ""


def _poison_problem(message: Sent, rows: Rows, listener: DeadLetterListener) -> str:
    """Dead-lettered in the table and in the DLQ, or served where that is possible; "" if so."""
    state, code = rows.states.get(message.job_id, ("no row", ""))
    if not message.must_die and state == "succeeded":
        return ""
    in_table = rows.in_letters(message)
    in_dlq = message.body in listener.bodies or message.job_id in listener.job_ids
    if in_table and in_dlq:
        return ""
    return f"{message.kind}: {state} {code}, table {in_table}, DLQ {in_dlq}"


def _redis_problem(client: redis.Redis, message: Sent) -> str:
    status = client.hgetall(f"job:status:{message.job_id}")
    result = client.get(f"job:result:{message.job_id}")
    lacking = []
    if (status.get(b"status"), status.get(b"progress")) != (b"succeeded", b"100"):
        lacking.append(f"job:status {status.get(b'status')!r}")
    if result is None:
        lacking.append("job:result")
    latest = client.get(f"latest:recommendation:{message.member}")
    if latest is None or (latest != result and not _was_followed(result)):
        lacking.append("latest:recommendation")
    if not client.exists(f"recommend:{message.member}"):
        lacking.append("recommend")
    return f"{message.job_id}: {', '.join(lacking)}" if lacking else ""


def _was_followed(result: bytes | None) -> bool:
    """Whether the job answered locally in a rush; then the model's version replaces the member's latest answer."""
    return result is not None and json.loads(result)["degraded"] == "busy"


def _redis_problems(client: redis.Redis, messages: Sequence[Sent]) -> list[str]:
    return [problem for m in messages if (problem := _redis_problem(client, m))]


def in_redis_soon(made: Installation, messages: Sequence[Sent]) -> list[str]:
    """What Redis lacks 30 s after everything went quiet."""
    deadline = time.monotonic() + REDIS_WITHIN_S
    while (problems := _redis_problems(made.redis, messages)) and time.monotonic() < deadline:
        time.sleep(1)
    return problems


def _left_in(made: Installation) -> list[str]:
    with suppress(OSError, amqp.AMQPError):
        depths = {queue: made.depth(queue) for queue in QUEUES}
        return [f"{queue}: {depth}" for queue, depth in depths.items() if depth]
    return ["the broker does not answer"]


def check_all(
    made: Installation,
    sent: Sequence[Sent],
    listener: DeadLetterListener,
    watch: Watch,
    callers: Callers,
) -> list[Check]:
    goods = [message for message in sent if message.kind == "good"]
    poisoned = [message for message in sent if message.kind != "good"]
    rows = read_rows(made)
    wrong = [problem for m in goods if (problem := _good_problem(m, rows))]
    succeeded = [m for m in goods if rows.states.get(m.job_id, ("", ""))[0] == "succeeded"]
    dead = [f"{m.job_id}: dead-lettered" for m in goods if m.job_id in rows.letter_jobs]
    dead += [f"{m.job_id}: in the DLQ" for m in goods if m.job_id in listener.job_ids]
    problems = [p for m in poisoned if (p := _poison_problem(m, rows, listener))]
    promised = [j for j in callers.promised if rows.states.get(j, ("", ""))[0] != "succeeded"]
    calls = sum(n for counts in callers.counts.values() for n in counts.values())
    return [
        Check(name="good jobs have succeeded, with one result", of=len(goods), wrong=wrong),
        Check(name="good jobs are no dead letters", of=len(goods), wrong=dead),
        Check(
            name="jobs with a result have all their Redis keys within 30 s",
            of=len(succeeded),
            wrong=in_redis_soon(made, succeeded),
        ),
        Check(name="poisoned messages are settled", of=len(poisoned), wrong=problems),
        Check(name="queues are empty", of=len(QUEUES), wrong=_left_in(made)),
        Check(
            name="no job of our own waited 2 minutes outside of outages",
            of=_own_jobs(made),
            wrong=[*watch.late.values()],
        ),
        Check(
            name="jobs promised over HTTP have succeeded", of=len(callers.promised), wrong=promised
        ),
        Check(
            name=f"no HTTP answer is a 5xx ({callers.no_promise} × 503 to a new job without a database)",
            of=calls,
            wrong=callers.server_errors,
        ),
        Check(name="a live web process answers", of=calls, wrong=callers.unanswered),
    ]


def _own_jobs(made: Installation) -> int:
    rows = made.rows("SELECT COUNT(*) FROM recommendations_job WHERE source <> 'queue'")
    return int(rows[0][0])
