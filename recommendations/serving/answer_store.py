"""The one writer and the one reader of every record shared through Redis (contract §2), and of its truth in the database."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
import redis
from django.conf import settings
from django.core.cache import cache
from django.db import close_old_connections
from django.utils import timezone

from catalog.queries import DATABASE_FAULTS, guard, upsert
from infrastructure.redis import gate
from prompts.llm import sanitizing

from ..models import StoredAnswer

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Our own values begin so; any other value under the key was written by somebody else.
OWN_PREFIX = b'{"favorite_song_ids":'
CHANNEL = "songs_ai:invalidate"
#: Present once Redis holds what the database holds. Gone after a restart of Redis.
SENTINEL = "songs_ai:sentinel"
#: The same for the keys of jobs.
JOBS_SENTINEL = "songs_ai:sentinel:jobs"
JOB_TTL_S = 86_400
VARIANT_TTL_S = 3_600
VARIANTS_PER_MEMBER = 8
#: L1 entries live no longer than this while other processes can't tell us about changes.
L1_TTL_UNHEARD_S = 1.0


# --- Bytes as they are served ---------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Served:
    """A cached answer as it leaves the house: `…,"cached":true}`, its tag, and the same compressed."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, stored: bytes) -> Served:
        body = with_cached_flag(stored)
        # Two checksums: an eighth of a digest's time, and a tag guards against change, not against malice.
        return cls(body=body, etag=f'"{zlib.crc32(body):08x}{zlib.adler32(body):08x}"')

    @property
    def is_packed(self) -> bool:
        """Whether somebody wanted it compressed already."""
        return "packed" in self.__dict__

    @cached_property
    def packed(self) -> bytes:
        """Made when the first caller wants it, kept beside the body from then on."""
        return gzip.compress(self.body, compresslevel=5, mtime=0)


def with_cached_flag(stored: bytes) -> bytes:
    """Put `"cached":true` before the last brace of our own value; normalise anybody else's."""
    own = stored if stored.startswith(OWN_PREFIX) and stored.endswith(b"}") else normalised(stored)
    return own[:-1] + b',"cached":true}'


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _whole(value: Any, *, positive: bool = False) -> int | None:
    """An integer out of what other writers left: 7, "7", 7.0; None when it is none."""
    try:
        number = int(float(value)) if not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return None if number is None or (positive and number <= 0) else number


_TEXTS = ("title_jp", "title_kr", "title_en", "title_yomi", "artist", "artist_kr")


def _foreign_song(raw: Mapping[str, Any]) -> dict[str, Any]:
    song: dict[str, Any] = {}
    if (song_id := _whole(raw.get("song_id"))) is not None:
        song["song_id"] = song_id
    song |= {name: _text(raw.get(name)) for name in _TEXTS}
    song |= {name: _whole(raw.get(name), positive=True) for name in ("tj_number", "ky_number")}
    return song


def _foreign_candidate(raw: Mapping[str, Any]) -> dict[str, Any]:
    score = raw.get("match_score")
    kind = raw.get("recommendation_type")
    criteria = raw.get("matched_criteria")
    return _foreign_song(raw) | {
        "genre": _text(raw.get("genre")),
        "mood": _text(raw.get("mood")),
        "recommendation_type": kind if kind in ("preference", "random") else "preference",
        "matched_criteria": [_text(item) for item in criteria]
        if isinstance(criteria, list)
        else [],
        "match_score": score
        if isinstance(score, int | float) and not isinstance(score, bool)
        else 0,
        "reason": _text(raw.get("reason")),
    }


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def normalised(stored: bytes) -> bytes:
    """Bring another writer's value into our shape: the old scheduler's, songs_be's re-serialised answer.

    Raises ValueError when it is no JSON object.
    """
    raw = orjson.loads(stored)
    if not isinstance(raw, dict):
        raise ValueError("the stored recommendation is no JSON object")
    nested = raw.get("recommendations")
    nested = nested if isinstance(nested, dict) else {}
    favorites = raw.get("favorite_song_ids", raw.get("favorites"))
    groups = [
        {
            "label": _text(group.get("label")),
            "tagline": _text(group.get("tagline")) or _text(group.get("label")),
            "songs": [_foreign_song(song) for song in _mappings(group.get("songs"))],
        }
        for group in _mappings(raw.get("groups") or nested.get("groups"))
    ]
    candidates = raw.get("candidates") or nested.get("candidates")
    return encoded_answer(
        favorite_song_ids=[
            n
            for n in map(_whole, favorites if isinstance(favorites, list) else [])
            if n is not None
        ],
        groups=groups,
        candidates=[_foreign_candidate(item) for item in _mappings(candidates)],
        generated_date=_text(raw.get("generated_date")),
    )


