"""Keeps served answers in this process's memory, and drops those that other processes report as changed."""

from __future__ import annotations

import gzip
import logging
import os
import threading
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import redis
from django.conf import settings

from infrastructure.redis import gate

from .answer_payload import OWN_PREFIX
from .foreign_answers import normalize

log = logging.getLogger(__name__)
#: Every process publishes here the member whose answer changed.
CHANNEL = "songs_ai:invalidate"
#: Longest life of an entry while the channel is closed and changes elsewhere go unnoticed.
TTL_WITHOUT_CHANNEL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class CachedAnswer:
    """A cached answer as it is sent: `…,"cached":true}`, its ETag, and the same bytes compressed."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, stored: bytes) -> CachedAnswer:
        """From the value of `recommend:{member}`. Raises ValueError when that is no JSON object."""
        body = with_cached_flag(stored)
        # Two checksums: an eighth of a digest's time, and a tag guards against change, not against malice.
        return cls(body=body, etag=f'"{zlib.crc32(body):08x}{zlib.adler32(body):08x}"')

    @property
    def is_gzipped(self) -> bool:
        """Whether a caller wanted it compressed already."""
        return "gzipped" in self.__dict__

    @cached_property
    def gzipped(self) -> bytes:
        """Compressed for the first caller who wants it, then kept beside the body."""
        return gzip.compress(self.body, compresslevel=5, mtime=0)


def with_cached_flag(stored: bytes) -> bytes:
    """Put `"cached":true` before the last brace of our own value; normalise another program's first."""
    own = stored if stored.startswith(OWN_PREFIX) and stored.endswith(b"}") else normalize(stored)
    return own[:-1] + b',"cached":true}'


class MemoryCache:
    """A bounded number of answers, oldest out first; safe to use from many threads."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, CachedAnswer]] = OrderedDict()
        self._lock = threading.Lock()
        self._drops = 0

    @property
    def generation(self) -> int:
        """Rises with every drop; see `put`."""
        return self._drops

    def get(self, member_key: str) -> CachedAnswer | None:
        entry = self._entries.get(member_key)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    def put(self, member_key: str, answer: CachedAnswer, *, generation: int | None = None) -> None:
        """Keep an answer.

        generation: what it was before the answer was read; a slow reader does not put back what
        was dropped meanwhile.
        """
        ttl_s = settings.L1_TTL_S
        if not listener.connected:
            ttl_s = min(ttl_s, TTL_WITHOUT_CHANNEL_S)
        if ttl_s <= 0 or settings.L1_MAX_ENTRIES == 0:
            return
        with self._lock:
            if generation is not None and generation != self._drops:
                return
            self._entries[member_key] = (time.monotonic() + ttl_s, answer)
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


class InvalidationListener:
    """Subscribes to the members whose answers changed in other processes, and drops them here."""

    RETRY_S = 1.0
    PING_EVERY_S = 0.3
    #: A channel silent for so long counts as closed.
    SILENCE_S = 0.9

    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether the channel is open, so that entries may live their full life."""
        return self._connected and self._pid == os.getpid()

    def start(self) -> None:
        """Start listening, once per process (again after a fork)."""
        if not gate.configured or self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid, self._connected = os.getpid(), False
            threading.Thread(target=self._run, name="l1-listener", daemon=True).start()

    def _run(self) -> None:
        while gate.configured:  # False only after a test that had a Redis of its own
            try:
                self._listen()
            except (redis.RedisError, OSError):
                log.info("The invalidation channel is closed; trying again")
            self._connected = False
            answers.clear()  # changes while the channel is closed go unnoticed
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
            answers.clear()
            self._connected = True
            self._drop_changed(channel)
        finally:
            channel.close()
            client.close()

    def _drop_changed(self, channel: redis.client.PubSub) -> None:
        """Drop what other processes name. Pings, so that a Redis that hangs counts as down within a second."""
        pinged_at = answered_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now - answered_at > self.SILENCE_S:
                raise redis.ConnectionError("no reply on the invalidation channel")
            if now - pinged_at > self.PING_EVERY_S:
                channel.ping()
                pinged_at = now
            message = channel.get_message(timeout=self.PING_EVERY_S / 2)
            if message is None:
                continue
            answered_at = time.monotonic()
            if message["type"] == "message":
                answers.drop(message["data"].decode("utf-8", "replace"))


answers = MemoryCache()
listener = InvalidationListener()


def invalidate(member_key: str) -> None:
    """Drop a member's answer here at once and in every other process within a second."""
    answers.drop(member_key)
    gate.attempt(lambda client: client.publish(CHANNEL, member_key))
