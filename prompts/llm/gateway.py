"""Talks to one language model server within an absolute deadline, and says what became of it.

Nothing here touches the database: a call is planned, paid and recorded by `prompts.llm.ask`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from prompts.llm.model_profiles import Profile
from prompts.models import Api, Outcome

log = logging.getLogger(__name__)

#: Added to the deadline before a caller stops waiting for the loop's own report.
GRACE_S = 0.25
#: A second question is put no earlier than this after the first (prompts-and-llm §3.4).
HEDGE_AFTER_S = 0.8
#: Share of calls that may be doubled.
HEDGE_SHARE = 0.05
RETRYABLE_STATUS = frozenset({408, 409, 429}) | frozenset(range(500, 600))
#: Shorter than this and a further attempt is not worth its money.
LEAST_REMAINING_S = 0.3
#: More tokens than any model takes or makes: a server that counts more does not count.
MOST_TOKENS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """What one call asks, independent of the server's dialect."""

    name: str  #: of the JSON schema
    schema: dict[str, Any]
    system: str
    user: str
    max_output_tokens: int
    temperature: float = 0.0
    effort: str = "none"
    seed: int = 0
    #: Groups calls with an equal prefix at the provider.
    cache_key: str = ""
    #: Keyed hash of the member, never the member.
    safety_identifier: str = ""
    service_tier: str = "default"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens as the server counted them."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answered with status 200."""

    text: str
    usage: Usage | None
    truncated: bool = False
    refusal: str = ""
    response_id: str = ""
    request_id: str = ""
    model: str = ""
    service_tier: str = ""


@dataclass(kw_only=True)
class Attempt:
    """One HTTP request. While `usage` is None and `unbilled` False it has to be paid in full."""

    profile: Profile
    usage: Usage | None = None
    unbilled: bool = False
    #: An answer or a failure came; one still under way at the deadline is the server's failure.
    ended: bool = False


