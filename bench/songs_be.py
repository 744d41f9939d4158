"""Does what songs_be does around our queue: queues jobs with their status, sends broken ones too, empties the DLQ."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import amqp
import redis

from bench.installation import Installation, publish_as_spring, spring_body

JOB_TTL_S = 86_400
DEAD_LETTER_QUEUE = "rec.recommendation.dlq"
#: Longest wait for the broker's confirmation; a broker short of memory gives none.
CONFIRM_S = 30.0
#: A member that does not exist.
NOBODY = 10**9


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One message and what has to become of it."""

    job_id: str  #: "" where the body holds none that can be read
    member: int
    body: bytes
    #: "good", or what is wrong with it.
    kind: str = "good"
    #: Must be dead-lettered; a poisoned message that need not may also be served.
    must_die: bool = False
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: Its answer is the member's usual one, which `recommend:{member}` holds.
    plain: bool = True


# --- Messages -------------------------------------------------------------------------------------
def good(member: int, rng: random.Random) -> Sent:
    """A job as songs_be writes it; favourites, strategy and language vary."""
    strategy = rng.choice(("default", "default", "fast", "deep"))
    locale = rng.choice((None, "ko", "rubbish", "ja", "en"))
    job_id, body = spring_body(
        member,
        favorites=rng.choice((None, [], rng.sample(range(1, 100), 5))),
        strategy=strategy,
        top_k=rng.choice((1, 20, 50)),
        locale=locale,
    )
    plain = strategy == "default" and locale not in ("ja", "en")
    return Sent(job_id=job_id, member=member, body=body, plain=plain)


@dataclass(frozen=True, kw_only=True)
class Poison:
    """One way for a message to be broken."""

    kind: str
    #: Breaks the text of a good message; `None` leaves it.
    spoil: Callable[[str], str | bytes] | None = None
    #: The job id is not readable afterwards.
    anonymous: bool = False
    must_die: bool = False
    headers: Mapping[str, Any] = field(default_factory=dict)

    def message(self, member: int) -> Sent:
        job_id, body = spring_body(member)
        spoiled = self.spoil(body.decode()) if self.spoil is not None else body
        return Sent(
            job_id="" if self.anonymous else job_id,
            member=member,
            body=spoiled
            if isinstance(spoiled, bytes)
            else spoiled.encode("utf-8", "surrogatepass"),
            kind=self.kind,
            must_die=self.must_die,
            headers=self.headers,
        )


def _value(name: str, value: str) -> Callable[[str], str]:
    """Put `value` in the place of a member's value; "" removes the member."""

    def spoil(text: str) -> str:
        # Joined as text: 1E+1000000 is JSON, but json.dumps can't write it.
        parts = [part for part in _members(text) if not part.startswith(f'"{name}":')]
        return "{" + ",".join([*parts, f'"{name}":{value}'] if value else parts) + "}"

    return spoil


def _members(text: str) -> list[str]:
    raw: dict[str, Any] = json.loads(text)
    return [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in raw.items()]


def _nested(depth: int) -> dict[str, Any]:
    nested: dict[str, Any] = {"end": 1}
    for _ in range(depth):
        nested = {"x": nested}
    return nested


POISON = (
    Poison(kind="memberId 1E+1000000", spoil=_value("memberId", "1E+1000000"), must_die=True),
    Poison(kind="topK 1E+1000000", spoil=_value("topK", "1E+1000000")),
    Poison(kind="attempt 1E+1000000", spoil=_value("attempt", "1E+1000000")),
    Poison(kind="unknown field 1e99999999999999999999", spoil=_value("x", "1e99999999999999999999")),
    Poison(kind="attempt 2147483648", spoil=_value("attempt", "2147483648")),
    Poison(kind="headers 40 deep", headers={"x-nested": _nested(40)}),
    Poison(kind="cut off", spoil=lambda text: text[:60], anonymous=True, must_die=True),
    Poison(kind="no jobId", spoil=_value("jobId", ""), anonymous=True, must_die=True),
    Poison(kind="no memberId", spoil=_value("memberId", ""), must_die=True),
    Poison(kind="not UTF-8", spoil=lambda text: b"\xff\xfe" + text.encode(), anonymous=True, must_die=True),
    Poison(kind="empty", spoil=lambda text: b"", anonymous=True, must_die=True),
    Poison(kind="an array", spoil=lambda text: f"[{text}]", anonymous=True, must_die=True),
    Poison(kind="arrays 100 000 deep", spoil=lambda text: "[" * 100_000, anonymous=True, must_die=True),
    Poison(kind="jobId is no UUID", spoil=_value("jobId", '"job-7"'), anonymous=True, must_die=True),
    Poison(kind="memberId -1", spoil=_value("memberId", "-1"), must_die=True),
    Poison(kind="memberId NaN", spoil=_value("memberId", "NaN"), must_die=True),
    Poison(kind="nobody's memberId", spoil=_value("memberId", str(NOBODY)), must_die=True),
    Poison(kind="favourites of rubbish", spoil=_value("favoriteSongIds", '[1E+1000000,{"a":[]},-3]')),
    Poison(kind="requestedAt 1E+1000000", spoil=_value("requestedAt", "1E+1000000")),
    Poison(kind="half a surrogate pair", spoil=_value("traceId", '"\\ud800"')),
    Poison(kind="a header of bytes", headers={"x-bytes": b"\xff\x00"}),
    Poison(kind="topK of 5 000 digits", spoil=_value("topK", "9" * 5000)),
)  # fmt: skip