def encoded_answer(
    *, favorite_song_ids: list[int], groups: list[Any], candidates: list[Any], generated_date: str
) -> bytes:
    """The value of `recommend:{member}`; `favorite_song_ids` stands first, see OWN_PREFIX."""
    return orjson.dumps(
        {
            "favorite_song_ids": favorite_song_ids,
            "groups": groups,
            "candidates": candidates,
            "generated_date": generated_date,
        }
    )


# --- Level 1: this process's memory ---------------------------------------------------------------
class L1:
    """A bounded memory of served answers, oldest out first; safe to use from many threads."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, Served]] = OrderedDict()
        self._lock = threading.Lock()
        #: Moves with every drop, so that a slow reader does not put back what was just dropped.
        self._drops = 0

    @property
    def ticket(self) -> int:
        return self._drops

    def get(self, member_key: str) -> Served | None:
        entry = self._entries.get(member_key)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    def put(self, member_key: str, served: Served, *, ticket: int | None = None) -> None:
        ttl_s = settings.L1_TTL_S if listener.heard else min(settings.L1_TTL_S, L1_TTL_UNHEARD_S)
        if ttl_s <= 0 or settings.L1_MAX_ENTRIES == 0:
            return
        with self._lock:
            if ticket is not None and ticket != self._drops:
                return
            self._entries[member_key] = (time.monotonic() + ttl_s, served)
            self._entries.move_to_end(member_key)
            while len(self._entries) > settings.L1_MAX_ENTRIES:
                self._entries.popitem(last=False)

    def drop(self, member_key: str) -> None:
        with self._lock:
            self._drops += 1
            self._entries.pop(member_key, None)

    def clear(self) -> None:
        with self._lock:
            self._drops += 1
            self._entries.clear()


class Listener:
    """Hears from other processes which members' answers changed, and drops them here."""

    RETRY_S = 1.0
    PING_EVERY_S = 0.3
    SILENCE_S = 0.9

    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._heard = False

    @property
    def heard(self) -> bool:
        """Whether the channel is open, so that L1 entries may live their full life."""
        return self._heard and self._pid == os.getpid()

    def start(self) -> None:
        """Begin to listen, once per process (again after a fork)."""
        if not gate.configured or self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid, self._heard = os.getpid(), False
            threading.Thread(target=self._run, name="l1-listener", daemon=True).start()

    def _run(self) -> None:
        while gate.configured:  # a test that had a Redis of its own is over
            try:
                self._listen()
            except (redis.RedisError, OSError):
                log.info("The invalidation channel is closed; trying again")
            self._heard = False
            l1.clear()  # what changed meanwhile was not heard
            time.sleep(self.RETRY_S)
        self._pid = 0

    def _listen(self) -> None:
        # A connection of its own: a subscriber waits much longer than REDIS_TIMEOUT_S.
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1
        )
        channel = client.pubsub(ignore_subscribe_messages=True)
        try:
            channel.subscribe(CHANNEL)
            l1.clear()
            self._heard = True
            self._hear(channel)
        finally:
            channel.close()
            client.close()

    def _hear(self, channel: redis.client.PubSub) -> None:
        """Drop what other processes name. Pings, so that a Redis that hangs counts as away within a second."""
        asked = answered = time.monotonic()
        while True:
            now = time.monotonic()
            if now - answered > self.SILENCE_S:
                raise redis.ConnectionError("the channel fell silent")
            if now - asked > self.PING_EVERY_S:
                channel.ping()
                asked = now
            message = channel.get_message(timeout=self.PING_EVERY_S / 2)
            if message is None:
                continue
            answered = time.monotonic()
            if message["type"] == "message":
                l1.drop(message["data"].decode("utf-8", "replace"))


l1 = L1()
listener = Listener()