class CallFailed(Exception):
    """A request brought no answer."""

    def __init__(
        self,
        outcome: Outcome,
        *,
        error: BaseException | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        retryable: bool = False,
        unbilled: bool = False,
    ) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.error_class = type(error).__name__ if error else ""
        self.status = status
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.unbilled = unbilled


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One call as decided beforehand."""

    profile: Profile
    question: Question
    #: time.monotonic() at which the caller must have its answer.
    deadline: float
    fallback: Profile | None = None
    #: One more attempt where it helps; never for somebody who is waiting.
    retry: bool = False
    hedge: bool = False


@dataclass(kw_only=True)
class Exchange:
    """What became of a plan."""

    outcome: Outcome
    reply: Reply | None = None
    profile: Profile | None = None  #: who answered, or was asked last
    attempts: list[Attempt] = field(default_factory=list)
    hedged: bool = False
    latency_s: float = 0.0
    error_class: str = ""
    status: int | None = None
    #: Outcome of every attempt that ended, for the breakers: (profile, outcome, HTTP status).
    reports: list[tuple[Profile, Outcome, int | None]] = field(default_factory=list)


# --- The loop ---------------------------------------------------------------------------------------
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

    def submit(self, plan: Plan) -> Future[Exchange]:
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
        """The SDK's client for this endpoint; building one takes 36–92 ms, so it is kept."""
        where = (profile.base_url, profile.key, profile.connect_timeout_s)
        if where not in self._clients:
            self._clients[where] = _new_client(profile)
        return self._clients[where]

    async def _run(self, plan: Plan) -> Exchange:
        started = time.monotonic()
        exchange = Exchange(outcome=Outcome.TIMEOUT, profile=plan.profile)
        self._calls += 1
        allowed = min(plan.deadline - started, plan.profile.max_seconds)
        try:
            async with asyncio.timeout(allowed):
                exchange.reply = await self._answer(plan, exchange)
                exchange.outcome = Outcome.OK
        except TimeoutError as error:
            exchange.error_class = type(error).__name__
            late = (attempt.profile for attempt in exchange.attempts if not attempt.ended)
            exchange.reports += [(profile, Outcome.TIMEOUT, None) for profile in late]
        except CallFailed as failure:
            exchange.outcome, exchange.status = failure.outcome, failure.status
            exchange.error_class = failure.error_class
        exchange.latency_s = time.monotonic() - started
        return exchange

    async def _answer(self, plan: Plan, exchange: Exchange) -> Reply:
        if plan.hedge and (after_s := self._hedge_after(plan)) is not None:
            return await self._hedged(plan, exchange, after_s)
        return await self._in_turn(plan, exchange)

    async def _in_turn(self, plan: Plan, exchange: Exchange) -> Reply:
        """Ask; once more where that helps; then the fallback profile."""
        try:
            return await self._attempt(plan.profile, plan.question, exchange)
        except CallFailed as failure:
            wait_s = _wait_before_retry(failure, plan)
            last = failure
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            try:
                return await self._attempt(plan.profile, plan.question, exchange)
            except CallFailed as failure:
                last = failure
        if plan.fallback is None or _remaining(plan) < LEAST_REMAINING_S:
            raise last
        return await self._attempt(plan.fallback, plan.question, exchange)

    async def _hedged(self, plan: Plan, exchange: Exchange, after_s: float) -> Reply:
        """Ask; if no answer came after `after_s`, ask a second time and take whichever comes first."""
        first = asyncio.create_task(self._in_turn(plan, exchange))
        tasks = {first}
        try:
            done, _ = await asyncio.wait(tasks, timeout=after_s)
            if not done and self._calls * HEDGE_SHARE + 1 > self._hedges:
                self._hedges += 1
                exchange.hedged = True
                other = plan.fallback or plan.profile
                tasks.add(asyncio.create_task(self._attempt(other, plan.question, exchange)))
            return await _first_answer(tasks)
        finally:
            await _cancel(tasks)

    def _hedge_after(self, plan: Plan) -> float | None:
        """The profile's usual longest answer (p95), None when the deadline leaves no room for a second."""
        seen = sorted(self._latencies.get(plan.profile.label, ()))
        after_s = max(HEDGE_AFTER_S, seen[int(len(seen) * 0.95)] if len(seen) >= 20 else 0.0)
        return after_s if _remaining(plan) > after_s + LEAST_REMAINING_S else None

    async def _attempt(self, profile: Profile, question: Question, exchange: Exchange) -> Reply:
        attempt = Attempt(profile=profile)
        exchange.attempts.append(attempt)
        exchange.profile = profile
        started = time.monotonic()
        try:
            reply = await _ASK[profile.api](self.client(profile), profile, question)
        except CallFailed as failure:
            attempt.unbilled, attempt.ended = failure.unbilled, True
            exchange.reports.append((profile, failure.outcome, failure.status))
            raise
        attempt.usage, attempt.ended = reply.usage, True
        exchange.profile = profile
        exchange.reports.append((profile, Outcome.OK, 200))
        kept = self._latencies.setdefault(profile.label, deque(maxlen=100))
        kept.append(time.monotonic() - started)
        return reply


def _remaining(plan: Plan) -> float:
    return plan.deadline - time.monotonic()


def _wait_before_retry(failure: CallFailed, plan: Plan) -> float | None:
    """Seconds to wait before asking again; None when asking again does not help or does not fit."""
    if not (plan.retry and failure.retryable):
        return None
    wait_s = max(failure.retry_after_s or 0.0, random.uniform(0.1, 0.4))
    return wait_s if wait_s + LEAST_REMAINING_S <= _remaining(plan) else None


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


# --- The two dialects -------------------------------------------------------------------------------
def _new_client(profile: Profile) -> Any:
    import httpx2  # noqa: PLC0415 – the SDK takes most of a second to import
    import openai  # noqa: PLC0415

    http = httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
        # A redirect would carry the key to a host that nobody allowed.
        follow_redirects=False,
        timeout=httpx2.Timeout(600.0, connect=profile.connect_timeout_s, pool=0.5),
    )
    return openai.AsyncOpenAI(
        api_key=profile.key or "unused",
        base_url=profile.base_url or "https://api.openai.com/v1",
        max_retries=0,
        timeout=httpx2.Timeout(600.0, connect=profile.connect_timeout_s, pool=0.5),
        http_client=http,
    )


