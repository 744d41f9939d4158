"""Circuit breaker and concurrency limit of each model profile.

BreakerThe state is in Redis, shared by all processes; without Redis, in this process's memory.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import redis

from infrastructure.redis import gate
from prompts.models import CallOutcome

log = logging.getLogger(__name__)

WINDOW_S = 60
BUCKET_S = 5
#: With fewer calls in the window, the failure share is ignored.
MIN_CALLS = 10
FAILURE_SHARE = 0.5
STREAK = 5
FIRST_OPEN_S = 30.0
MAX_OPEN_S = 600.0
#: A probe whose process died blocks the next one for this long.
PROBE_S = 30.0
#: A wrong key, a missing model or an empty account need an operator.
LASTING_STATUS = frozenset({401, 403, 404})

#: Outcomes that count as failures of the server. A refusal or bad JSON is the prompt's fault.
FAILURES = frozenset(
    {
        CallOutcome.TIMEOUT,
        CallOutcome.RATE_LIMITED,
        CallOutcome.QUOTA,
        CallOutcome.HTTP_5XX,
        CallOutcome.CONNECTION,
    }
)


class Bucket(NamedTuple):
    """Calls within BUCKET_S; stored as a JSON list."""

    number: int
    calls: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class BreakerState:
    """The breaker of one profile. Times are wall-clock seconds, comparable between hosts."""

    #: Oldest first, no older than WINDOW_S.
    window: tuple[Bucket, ...] = ()
    streak: int = 0
    #: How often in a row it opened; doubles the wait.
    opened: int = 0
    open_until: float = 0.0
    probe_until: float = 0.0
    why: str = ""

    @property
    def is_closed(self) -> bool:
        return self.opened == 0


@dataclass(frozen=True, kw_only=True)
class CallReport:
    """How one call ended, as far as it concerns the server."""

    failed: bool
    lasting: bool = False
    why: str = ""


def report_of(outcome: CallOutcome, status: int | None) -> CallReport:
    """Judge an outcome: did the server fail, and will waiting half a minute help?"""
    lasting = outcome == CallOutcome.QUOTA or status in LASTING_STATUS
    why = f"{outcome} {status or ''}".strip()
    return CallReport(failed=lasting or outcome in FAILURES, lasting=lasting, why=why)


def admit(state: BreakerState, now: float) -> tuple[bool, BreakerState]:
    """May one call go out? Open for a while after failures, then one probe at a time."""
    if state.is_closed:
        return True, state
    if now < max(state.open_until, state.probe_until):
        return False, state
    return True, replace(state, probe_until=now + PROBE_S)


def advance(state: BreakerState, report: CallReport, now: float) -> BreakerState:
    """The state after a call ended."""
    if not report.failed:
        closed = BreakerState(window=state.window) if state.is_closed else BreakerState()
        return replace(closed, window=_counted(closed.window, now, failed=False))
    window = _counted(state.window, now, failed=True)
    streak = state.streak + 1
    was_probe = not state.is_closed and now >= state.open_until
    if not (report.lasting or was_probe or (state.is_closed and _too_many(window, streak))):
        return replace(state, window=window, streak=streak)
    wait_s = MAX_OPEN_S if report.lasting else FIRST_OPEN_S * 2.0**state.opened
    return BreakerState(
        window=window,
        streak=streak,
        opened=min(state.opened + 1, 10),
        open_until=now + min(wait_s, MAX_OPEN_S),
        why=report.why,
    )


def _too_many(window: tuple[Bucket, ...], streak: int) -> bool:
    calls = sum(bucket.calls for bucket in window)
    failures = sum(bucket.failures for bucket in window)
    return streak >= STREAK or (calls >= MIN_CALLS and failures >= FAILURE_SHARE * calls)


def _counted(window: tuple[Bucket, ...], now: float, *, failed: bool) -> tuple[Bucket, ...]:
    current = int(now // BUCKET_S)
    recent = [bucket for bucket in window if bucket.number > current - WINDOW_S // BUCKET_S]
    last = Bucket(current, 0, 0)
    if recent and recent[-1].number == current:
        last = recent.pop()
    return (*recent, Bucket(current, last.calls + 1, last.failures + int(failed)))


# --- Shared state -----------------------------------------------------------------------------------
#: Takes a place if one is free: ARGV now_ms, places, lease end in ms, token, life of the key in ms.
_TAKE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
#: Optimistic writes are tried this often; then one sample is lost, which is harmless.
WRITE_TRIES = 5
STATE_LIFE_S = 3_600


@dataclass
class Breaker:
    """Breaker and places of all profiles."""

    clock: Callable[[], float] = time.time
    _states: dict[str, BreakerState] = field(default_factory=dict)
    _places: dict[str, dict[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admits(self, profile: str) -> bool:
        """May this profile be asked now? True on a half-open breaker claims the probe."""
        if self.state(profile).is_closed:
            return True
        allowed: bool = self._change(profile, lambda state: admit(state, self.clock()))
        return allowed

    def record(self, profile: str, report: CallReport) -> None:
        """Record how a call ended."""

        def step(state: BreakerState) -> tuple[bool, BreakerState]:
            after = advance(state, report, self.clock())
            return state.is_closed and not after.is_closed, after

        if self._change(profile, step):
            log.error(
                "model profile %s: breaker opened after %s; answers are local", profile, report.why
            )

    def state(self, profile: str) -> BreakerState:
        """The current state of a profile."""
        found = gate.call(lambda client: _loaded(client.get(_state_key(profile))), None)
        return found or self._states.get(profile, BreakerState())

    def close(self, profile: str) -> None:
        """Close the breaker: staff repaired the cause."""
        with self._lock:
            self._states.pop(profile, None)
        gate.attempt(lambda client: client.delete(_state_key(profile)))

    def clear_cache(self) -> None:
        """Clear this process's memory; the state in Redis stays."""
        with self._lock:
            self._states.clear()
            self._places.clear()

    def take_place(self, profile: str, *, places: int, seconds: float) -> str:
        """Take one of `places` for at most `seconds`; "" when none is free."""
        token = uuid.uuid4().hex
        now_ms, life_ms = int(self.clock() * 1000), int(seconds * 1000) + 1000

        def take(client: redis.Redis) -> bool:
            arguments = (now_ms, places, now_ms + life_ms, token, life_ms)
            return bool(client.eval(_TAKE, 1, _places_key(profile), *arguments))

        taken = gate.call(take, None)
        if taken is None:
            taken = self._take_here(profile, token, places, now_ms, life_ms)
        return token if taken else ""

    def _take_here(self, profile: str, token: str, places: int, now_ms: int, life_ms: int) -> bool:
        with self._lock:
            kept = self._places.setdefault(profile, {})
            for old in [old for old, end in kept.items() if end <= now_ms]:
                del kept[old]
            if len(kept) >= places:
                return False
            kept[token] = now_ms + life_ms
            return True

    def free_place(self, profile: str, token: str) -> None:
        """Free a place before its lease ends."""
        with self._lock:
            here = self._places.get(profile, {}).pop(token, None)
        if here is None:
            gate.attempt(lambda client: client.zrem(_places_key(profile), token))

    def _change(
        self, profile: str, step: Callable[[BreakerState], tuple[bool, BreakerState]]
    ) -> bool:
        """Apply `step` to the shared state and return its verdict."""
        verdict = gate.call(lambda client: _change_shared(client, _state_key(profile), step), None)
        if verdict is not None:
            return verdict
        with self._lock:
            verdict, self._states[profile] = step(self._states.get(profile, BreakerState()))
        return verdict


def _change_shared(
    client: redis.Redis, key: str, step: Callable[[BreakerState], tuple[bool, BreakerState]]
) -> bool:
    """Read, decide, write unless another process wrote in between."""
    for _ in range(WRITE_TRIES):
        with client.pipeline() as pipe:
            pipe.watch(key)
            before = _loaded(pipe.get(key)) or BreakerState()
            verdict, after = step(before)
            if after == before:
                return verdict
            pipe.multi()
            pipe.set(key, json.dumps(asdict(after)), ex=STATE_LIFE_S)
            try:
                pipe.execute()
            except redis.WatchError:
                continue
            return verdict
    return False


def _loaded(raw: object) -> BreakerState | None:
    if not isinstance(raw, bytes | str):
        return None
    try:
        known = json.loads(raw)
        window = tuple(Bucket(*bucket) for bucket in known.pop("window"))
        return BreakerState(window=window, **known)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # written by another version of this code


def _state_key(profile: str) -> str:
    return f"songs_ai:llm:breaker:{profile}"


def _places_key(profile: str) -> str:
    return f"songs_ai:llm:places:{profile}"


breaker = Breaker()