# --- Publishing -----------------------------------------------------------------------------------
class Publisher(threading.Thread):
    """Writes `queued` into Redis, then publishes with confirms; does either again until it worked."""

    def __init__(self, made: Installation, sent: Sequence[Sent], *, per_second: float) -> None:
        super().__init__(daemon=True, name="publisher")
        self.made, self.sent, self.pause_s = made, sent, 1 / per_second
        self.done = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while self.done < len(self.sent) and not self.stopped.is_set():
            # An unconfirmed message is published again, as songs_be's callers do.
            with suppress(OSError, amqp.AMQPError), self.made.amqp() as channel:
                while self.done < len(self.sent) and not self.stopped.is_set():
                    due = began + self.done * self.pause_s
                    self.stopped.wait(max(0.0, due - time.monotonic()))
                    self._send(channel, self.sent[self.done])
                    self.done += 1
            self.stopped.wait(0.5)

    def _send(self, channel: amqp.Channel, message: Sent) -> None:
        if message.job_id:
            until_redis_answers(lambda: self._write_queued(message.job_id), self.stopped)
        publish_as_spring(
            channel, message.body, headers=message.headers, confirm_timeout_s=CONFIRM_S
        )

    def _write_queued(self, job_id: str) -> None:
        """Only once: what is published a second time may be running already."""
        key = f"job:status:{job_id}"
        fields = {"status": "queued", "progress": "0", "submittedAt": instant()}
        if not self.made.redis.exists(key):
            self.made.redis.hset(key, mapping=fields)
            self.made.redis.expire(key, JOB_TTL_S)


def instant() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def until_redis_answers(step: Callable[[], None], stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            return step()
        except redis.RedisError:
            stopped.wait(0.5)
    return None


# --- The dead-letter queue ------------------------------------------------------------------------
class DeadLetterListener(threading.Thread):
    """Acknowledges everything in the DLQ and writes `failed`, DLQ_ARRIVED unless the job has ended."""

    def __init__(self, made: Installation) -> None:
        super().__init__(daemon=True, name="dlq")
        self.made = made
        self.stopped = threading.Event()
        self.bodies: set[bytes] = set()
        self.job_ids: set[str] = set()

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            with suppress(OSError, amqp.AMQPError), self.made.amqp() as channel:
                channel.auto_decode = False
                channel.basic_consume(DEAD_LETTER_QUEUE, callback=self._take)
                self._listen(channel)

    def _listen(self, channel: amqp.Channel) -> None:
        while not self.stopped.is_set():
            with suppress(TimeoutError):
                channel.connection.drain_events(timeout=1)

    def _take(self, message: amqp.Message) -> None:
        body = message.body or b""  # py-amqp gives text when there are no bytes
        job_id = readable_job_id(body)
        if job_id:
            until_redis_answers(lambda: self._write_failed(job_id), self.stopped)
            self.job_ids.add(job_id)
        self.bodies.add(body)
        message.channel.basic_ack(message.delivery_tag)

    def _write_failed(self, job_id: str) -> None:
        key = f"job:status:{job_id}"
        if self.made.redis.hget(key, "status") in (b"succeeded", b"failed"):
            return
        fields = {
            "status": "failed",
            "finishedAt": instant(),
            "error.code": "DLQ_ARRIVED",
            "error.message": "arrived in the dead-letter queue",
        }
        self.made.redis.hset(key, mapping=fields)
        self.made.redis.expire(key, JOB_TTL_S)


def readable_job_id(body: bytes) -> str:
    """The job id of a body, "" when there is none."""
    try:
        # Numbers stay text: Python refuses to read some that are JSON.
        raw = json.loads(body, parse_int=str, parse_float=str)
        return str(uuid.UUID(raw["jobId"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