# --- Level 2: Redis over the database -------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Meta:
    """What is kept beside an answer: how fresh it is and what to keep when it is made anew."""

    run_id: str
    fingerprint: str
    favorites_sha: str
    source: str
    degraded: str = ""
    count: int = 0
    generated_at: str  #: ISO-8601 with offset
    versions: dict[str, str] = field(default_factory=dict)
    #: Song ids the model picked, best first, and its taglines by label: kept when only engine or catalog changed.
    picks: list[int] = field(default_factory=list)
    taglines: dict[str, str] = field(default_factory=dict)
    model_weight: float = 0.5
    locale: str = "ko"
    #: What goes out beside the answer as `preference:{member}`.
    preference: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An answer in force and what is known of it."""

    body: bytes
    meta: Meta


def _sha(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def _pack_meta(meta: Meta, body: bytes) -> bytes:
    return orjson.dumps(asdict(meta) | {"body_sha": _sha(body)})


def _unpack_meta(raw: bytes | None, body: bytes) -> Meta | None:
    """None when the body is not the one this was written for (somebody else wrote over it)."""
    if raw is None:
        return None
    values = orjson.loads(raw)
    if values.pop("body_sha", "") != _sha(body):
        return None
    known = Meta.__dataclass_fields__
    return Meta(**{name: value for name, value in values.items() if name in known})


def _meta_key(member_key: str) -> str:
    return f"songs_ai:meta:{member_key}"


def save(member_key: str, body: bytes, meta: Meta, *, now: datetime) -> str:
    """Store the plain answer: the row first, then Redis, then tell every process.

    Returns "" or the store that could not be written ("database", "redis").
    """
    missing = ""
    try:
        with guard():
            _save_row(member_key, body, meta, now=now)
    except DATABASE_FAULTS as error:
        log.warning("An answer could not be written to the database: %s", type(error).__name__)
        missing = "database"
    if gate.configured and not _send(member_key, body, meta, ttl_s=settings.RESULT_TTL_S):
        _owe_to_redis(member_key)
        missing = missing or "redis"
    forget(member_key)
    return missing


def _owe_to_redis(member_key: str) -> None:
    """Mark the row to be sent when Redis returns; without a database there is nothing to mark."""
    with suppress(*DATABASE_FAULTS), guard():
        StoredAnswer.objects.filter(pk=member_key).update(redis_pending=True)


def _save_row(member_key: str, body: bytes, meta: Meta, *, now: datetime) -> None:
    row = StoredAnswer(
        member_key=member_key,
        body=zlib.compress(body, 6),
        meta=asdict(meta),
        run_uuid=UUID(meta.run_id),
        generated_at=now,
        expires_at=now + timedelta(seconds=settings.RESULT_TTL_S),
    )
    upsert(row, key="member_key")


def _send(member_key: str, body: bytes, meta: Meta, *, ttl_s: int) -> bool:
    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set(f"recommend:{member_key}", body, ex=ttl_s)
        pipe.set(_meta_key(member_key), _pack_meta(meta, body), ex=ttl_s)
        if meta.preference:
            pipe.set(f"preference:{member_key}", orjson.dumps(meta.preference), ex=ttl_s)
        pipe.execute()

    return gate.attempt(write)


def forget(member_key: str) -> None:
    """Drop a member's answer from L1 here at once and in every other process within a second."""
    l1.drop(member_key)
    gate.attempt(lambda client: client.publish(CHANNEL, member_key))


def discard(member_key: str) -> None:
    """Remove the plain answer everywhere."""
    StoredAnswer.objects.filter(member_key=member_key).delete()
    gate.attempt(lambda client: client.delete(f"recommend:{member_key}", _meta_key(member_key)))
    forget(member_key)


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


def read(member_key: str) -> Stored | None:
    """The plain answer with what is known of it; None when there is none of ours."""
    body, raw = gate.call(
        lambda client: tuple(client.mget(f"recommend:{member_key}", _meta_key(member_key))),
        (None, None),
    )
    if body is not None and (meta := _unpack_meta(raw, body)) is not None:
        return Stored(body=body, meta=meta)
    if body is not None and gate.up:
        return None  # somebody else's value: served as it is, never taken for ours
    row = _row(member_key)
    return None if row is None else Stored(body=zlib.decompress(row.body), meta=Meta(**row.meta))


