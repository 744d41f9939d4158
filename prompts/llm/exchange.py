"""The values of one call: request, plan, attempts, reply, and the exchange they make up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prompts.llm.model_profiles import Profile
from prompts.models import CallOutcome

HEDGE_AFTER_S = 0.8


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """One request, independent of the server's API style."""

    #: Of the JSON schema.
    name: str
    schema: dict[str, Any]
    system: str
    user: str
    max_output_tokens: int
    temperature: float = 0.0
    effort: str = "none"
    seed: int = 0
    #: The provider caches equal prompt prefixes under this key.
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
    #: False for an attempt still running at the deadline: that counts as the server's failure.
    ended: bool = False


class CallFailed(Exception):
    """A request brought no answer."""

    def __init__(
        self,
        outcome: CallOutcome,
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
class CallPlan:
    """One call before it is sent: whom to ask, until when, and what to do on a failure."""

    profile: Profile
    request: ModelRequest
    #: time.monotonic() at which the caller must have its answer.
    deadline: float
    fallback: Profile | None = None
    #: One more attempt after a retryable failure; never while a member waits.
    retry: bool = False
    hedge: bool = False
    #: The second request of a hedged call is sent no earlier than this after the first.
    hedge_after_s: float = HEDGE_AFTER_S


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """How one attempt ended at a profile's server."""

    profile: Profile
    outcome: CallOutcome
    #: HTTP status, if a response came.
    status: int | None = None


@dataclass(kw_only=True)
class Exchange:
    """The result of a plan: the reply or the failure, and every attempt."""

    outcome: CallOutcome
    reply: Reply | None = None
    #: Who answered, or was asked last.
    profile: Profile | None = None
    attempts: list[Attempt] = field(default_factory=list)
    hedged: bool = False
    latency_s: float = 0.0
    error_class: str = ""
    status: int | None = None
    #: Of every attempt, for the breakers.
    reports: list[AttemptReport] = field(default_factory=list)
