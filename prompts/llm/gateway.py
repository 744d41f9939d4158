"""Sends requests to model servers within an absolute deadline: retry, fallback, hedging; one event loop per process.

Nothing here touches the database: a call is planned, paid and recorded by `prompts.llm.ask`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from typing import Any

from prompts.llm import openai_chat, openai_responses
from prompts.llm.exchange import (
    Attempt,
    AttemptReport,
    CallFailed,
    CallPlan,
    Exchange,
    ModelRequest,
    Reply,
)
from prompts.llm.model_profiles import Profile
from prompts.llm.openai_client import new_client
from prompts.models import Api, CallOutcome

#: Added to the deadline before a caller stops waiting for the loop's own report.
GRACE_S = 0.25
#: At most this share of calls is hedged.
MAX_HEDGE_SHARE = 0.05
#: With less time left, no further attempt is made.
MIN_REMAINING_S = 0.3

_API_STYLES: dict[Api, Callable[[Any, Profile, ModelRequest], Coroutine[Any, Any, Reply]]] = {
    Api.RESPONSES: openai_responses.ask,
    Api.CHAT: openai_chat.ask,
}


class Gateway:
    """A thread with an event loop and one HTTP client per endpoint, rebuilt after a fork."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._clients: dict[tuple[str, str, float], Any] = {}
        self._latencies: dict[str, deque[float]] = {}
        self._calls = self._hedges = 0
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="model-gateway", daemon=True
        )
        self._thread.start()

    def submit(self, plan: CallPlan) -> Future[Exchange]:
        return asyncio.run_coroutine_threadsafe(self._run(plan), self.loop)

    def close(self) -> None:
        """Close the connections and end the thread."""

        async def close_clients() -> None:
            for client in self._clients.values():
                await client.close()

        asyncio.run_coroutine_threadsafe(close_clients(), self.loop).result(2)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2)
        self.loop.close()

    def client(self, profile: Profile) -> Any:
        """The SDK's client for this endpoint; building one takes 36–92 ms, so it is reused."""
        endpoint = (profile.base_url, profile.key, profile.connect_timeout_s)
        if endpoint not in self._clients:
            self._clients[endpoint] = new_client(profile)
        return self._clients[endpoint]

    async def _run(self, plan: CallPlan) -> Exchange:
        started = time.monotonic()
        exchange = Exchange(outcome=CallOutcome.TIMEOUT, profile=plan.profile)
        self._calls += 1
        allowed = min(plan.deadline - started, plan.profile.max_seconds)
        try:
            async with asyncio.timeout(allowed):
                exchange.reply = await self._answer(plan, exchange)
                exchange.outcome = CallOutcome.OK
        except TimeoutError as error:
            exchange.error_class = type(error).__name__
            exchange.reports += [
                AttemptReport(profile=attempt.profile, outcome=CallOutcome.TIMEOUT)
                for attempt in exchange.attempts
                if not attempt.ended
            ]
        except CallFailed as failure:
            exchange.outcome, exchange.status = failure.outcome, failure.status
            exchange.error_class = failure.error_class
        exchange.latency_s = time.monotonic() - started
        return exchange

    async def _answer(self, plan: CallPlan, exchange: Exchange) -> Reply:
        if plan.hedge and (after_s := self._hedge_after(plan)) is not None:
            return await self._hedged(plan, exchange, after_s)
        return await self._in_turn(plan, exchange)

    async def _in_turn(self, plan: CallPlan, exchange: Exchange) -> Reply:
        """Ask; once more where that helps; then the fallback profile."""
        try:
            return await self._attempt(plan.profile, plan.request, exchange)
        except CallFailed as failure:
            wait_s = _wait_before_retry(failure, plan)
            last = failure
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            try:
                return await self._attempt(plan.profile, plan.request, exchange)
            except CallFailed as failure:
                last = failure
        if plan.fallback is None or _remaining(plan) < MIN_REMAINING_S:
            raise last
        return await self._attempt(plan.fallback, plan.request, exchange)

    async def _hedged(self, plan: CallPlan, exchange: Exchange, after_s: float) -> Reply:
        """Ask; if no answer came after `after_s`, ask a second time and take whichever comes first."""
        first = asyncio.create_task(self._in_turn(plan, exchange))
        tasks = {first}
        try:
            done, _ = await asyncio.wait(tasks, timeout=after_s)
            if not done and self._calls * MAX_HEDGE_SHARE + 1 > self._hedges:
                self._hedges += 1
                exchange.hedged = True
                other = plan.fallback or plan.profile
                tasks.add(asyncio.create_task(self._attempt(other, plan.request, exchange)))
            return await _first_answer(tasks)
        finally:
            await _cancel(tasks)

    def _hedge_after(self, plan: CallPlan) -> float | None:
        """Seconds before the second request (p95 of the profile); None when the deadline leaves no time for one."""
        latencies = sorted(self._latencies.get(plan.profile.label, ()))
        p95 = latencies[int(len(latencies) * 0.95)] if len(latencies) >= 20 else 0.0
        after_s = max(plan.hedge_after_s, p95)
        return after_s if _remaining(plan) > after_s + MIN_REMAINING_S else None

    async def _attempt(self, profile: Profile, request: ModelRequest, exchange: Exchange) -> Reply:
        attempt = Attempt(profile=profile)
        exchange.attempts.append(attempt)
        exchange.profile = profile
        started = time.monotonic()
        try:
            reply = await _API_STYLES[profile.api](self.client(profile), profile, request)
        except CallFailed as failure:
            attempt.unbilled, attempt.ended = failure.unbilled, True
            exchange.reports.append(
                AttemptReport(profile=profile, outcome=failure.outcome, status=failure.status)
            )
            raise
        attempt.usage, attempt.ended = reply.usage, True
        exchange.profile = profile
        exchange.reports.append(AttemptReport(profile=profile, outcome=CallOutcome.OK, status=200))
        latencies = self._latencies.setdefault(profile.label, deque(maxlen=100))
        latencies.append(time.monotonic() - started)
        return reply


