"""What both API styles of the OpenAI SDK share: the client, errors as outcomes, text and token counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from prompts.llm.exchange import CallFailed, ModelRequest, Reply, Usage
from prompts.llm.model_profiles import Profile
from prompts.models import CallOutcome

RETRYABLE_STATUS = frozenset({408, 409, 429}) | frozenset(range(500, 600))
#: A larger count is not plausible for any model, and is ignored.
MAX_TOKENS = 10_000_000


def new_client(profile: Profile) -> Any:
    import httpx2  # noqa: PLC0415 – the SDK takes most of a second to import
    import openai  # noqa: PLC0415

    http = httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
        # A redirect would send the key to a host that is not allowed.
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


async def send(request: Awaitable[Any]) -> Any:
    """Await the SDK's request and name its errors."""
    import openai  # noqa: PLC0415

    try:
        return await request
    except openai.APITimeoutError as error:
        raise CallFailed(CallOutcome.TIMEOUT, error=error, retryable=True) from error
    except openai.APIConnectionError as error:
        # Only a request that never left is surely not billed.
        never_left = type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}
        raise CallFailed(
            CallOutcome.CONNECTION, error=error, retryable=True, unbilled=never_left
        ) from error
    except openai.APIStatusError as error:
        raise _status_failure(error) from error
    except (openai.OpenAIError, ValueError) as error:
        raise CallFailed(CallOutcome.INVALID_JSON, error=error) from error


def _status_failure(error: Any) -> CallFailed:
    status: int = error.status_code
    outcome = CallOutcome.HTTP_5XX if status >= 500 else CallOutcome.HTTP_4XX
    if status == 429:
        no_money = {"insufficient_quota", "billing_hard_limit_reached"}
        outcome = (
            CallOutcome.QUOTA if {error.code, error.type} & no_money else CallOutcome.RATE_LIMITED
        )
    return CallFailed(
        outcome,
        error=error,
        status=status,
        retry_after_s=_retry_after(error.response.headers),
        retryable=status in RETRYABLE_STATUS and outcome != CallOutcome.QUOTA,
        unbilled=True,
    )


def _retry_after(headers: Any) -> float | None:
    """Seconds to wait from the retry headers; None without a number."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None


def text_format(profile: Profile, request: ModelRequest) -> dict[str, Any]:
    kind = profile.can("format", "json_schema")
    if kind != "json_schema":
        return {"type": kind}
    return {
        "type": "json_schema",
        "name": request.name,
        "strict": True,
        "schema": request.schema,
    }


def read_reply(raw: Any, kind: type, read: Callable[[Any, str], Reply]) -> Reply:
    """Parse a response into the SDK's `kind` and read it with its request id; raises CallFailed if that fails."""
    try:
        found = raw.parse()
    except ValueError as error:
        raise CallFailed(CallOutcome.INVALID_JSON, error=error) from error
    if not isinstance(found, kind):
        raise CallFailed(CallOutcome.INVALID_JSON)
    try:
        return read(found, raw.headers.get("x-request-id", ""))
    except (AttributeError, TypeError, LookupError) as error:
        raise CallFailed(CallOutcome.SCHEMA_MISMATCH, error=error) from error


def clean_text(value: Any) -> str:
    """Text without lone surrogates and NUL, which databases refuse. Raises TypeError for anything but text."""
    if value is not None and not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return (value or "").encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def names_of(answer: Any, request_id: str) -> dict[str, str]:
    """Ids and names of an answer; one that is not a string is dropped, the answer stays usable."""
    named = {
        "response_id": answer.id,
        "request_id": request_id,
        "model": answer.model,
        "service_tier": getattr(answer, "service_tier", ""),
    }
    return {name: clean_text(value) for name, value in named.items() if isinstance(value, str)}


def usage_of(counts: Any, *, input_name: str, output_name: str) -> Usage | None:
    """Tokens as the server counted them; None without a plausible count (a prompt is never 0 tokens)."""
    tokens_in, tokens_out = (
        _count(counts, f"{input_name}_tokens"),
        _count(counts, f"{output_name}_tokens"),
    )
    if not tokens_in or tokens_out is None:
        return None
    of_input = getattr(counts, f"{input_name}_tokens_details", None)
    of_output = getattr(counts, f"{output_name}_tokens_details", None)
    return Usage(
        input=tokens_in,
        output=tokens_out,
        cached=_count(of_input, "cached_tokens") or 0,
        cache_write=_count(of_input, "cache_write_tokens") or 0,
        reasoning=_count(of_output, "reasoning_tokens") or 0,
    )


def _count(counts: Any, name: str) -> int | None:
    value = getattr(counts, name, None)
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else None
