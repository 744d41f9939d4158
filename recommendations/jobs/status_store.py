"""Reads and writes what Redis says of a job: `job:status`, `job:result`, `latest:recommendation` (contract §2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import redis
from django.conf import settings

from catalog.keys import member_id_of
from infrastructure.redis import gate

#: Present once Redis holds the keys of all recent jobs. Gone after a restart of Redis.
RESTORED_KEY = "songs_ai:sentinel:jobs"
JOB_TTL_S = 86_400


def write_status(job_id: str, fields: Mapping[str, str | int]) -> bool:
    """HSET `job:status:{job}`, always followed by EXPIRE; `progress` goes out as an integer's text."""
    key = f"job:status:{job_id}"
    values: dict[Any, Any] = {name: str(value) for name, value in fields.items()}

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=True)
        pipe.hset(key, mapping=values)
        pipe.expire(key, JOB_TTL_S)
        pipe.execute()

    return gate.attempt(write)


def read_status(job_id: str) -> dict[str, str]:
    raw = gate.call(lambda client: client.hgetall(f"job:status:{job_id}"), {})
    return {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}


def latest_ttl_s(member_key: str) -> int | None:
    """Life of `latest:recommendation`: none for members (contract §2), a result's for users that callers name as they like."""
    return None if member_id_of(member_key) is not None else settings.RESULT_TTL_S


def write_result(job_id: str, member_key: str, answer: bytes) -> bool:
    """Write `job:result:{job}` and `latest:recommendation:{member}`: the JSON of the /recommend answer."""

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set(f"job:result:{job_id}", answer, ex=JOB_TTL_S)
        pipe.set(f"latest:recommendation:{member_key}", answer, ex=latest_ttl_s(member_key))
        pipe.execute()

    return gate.attempt(write)


def follow_latest(member_key: str, answer: bytes, *, instead_of: str) -> bool:
    """Put an answer in the place of the local one of run `instead_of`; False when another one stands there by now."""
    key = f"latest:recommendation:{member_key}"

    def swap(pipe: redis.client.Pipeline) -> bool:
        standing = pipe.get(key)
        ours = standing is None or _run_id(standing) == instead_of  # type: ignore[arg-type]  # bytes
        pipe.multi()
        if ours:
            pipe.set(key, answer, ex=latest_ttl_s(member_key))
        return ours

    return gate.call(
        lambda client: client.transaction(swap, key, value_from_callable=True),  # type: ignore[arg-type]  # its stub knows no value
        False,
    )


def _run_id(answer: bytes) -> str:
    """Empty when another program wrote it."""
    try:
        found = orjson.loads(answer)
    except ValueError:
        return ""
    return str(found.get("run_id", "")) if isinstance(found, dict) else ""


def read_result(job_id: str) -> bytes | None:
    return gate.call(lambda client: client.get(f"job:result:{job_id}"), None)


def redis_lost_jobs() -> bool:
    """Whether Redis has lost the keys of jobs (a restart) and they have to be sent again."""
    return gate.up and not gate.call(lambda client: client.exists(RESTORED_KEY), 1)


def mark_restored(*, now: datetime) -> None:
    gate.attempt(lambda client: client.set(RESTORED_KEY, now.isoformat()))


def restore(
    job_id: str,
    member_key: str,
    fields: Mapping[str, str | int],
    *,
    answer: bytes | None,
    ended: bool,
) -> bool:
    """Write a job's keys from its row without overwriting what is newer than the row.

    A job that has not ended may move while its row is read: only what is missing is written for it.
    """
    key = f"job:status:{job_id}"
    values = {name: str(value) for name, value in fields.items()}

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=True)
        if answer is not None:
            pipe.set(f"job:result:{job_id}", answer, ex=JOB_TTL_S)
            pipe.set(
                f"latest:recommendation:{member_key}",
                answer,
                nx=True,
                ex=latest_ttl_s(member_key),
            )
        for name, value in values.items():
            (pipe.hset if ended else pipe.hsetnx)(key, name, value)
        pipe.expire(key, JOB_TTL_S)
        pipe.execute()

    return gate.attempt(write)


def restore_latest(member_key: str, answer: bytes) -> bool:
    """Write a follow-up's answer where no newer one stands."""
    key = f"latest:recommendation:{member_key}"
    life_s = latest_ttl_s(member_key)
    return gate.attempt(lambda client: client.set(key, answer, nx=True, ex=life_s))


def delete(job_id: str) -> None:
    """Remove a job's keys, because it is going to run again."""
    gate.attempt(lambda client: client.delete(f"job:status:{job_id}", f"job:result:{job_id}"))
