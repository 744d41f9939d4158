"""Stores and reads the answer in force for each member: a row in the database, a copy in Redis (contract §2)."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import redis
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS, guard, upsert
from infrastructure.redis import gate
from recommendations.models import StoredAnswer

from . import memory_cache
from .memory_cache import CachedAnswer

log = logging.getLogger(__name__)
#: Present once Redis holds every answer of the database. Gone after a restart of Redis.
SENTINEL = "songs_ai:sentinel"


@dataclass(frozen=True, kw_only=True)
class AnswerMeta:
    """What is stored beside an answer: how fresh it is, and what a new computation reuses."""

    run_id: str
    fingerprint: str
    favorites_sha: str
    source: str
    degraded: str = ""
    count: int = 0
    generated_at: str  #: ISO-8601 with offset
    versions: dict[str, str] = field(default_factory=dict)
    #: Song ids the model picked, best first, and its taglines by label: reused when only engine or catalog changed.
    picks: list[int] = field(default_factory=list)
    taglines: dict[str, str] = field(default_factory=dict)
    model_weight: float = 0.5
    locale: str = "ko"
    #: Sent to Redis beside the answer as `preference:{member}`.
    preference: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SavedAnswer:
    """An answer in force and its meta data."""

    body: bytes
    meta: AnswerMeta


def _sha(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def _decode_meta(raw: bytes | None, body: bytes) -> AnswerMeta | None:
    """None when it was not written for this body (another program wrote over our answer)."""
    if raw is None:
        return None
    values = orjson.loads(raw)
    if values.pop("body_sha", "") != _sha(body):
        return None
    known = AnswerMeta.__dataclass_fields__
    return AnswerMeta(**{name: value for name, value in values.items() if name in known})


def _meta_key(member_key: str) -> str:
    return f"songs_ai:meta:{member_key}"


# --- Writing --------------------------------------------------------------------------------------
def save(member_key: str, body: bytes, meta: AnswerMeta, *, now: datetime) -> str:
    """Store the plain answer: the row first, then Redis, then tell every process.

    Returns "" or the store that could not be written ("database", "redis").
    """
    missing = ""
    try:
        with guard():
            row = StoredAnswer(
                member_key=member_key,
                body=zlib.compress(body, 6),
                meta=asdict(meta),
                run_uuid=UUID(meta.run_id),
                generated_at=now,
                expires_at=now + timedelta(seconds=settings.RESULT_TTL_S),
            )
            upsert(row, key="member_key")
    except DATABASE_FAULTS as error:
        log.warning("An answer could not be written to the database: %s", type(error).__name__)
        missing = "database"
    if gate.configured and not _send(member_key, body, meta, ttl_s=settings.RESULT_TTL_S):
        # The row is sent when Redis returns; without a database there is nothing to mark.
        with suppress(*DATABASE_FAULTS), guard():
            StoredAnswer.objects.filter(pk=member_key).update(redis_pending=True)
        missing = missing or "redis"
    memory_cache.invalidate(member_key)
    return missing


def _send(member_key: str, body: bytes, meta: AnswerMeta, *, ttl_s: int) -> bool:
    packed_meta = orjson.dumps(asdict(meta) | {"body_sha": _sha(body)})

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set(f"recommend:{member_key}", body, ex=ttl_s)
        pipe.set(_meta_key(member_key), packed_meta, ex=ttl_s)
        if meta.preference:
            pipe.set(f"preference:{member_key}", orjson.dumps(meta.preference), ex=ttl_s)
        pipe.execute()

    return gate.attempt(write)


def renew(member_key: str, *, now: datetime) -> None:
    """Give an unchanged answer its full life again."""
    expires_at = now + timedelta(seconds=settings.RESULT_TTL_S)
    StoredAnswer.objects.filter(member_key=member_key).update(expires_at=expires_at)

    def extend(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=False)
        for key in (f"recommend:{member_key}", _meta_key(member_key), f"preference:{member_key}"):
            pipe.expire(key, settings.RESULT_TTL_S)
        pipe.execute()

    gate.attempt(extend)


# --- Reading --------------------------------------------------------------------------------------
def read(member_key: str) -> SavedAnswer | None:
    """The plain answer with its meta data; None when there is none of ours."""
    body, raw = gate.call(
        lambda client: tuple(client.mget(f"recommend:{member_key}", _meta_key(member_key))),
        (None, None),
    )
    if body is not None and (meta := _decode_meta(raw, body)) is not None:
        return SavedAnswer(body=body, meta=meta)
    if body is not None and gate.up:
        return None  # another program's value: served as it is, never taken for ours
    row = _row(member_key)
    if row is None:
        return None
    return SavedAnswer(body=zlib.decompress(row.body), meta=AnswerMeta(**row.meta))


def _row(member_key: str) -> StoredAnswer | None:
    try:
        with guard():
            return StoredAnswer.objects.filter(
                member_key=member_key, expires_at__gt=timezone.now()
            ).first()
    except DATABASE_FAULTS:
        return None


def read_cached(member_key: str) -> CachedAnswer | None:
    """The cached answer as it is sent, from memory, Redis or the database; None when nothing is cached."""
    memory_cache.listener.start()
    hit = memory_cache.answers.get(member_key)
    if hit is not None:
        return hit
    generation = memory_cache.answers.generation
    stored = _stored_bytes(member_key)
    return None if stored is None else _remember(member_key, stored, generation=generation)


def _remember(member_key: str, stored: bytes, *, generation: int) -> CachedAnswer | None:
    """Stored bytes as they are sent, kept in memory; None when they are no recommendation."""
    try:
        answer = CachedAnswer.of(stored)
    except ValueError:
        log.warning("recommend:%s holds something that is no recommendation", member_key)
        return None
    memory_cache.answers.put(member_key, answer, generation=generation)
    return answer


def read_cached_in_redis(member_keys: Sequence[str]) -> dict[str, CachedAnswer | None]:
    """What `read_cached` gives for each key, in one round trip to Redis; keys left out need the database."""
    memory_cache.listener.start()
    generation = memory_cache.answers.generation
    found = gate.values(*(f"recommend:{key}" for key in member_keys), SENTINEL)
    if found is None:
        return {}
    *bodies, holds_everything = found
    return {
        key: None if body is None else _remember(key, body, generation=generation)
        for key, body in zip(member_keys, bodies, strict=True)
        if body is not None or holds_everything
    }


def last_known_favorites(member_key: str) -> list[int]:
    """Favourites of the stored answer: all that is known of a member while the database is down."""
    answer = read_cached(member_key)
    return [] if answer is None else orjson.loads(answer.body)["favorite_song_ids"]


def _stored_bytes(member_key: str) -> bytes | None:
    found = gate.values(f"recommend:{member_key}", SENTINEL)
    if found is None:
        return _body_of_row(member_key)
    body, holds_everything = found
    if body is None and not holds_everything:
        return _body_of_row(member_key)
    return body  # Redis holds every answer: None means there is none, without a query


def _body_of_row(member_key: str) -> bytes | None:
    """The database's copy. Closes old connections as Django does around a request: cached reads bypass it."""
    close_old_connections()
    try:
        row = _row(member_key)
    finally:
        close_old_connections()
    return None if row is None else zlib.decompress(row.body)


# --- Sending to Redis what it lacks ---------------------------------------------------------------
def rebuild_redis(*, now: datetime, batch: int = 500) -> int:
    """Send all living answers after Redis lost its data, else those written while it was down.

    Returns how many were sent. Safe to run twice and from several processes.
    """
    if not gate.up:
        return 0
    lost_data = not gate.call(lambda client: client.exists(SENTINEL), 1)
    rows = StoredAnswer.objects.filter(expires_at__gt=now)
    if not lost_data:
        rows = rows.filter(redis_pending=True)
    sent = 0
    for row in rows.order_by("pk").iterator(chunk_size=batch):
        ttl_s = int((row.expires_at - now).total_seconds())
        if not _send(
            row.member_key, zlib.decompress(row.body), AnswerMeta(**row.meta), ttl_s=max(1, ttl_s)
        ):
            return sent
        StoredAnswer.objects.filter(pk=row.pk, run_uuid=row.run_uuid).update(redis_pending=False)
        memory_cache.invalidate(row.member_key)
        sent += 1
    gate.attempt(lambda client: client.set(SENTINEL, now.isoformat()))
    return sent