def _row(member_key: str) -> StoredAnswer | None:
    try:
        with guard():
            return StoredAnswer.objects.filter(
                member_key=member_key, expires_at__gt=timezone.now()
            ).first()
    except DATABASE_FAULTS:
        return None


def served(member_key: str) -> Served | None:
    """The cached answer as it leaves the house, from L1, Redis or the database; None when nothing is cached."""
    listener.start()
    hit = l1.get(member_key)
    if hit is not None:
        return hit
    ticket = l1.ticket
    stored = _stored_bytes(member_key)
    return None if stored is None else _remembered(member_key, stored, ticket=ticket)


def _remembered(member_key: str, stored: bytes, *, ticket: int) -> Served | None:
    """Stored bytes as they are served, kept in L1; None when they are no recommendation."""
    try:
        made = Served.of(stored)
    except ValueError:
        log.warning("recommend:%s holds something that is no recommendation", member_key)
        return None
    l1.put(member_key, made, ticket=ticket)
    return made


def served_by_redis(member_keys: Sequence[str]) -> dict[str, Served | None]:
    """What `served` gives for each key, in one round trip to Redis; keys left out need the database."""
    listener.start()
    ticket = l1.ticket
    found = gate.values(*(f"recommend:{key}" for key in member_keys), SENTINEL)
    if found is None:
        return {}
    *bodies, holds_everything = found
    return {
        key: None if body is None else _remembered(key, body, ticket=ticket)
        for key, body in zip(member_keys, bodies, strict=True)
        if body is not None or holds_everything
    }


def known_favorites(member_key: str) -> list[int]:
    """Favourites of the stored answer: what is left to know of a member while the database is away."""
    answer = served(member_key)
    return [] if answer is None else orjson.loads(answer.body)["favorite_song_ids"]


def _stored_bytes(member_key: str) -> bytes | None:
    found = gate.values(f"recommend:{member_key}", SENTINEL)
    if found is None:
        return _body_of_row(member_key)
    body, holds_everything = found
    if body is None and not holds_everything:
        return _body_of_row(member_key)
    return body  # where Redis holds everything no is no, and costs no query


def _body_of_row(member_key: str) -> bytes | None:
    """The database's copy. Cares for connections as Django does around a request: the hot path is none."""
    close_old_connections()
    try:
        row = _row(member_key)
    finally:
        close_old_connections()
    return None if row is None else zlib.decompress(row.body)


def rebuild_redis(*, now: datetime, batch: int = 500) -> int:
    """Send to Redis what it lacks: all living answers after it forgot, else those written while it was away.

    Returns how many were sent. Safe to run twice and from several processes.
    """
    if not gate.up:
        return 0
    forgot = not gate.call(lambda client: client.exists(SENTINEL), 1)
    rows = StoredAnswer.objects.filter(expires_at__gt=now)
    if not forgot:
        rows = rows.filter(redis_pending=True)
    sent = 0
    for row in rows.order_by("pk").iterator(chunk_size=batch):
        ttl_s = int((row.expires_at - now).total_seconds())
        if not _send(
            row.member_key, zlib.decompress(row.body), Meta(**row.meta), ttl_s=max(1, ttl_s)
        ):
            return sent
        StoredAnswer.objects.filter(pk=row.pk, run_uuid=row.run_uuid).update(redis_pending=False)
        forget(row.member_key)
        sent += 1
    gate.attempt(lambda client: client.set(SENTINEL, now.isoformat()))
    return sent


# --- Variants: answers for a context, a dial, another language ------------------------------------
def _variants_key(member_key: str) -> str:
    # Quoted: Django's cache warns of blanks in a key.
    return f"variants:{quote(member_key, safe='')}"


def _variant_key(member_key: str, variant: str) -> str:
    return f"variant:{quote(member_key, safe='')}:{variant}"


def save_variant(member_key: str, variant: str, body: bytes, meta: Meta) -> None:
    """Keep an answer that is not the plain one, at most an hour and eight per member."""
    gate.in_cache(lambda: _save_variant(member_key, variant, body, meta), None)


def _save_variant(member_key: str, variant: str, body: bytes, meta: Meta) -> None:
    index_key = _variants_key(member_key)
    names = [name for name in cache.get(index_key, []) if name != variant] + [variant]
    for old in names[:-VARIANTS_PER_MEMBER]:
        cache.delete(_variant_key(member_key, old))
    cache.set(_variant_key(member_key, variant), (body, asdict(meta)), VARIANT_TTL_S)
    cache.set(index_key, names[-VARIANTS_PER_MEMBER:], VARIANT_TTL_S)