def _remaining(plan: CallPlan) -> float:
    return plan.deadline - time.monotonic()


def _wait_before_retry(failure: CallFailed, plan: CallPlan) -> float | None:
    """Seconds to wait before asking again; None when asking again does not help or does not fit."""
    if not (plan.retry and failure.retryable):
        return None
    wait_s = max(failure.retry_after_s or 0.0, random.uniform(0.1, 0.4))
    return wait_s if wait_s + MIN_REMAINING_S <= _remaining(plan) else None


async def _first_answer(tasks: set[asyncio.Task[Reply]]) -> Reply:
    """The first reply of several attempts; the last failure when all of them fail."""
    pending: set[asyncio.Task[Reply]] = set(tasks)
    failure: CallFailed | None = None
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, CallFailed):
                raise error
            failure = error
    assert failure is not None
    raise failure


async def _cancel(tasks: set[asyncio.Task[Reply]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- One gateway per process ------------------------------------------------------------------------
_gateways: dict[int, Gateway] = {}
_lock = threading.Lock()


def gateway() -> Gateway:
    """This process's gateway; a forked child gets its own, because threads do not survive a fork."""
    pid = os.getpid()
    with _lock:
        if pid not in _gateways:
            _gateways.clear()
            _gateways[pid] = Gateway()
        return _gateways[pid]


def exchange_all(plans: list[CallPlan]) -> list[Exchange]:
    """Carry out plans side by side and wait for all; no plan outlives its deadline by more than GRACE_S."""
    futures = [gateway().submit(plan) for plan in plans]
    return [_result(plan, future) for plan, future in zip(plans, futures, strict=True)]


def _result(plan: CallPlan, future: Future[Exchange]) -> Exchange:
    try:
        return future.result(max(0.0, _remaining(plan)) + GRACE_S)
    except (TimeoutError, FutureCancelled) as error:
        # The loop itself is late (no CPU time): the caller does not wait for it.
        future.cancel()
        return Exchange(
            outcome=CallOutcome.TIMEOUT,
            profile=plan.profile,
            attempts=[Attempt(profile=plan.profile)],
            error_class=type(error).__name__,
            latency_s=max(0.0, -_remaining(plan)),
        )


def warm_up(profile: Profile) -> None:
    """Import the SDK and build the client ahead of the first call, which has a deadline to keep."""
    import openai.types.chat  # noqa: PLC0415
    import openai.types.responses  # noqa: F401, PLC0415

    current = gateway()

    async def build() -> None:
        current.client(profile)

    asyncio.run_coroutine_threadsafe(build(), current.loop).result(10)


@atexit.register
def close() -> None:
    """Close this process's gateway, if it has one."""
    with _lock:
        own = _gateways.pop(os.getpid(), None)
    if own is not None:
        own.close()
