"""Bounds how many new users of callers' own are stored a day: each one costs rows, keys and a place in backups.

A caller may name any user. Whoever sends random names gets answers all the same, and fills no store.
"""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta

import redis
from django.conf import settings

from catalog import queries
from catalog.keys import member_id_of
from infrastructure.database import DATABASE_FAULTS, guard
from infrastructure.redis import gate
from infrastructure.time import SEOUL
from profiles import services as profiles

from ..models import StoredAnswer

#: Longer than the day that a counter stands for.
_COUNTER_LIFE = timedelta(days=2)


class DailyCounter:
    """Counts per day in Redis for all processes, else for this process alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._day = date.min
        self._count = 0

    def next(self, day: date) -> int:
        """Count one more; returns the day's number, from 1."""
        shared = gate.call(lambda client: _count_in_redis(client, day), None)
        if shared is not None:
            return int(shared)
        with self._lock:
            if day != self._day:
                self._day, self._count = day, 0
            self._count += 1
            return self._count


def _count_in_redis(client: redis.Redis, day: date) -> int:
    key = f"songs_ai:new_callers:{day.isoformat()}"
    pipe = client.pipeline(transaction=False)
    pipe.incr(key)
    pipe.expire(key, _COUNTER_LIFE)
    count: int = pipe.execute()[0]
    return count


_counter = DailyCounter()


def may_be_stored(member_key: str, *, now: datetime) -> bool:
    """Whether an answer for this member may be kept: known ones always, new ones up to NEW_CALLERS_PER_DAY.

    A digit key without a row in `member` counts as new as well.
    """
    try:
        with guard():
            if _is_known(member_key):
                return True
    except DATABASE_FAULTS:
        return True  # nothing can be stored now, and nobody is turned away for an outage
    return _counter.next(now.astimezone(SEOUL).date()) <= settings.NEW_CALLERS_PER_DAY


def _is_known(member_key: str) -> bool:
    member_id = member_id_of(member_key)
    if member_id is not None and queries.member_exists(member_id):
        return True
    stored = StoredAnswer.objects.filter(member_key=member_key)
    return stored.exists() or profiles.has_favorites(member_key)