def read_variant(member_key: str, variant: str) -> Stored | None:
    found = gate.in_cache(lambda: cache.get(_variant_key(member_key, variant)), None)
    return None if found is None else Stored(body=found[0], meta=Meta(**found[1]))


def forget_variants(member_key: str) -> None:
    gate.in_cache(lambda: _forget_variants(member_key), None)


def _forget_variants(member_key: str) -> None:
    names = cache.get(_variants_key(member_key), [])
    cache.delete_many(
        [_variant_key(member_key, name) for name in names] + [_variants_key(member_key)]
    )


# --- Preference -----------------------------------------------------------------------------------
def read_preference(member_key: str) -> dict[str, Any] | None:
    """`preference:{member}`, or what the old API left under `pref:{member}`; None when neither is readable."""
    for value in gate.call(
        lambda client: client.mget(f"preference:{member_key}", f"pref:{member_key}"), [None, None]
    ):
        if value is None:
            continue
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            continue
        if isinstance(parsed, dict) and isinstance(parsed.get("preference"), dict):
            return parsed
    return None


def known_taste(member_key: str, favorite_ids: Iterable[int]) -> str:
    """The taste in words that lies in Redis for exactly these favourites, from us or the old API; "" without one."""
    kept = read_preference(member_key)
    if kept is None:
        return ""
    named = kept.get("favorite_song_ids")
    of = {_whole(song_id) for song_id in named} if isinstance(named, list) else set()
    said = kept["preference"].get("overall_taste")
    return sanitizing.taste_text(said) if of == set(favorite_ids) else ""


# --- Jobs (contract §2): status hash, result, latest ----------------------------------------------
def job_status(job_id: str, fields: Mapping[str, str | int]) -> bool:
    """HSET `job:status:{job}`, always followed by EXPIRE; `progress` goes out as an integer's text."""
    key = f"job:status:{job_id}"
    values: dict[Any, Any] = {name: str(value) for name, value in fields.items()}

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=True)
        pipe.hset(key, mapping=values)
        pipe.expire(key, JOB_TTL_S)
        pipe.execute()

    return gate.attempt(write)


def read_job_status(job_id: str) -> dict[str, str]:
    raw = gate.call(lambda client: client.hgetall(f"job:status:{job_id}"), {})
    return {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}


def job_result(job_id: str, member_key: str, answer: bytes) -> bool:
    """Write `job:result:{job}` and `latest:recommendation:{member}`: the JSON of the /recommend answer."""

    def write(client: redis.Redis) -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set(f"job:result:{job_id}", answer, ex=JOB_TTL_S)
        pipe.set(f"latest:recommendation:{member_key}", answer)
        pipe.execute()

    return gate.attempt(write)


def read_job_result(job_id: str) -> bytes | None:
    return gate.call(lambda client: client.get(f"job:result:{job_id}"), None)


def forgot_jobs() -> bool:
    """Whether Redis has lost its jobs' keys (a restart) and waits for them to be sent again."""
    return gate.up and not gate.call(lambda client: client.exists(JOBS_SENTINEL), 1)


def note_jobs_restored(*, now: datetime) -> None:
    gate.attempt(lambda client: client.set(JOBS_SENTINEL, now.isoformat()))


def restore_job(
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
            pipe.set(f"latest:recommendation:{member_key}", answer, nx=True)
        for name, value in values.items():
            (pipe.hset if ended else pipe.hsetnx)(key, name, value)
        pipe.expire(key, JOB_TTL_S)
        pipe.execute()

    return gate.attempt(write)


def forget_job(job_id: str) -> None:
    """Remove a job's keys: it is asked for again."""
    gate.attempt(lambda client: client.delete(f"job:status:{job_id}", f"job:result:{job_id}"))


def members_with_answers(member_keys: Iterable[str], *, now: datetime) -> set[str]:
    """Those of `member_keys` that have a living plain answer."""
    rows = StoredAnswer.objects.filter(member_key__in=list(member_keys), expires_at__gt=now)
    return set(rows.values_list("member_key", flat=True))
