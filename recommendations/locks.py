"""Locks shared by all processes: one holder per key, for a limited time; in Redis, else in the database."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import redis
from django.db import IntegrityError, transaction
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS, guard
from infrastructure.redis import gate

from .models import Lease

#: Only its holder may release a lock.
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


#: First letter of a token: where its lock is held.
IN_REDIS, IN_ROW = "m", "d"


def claim(key: str, *, ttl_s: float) -> str | None:
    """Acquire the lock; returns its token, or None when another process holds it.

    In Redis where that answers, else as a row. With neither reachable every caller gets a token:
    doing the work twice is better than not at all.
    """
    token = f"{IN_REDIS}{secrets.token_hex(15)}"
    name = f"songs_ai:lease:{key}"
    if gate.up:
        taken = gate.call(
            lambda client: bool(client.set(name, token, nx=True, px=int(ttl_s * 1000))), None
        )
        if taken is not None:
            return token if taken else None
    token = f"{IN_ROW}{secrets.token_hex(15)}"
    try:
        with guard():
            return token if _claim_row(key, token, ttl_s=ttl_s) else None
    except DATABASE_FAULTS:
        return token


def _claim_row(key: str, token: str, *, ttl_s: float) -> bool:
    now = timezone.now()
    values = {"token": token, "expires_at": now + timedelta(seconds=ttl_s)}
    if Lease.objects.filter(key=key, expires_at__lt=now).update(**values):
        return True
    try:
        with transaction.atomic():
            Lease.objects.create(key=key, **values)
    except IntegrityError:
        return False
    return True


def extend(key: str, token: str, *, ttl_s: float) -> bool:
    """Extend a lock; False when it is no longer ours."""
    name = f"songs_ai:lease:{key}"

    def prolong(client: redis.Redis) -> bool:
        return client.get(name) == token.encode() and bool(client.pexpire(name, int(ttl_s * 1000)))

    if token.startswith(IN_REDIS):
        return gate.call(prolong, False)
    expires_at = timezone.now() + timedelta(seconds=ttl_s)
    return bool(Lease.objects.filter(key=key, token=token).update(expires_at=expires_at))


def release(key: str, token: str) -> None:
    """Release a lock of ours. Never fails: a lock that could not be released expires."""
    if token.startswith(IN_REDIS):
        gate.attempt(lambda client: client.eval(_RELEASE, 1, f"songs_ai:lease:{key}", token))
        return
    with suppress(*DATABASE_FAULTS), guard():
        Lease.objects.filter(key=key, token=token).delete()


class _LocalLocks:
    """One lock per key in this process, deleted when no thread wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def acquire(self, key: str, *, wait_s: float) -> bool:
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        acquired = lock.acquire(timeout=max(0.0, wait_s))
        if not acquired:
            self._leave(key)
        return acquired

    def release(self, key: str) -> None:
        self._locks[key][0].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        with self._guard:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


_local = _LocalLocks()
#: How often a waiting process checks whether the lock is free.
POLL_S = 0.05


@contextmanager
def single_flight(key: str, *, wait_s: float, ttl_s: float) -> Iterator[bool]:
    """One computation per key at a time, across threads and processes.

    Yields True when the caller is first; False when it waited for another computation (look for
    that result first) or timed out waiting.
    """
    deadline = time.monotonic() + wait_s
    started = time.monotonic()
    if not _local.acquire(key, wait_s=wait_s):
        yield False
        return
    waited = time.monotonic() - started > POLL_S
    token = None
    try:
        while (token := claim(key, ttl_s=ttl_s)) is None and time.monotonic() < deadline:
            waited = True
            time.sleep(POLL_S)
        yield not waited
    finally:
        if token is not None:
            release(key, token)
        _local.release(key)
