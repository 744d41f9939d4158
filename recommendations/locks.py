"""Decides who does a piece of work when several processes want to: one holder per key, for a limited time."""

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

from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
)
from infrastructure.redis import gate

from .models import Lease

#: Only its holder may end a lease.
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


#: How a token begins says where its lease stands.
IN_REDIS, IN_ROW = "m", "d"


def claim(key: str, *, ttl_s: float) -> str | None:
    """Take the lease; its token, or None when somebody else holds it.

    In Redis where that answers, else as a row. With neither reachable everybody may work: doing the
    work twice is better than not at all.
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
    """Hold on to a lease; False when it is no longer ours."""
    name = f"songs_ai:lease:{key}"

    def prolong(client: redis.Redis) -> bool:
        return client.get(name) == token.encode() and bool(client.pexpire(name, int(ttl_s * 1000)))

    if token.startswith(IN_REDIS):
        return gate.call(prolong, False)
    expires_at = timezone.now() + timedelta(seconds=ttl_s)
    return bool(Lease.objects.filter(key=key, token=token).update(expires_at=expires_at))


def release(key: str, token: str) -> None:
    """End a lease of ours. Never fails: a lease that could not be ended expires."""
    if token.startswith(IN_REDIS):
        gate.attempt(lambda client: client.eval(_RELEASE, 1, f"songs_ai:lease:{key}", token))
        return
    with suppress(*DATABASE_FAULTS), guard():
        Lease.objects.filter(key=key, token=token).delete()


class _LocalLocks:
    """One lock per key in this process, forgotten when nobody wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def take(self, key: str, *, wait_s: float) -> bool:
        with self._guard:
            lock, wanted = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, wanted + 1)
        taken = lock.acquire(timeout=max(0.0, wait_s))
        if not taken:
            self._leave(key)
        return taken

    def give(self, key: str) -> None:
        self._locks[key][0].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        with self._guard:
            lock, wanted = self._locks[key]
            if wanted == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, wanted - 1)


_local = _LocalLocks()
#: How often a waiting process looks whether the holder is done.
POLL_S = 0.05


@contextmanager
def single_flight(key: str, *, wait_s: float, ttl_s: float) -> Iterator[bool]:
    """One computation per key at a time, across threads and processes.

    Yields True when the work is ours with nobody before us, False when we waited for somebody (look
    for his result first) or waited in vain.
    """
    deadline = time.monotonic() + wait_s
    began = time.monotonic()
    if not _local.take(key, wait_s=wait_s):
        yield False
        return
    waited = time.monotonic() - began > POLL_S
    token = None
    try:
        while (token := claim(key, ttl_s=ttl_s)) is None and time.monotonic() < deadline:
            waited = True
            time.sleep(POLL_S)
        yield not waited
    finally:
        if token is not None:
            release(key, token)
        _local.give(key)