async def _sent(request: Awaitable[Any]) -> Any:
    """Await the SDK's request and name its errors."""
    import openai  # noqa: PLC0415

    try:
        return await request
    except openai.APITimeoutError as error:
        raise CallFailed(Outcome.TIMEOUT, error=error, retryable=True) from error
    except openai.APIConnectionError as error:
        # Only a request that never left is surely not billed.
        never_left = type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}
        raise CallFailed(
            Outcome.CONNECTION, error=error, retryable=True, unbilled=never_left
        ) from error
    except openai.APIStatusError as error:
        raise _status_failure(error) from error
    except (openai.OpenAIError, ValueError) as error:
        raise CallFailed(Outcome.INVALID_JSON, error=error) from error


def _status_failure(error: Any) -> CallFailed:
    status: int = error.status_code
    outcome = Outcome.HTTP_5XX if status >= 500 else Outcome.HTTP_4XX
    if status == 429:
        no_money = {"insufficient_quota", "billing_hard_limit_reached"}
        outcome = Outcome.QUOTA if {error.code, error.type} & no_money else Outcome.RATE_LIMITED
    return CallFailed(
        outcome,
        error=error,
        status=status,
        retry_after_s=_retry_after(error.response.headers),
        retryable=status in RETRYABLE_STATUS and outcome != Outcome.QUOTA,
        unbilled=True,
    )


def _retry_after(headers: Any) -> float | None:
    """Seconds to wait as the server says; None when it does not say so in seconds."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None


async def _ask_responses(client: Any, profile: Profile, question: Question) -> Reply:
    from openai.types.responses import Response  # noqa: PLC0415

    raw = await _sent(
        client.responses.with_raw_response.create(**_responses_body(profile, question))
    )
    response = _parsed(raw, Response)
    return await _guarded(_read_response, response)


def _responses_body(profile: Profile, question: Question) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "instructions": question.system,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": question.user}]}],
        "text": {"format": _text_format(profile, question)},
        "max_output_tokens": question.max_output_tokens,
        "store": False,
        "truncation": "disabled",  # a 400 instead of a silently dropped head
    }
    if profile.can("temperature", True):
        body["temperature"] = question.temperature
    if effort := _effort(profile, question):
        body["reasoning"] = {"effort": effort}
    if profile.is_openai:
        body |= {
            "prompt_cache_key": question.cache_key,
            "safety_identifier": question.safety_identifier,
            "service_tier": question.service_tier,
        }
    return {name: value for name, value in body.items() if value != ""}


#: Reasoning efforts from least to most.
_EFFORTS = ("none", "minimal", "low", "medium", "high")


def _effort(profile: Profile, question: Question) -> str:
    """The wanted effort, but no less than the profile accepts; "" for models that don't reason."""
    least = profile.can("effort", "")
    if not least:
        return ""
    return max(least, question.effort, key=lambda name: _EFFORTS.index(name))


def _text_format(profile: Profile, question: Question) -> dict[str, Any]:
    kind = profile.can("format", "json_schema")
    if kind != "json_schema":
        return {"type": kind}
    return {
        "type": "json_schema",
        "name": question.name,
        "strict": True,
        "schema": question.schema,
    }


async def _ask_chat(client: Any, profile: Profile, question: Question) -> Reply:
    from openai.types.chat import ChatCompletion  # noqa: PLC0415

    raw = await _sent(
        client.chat.completions.with_raw_response.create(**_chat_body(profile, question))
    )
    return await _guarded(_read_chat, _parsed(raw, ChatCompletion))


def _chat_body(profile: Profile, question: Question) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ],
    }
    if profile.is_openai:  # there, reasoning models refuse the old name
        body["max_completion_tokens"] = question.max_output_tokens
    else:
        body["max_tokens"] = question.max_output_tokens
    form = _text_format(profile, question)
    if form["type"] == "json_schema":
        inner = {name: value for name, value in form.items() if name != "type"}
        body["response_format"] = {"type": "json_schema", "json_schema": inner}
    elif form["type"] == "json_object":
        body["response_format"] = form
    if profile.can("temperature", True):
        body["temperature"] = question.temperature
    if profile.can("seed", False):
        body["seed"] = question.seed
    if not profile.is_openai and profile.extra_body:
        body["extra_body"] = dict(profile.extra_body)
    return body


def _parsed(raw: Any, kind: type) -> Any:
    """The SDK's object with the request id; raises CallFailed for a body that is not one."""
    try:
        found = raw.parse()
    except ValueError as error:
        raise CallFailed(Outcome.INVALID_JSON, error=error) from error
    if not isinstance(found, kind):
        raise CallFailed(Outcome.INVALID_JSON)
    return found, raw.headers.get("x-request-id", "")


async def _guarded(read: Callable[[Any, str], Reply], parsed: tuple[Any, str]) -> Reply:
    """Read an answer; a server that leaves out what every answer has gave none."""
    try:
        return read(*parsed)
    except (AttributeError, TypeError, LookupError) as error:
        raise CallFailed(Outcome.SCHEMA_MISMATCH, error=error) from error


def _read_response(response: Any, request_id: str) -> Reply:
    refusals = [
        _text(part.refusal)
        for item in response.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    ]
    reason = response.incomplete_details.reason if response.incomplete_details else ""
    return Reply(
        text=_text(response.output_text),
        usage=_usage(response.usage, "input", "output"),
        truncated=response.status == "incomplete" and reason != "content_filter",
        refusal=" ".join(refusals) or ("content_filter" if reason == "content_filter" else ""),
        **_names(response, request_id),
    )


def _read_chat(completion: Any, request_id: str) -> Reply:
    choice = completion.choices[0]
    filtered = choice.finish_reason == "content_filter"
    return Reply(
        text=_text(choice.message.content),
        usage=_usage(completion.usage, "prompt", "completion"),
        truncated=choice.finish_reason == "length",
        refusal=_text(choice.message.refusal) or ("content_filter" if filtered else ""),
        **_names(completion, request_id),
    )


def _text(value: Any) -> str:
    """Text as a database takes it: no half of a surrogate pair, no NUL. Raises TypeError for another kind."""
    if value is not None and not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return (value or "").encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _names(answer: Any, request_id: str) -> dict[str, str]:
    """What an answer is called; a server's odd idea of a name is no reason to lose the answer."""
    said = {
        "response_id": answer.id,
        "request_id": request_id,
        "model": answer.model,
        "service_tier": getattr(answer, "service_tier", ""),
    }
    return {name: _text(value) for name, value in said.items() if isinstance(value, str)}


def _usage(counts: Any, given: str, made: str) -> Usage | None:
    """Tokens as the server counted them; None where it did not, or not seriously: no prompt has no tokens."""
    tokens_in, tokens_out = _count(counts, f"{given}_tokens"), _count(counts, f"{made}_tokens")
    if not tokens_in or tokens_out is None:
        return None
    of_input = getattr(counts, f"{given}_tokens_details", None)
    of_output = getattr(counts, f"{made}_tokens_details", None)
    return Usage(
        input=tokens_in,
        output=tokens_out,
        cached=_count(of_input, "cached_tokens") or 0,
        cache_write=_count(of_input, "cache_write_tokens") or 0,
        reasoning=_count(of_output, "reasoning_tokens") or 0,
    )


def _count(counts: Any, name: str) -> int | None:
    value = getattr(counts, name, None)
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else None


_ASK: dict[Api, Callable[[Any, Profile, Question], Coroutine[Any, Any, Reply]]] = {
    Api.RESPONSES: _ask_responses,
    Api.CHAT: _ask_chat,
}


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


def exchange_all(plans: list[Plan]) -> list[Exchange]:
    """Carry out plans side by side and wait for all; no plan outlives its deadline by more than GRACE_S."""
    futures = [gateway().submit(plan) for plan in plans]
    return [_result(plan, future) for plan, future in zip(plans, futures, strict=True)]


def _result(plan: Plan, future: Future[Exchange]) -> Exchange:
    try:
        return future.result(max(0.0, _remaining(plan)) + GRACE_S)
    except (TimeoutError, FutureCancelled) as error:
        # The loop itself is late (a starved machine): the caller goes on without it.
        future.cancel()
        return Exchange(
            outcome=Outcome.TIMEOUT,
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
        mine = _gateways.pop(os.getpid(), None)
    if mine is not None:
        mine.close()
