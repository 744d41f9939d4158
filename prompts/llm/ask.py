"""Asks a language model: version, rendering, money, deadline, checks and the record of every call."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.utils import timezone

from infrastructure.database import (
    guard,
    release_connections,
)
from prompts import metrics
from prompts.errors import ModelUnavailable, PromptError, TemplatePaused
from prompts.llm import budget, gateway, model_profiles, sanitizing
from prompts.llm.answer_validation import BadAnswer, Shown, check
from prompts.llm.breaker import breaker, report_of
from prompts.llm.gateway import Exchange, Plan, Question, exchange_all
from prompts.llm.model_profiles import Profile
from prompts.models import ModelCall, Outcome
from prompts.models.calls import packed
from prompts.versions.rendering import Rendered, estimate_tokens
from prompts.versions.resolution import ResolvedVersion, resolve

log = logging.getLogger(__name__)

#: Triggers behind which nobody waits: they may ask a second time.
PATIENT = frozenset({"queue", "schedule"})
#: Triggers of staff: no member's daily share is touched.
STAFF = frozenset({"preview", "replay", "eval", "probe"})
#: "12, " is at most three tokens; the frame of the object a few more. Twenty picks: 100 tokens, so that
#: both calls of a recommendation stay within 300.
TOKENS_PER_PICK, TOKENS_PER_ANSWER = 4, 20
#: Both calls of a recommendation have 2 500 prompt tokens. Our own words and schemas take 570 of them; so much
#: is left for the values of one prompt, of which songs get what the rest does not need ...
MOST_VALUE_TOKENS = 1_750
#: ... and for a list of labels, a sentence, and a list of terms.
MOST_LABEL_TOKENS, MOST_TEXT_TOKENS, MOST_TERM_TOKENS = 90, 130, 60
#: Reasoning counts as output and must not eat the answer.
REASONING_TOKENS = {"minimal": 64, "low": 512, "medium": 1_024, "high": 2_048}
#: Nightly work may wait for the cheaper tier; anything shorter may not.
FLEX_FROM_S = 60.0
LANGUAGES = {"ko": "한국어", "ja": "일본어", "en": "영어"}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question to a model."""

    slug: str
    #: Values as in the contract. Lists are numbered or counted here; a string is cleaned line by line.
    variables: Mapping[str, Any]
    run_uuid: UUID | None = None
    member_key: str = ""
    locale: str = "ko"
    #: Numbered lines shown (songs, labels); 0: counted here.
    n_items: int = 0
    #: api, queue, schedule, preview, replay, eval, probe
    trigger: str = "api"
    #: A draft to try, or the version of a replay; None: the one in force for the member.
    version: ResolvedVersion | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A usable answer."""

    data: dict[str, Any]
    #: Label of the prompt version.
    version: str
    #: uuid of the ModelCall row.
    call: str
    repairs: dict[str, int]
    ms: int
    cost_micro_usd: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    text: str = field(default="", repr=False)


@dataclass(kw_only=True)
class _Call:
    """A question on its way from plan to row."""

    ask: Ask
    version: ResolvedVersion
    profile: Profile
    rendered: Rendered
    question: Question
    shown: Shown
    row: ModelCall
    fallback: Profile | None = None
    place: str = ""
    plan: Plan | None = None
    exchange: Exchange | None = None
    answer: Answer | None = None
    #: Word for `degraded` where the outcome alone does not say it.
    reason: str = ""


def ask(slug: str, *, variables: Mapping[str, Any], deadline_s: float, **options: Any) -> Answer:
    """Ask one question; the other fields of `Ask` are keyword arguments. Raises ModelUnavailable."""
    answer = ask_many([Ask(slug=slug, variables=variables, **options)], deadline_s)[0]
    if isinstance(answer, ModelUnavailable):
        raise answer
    return answer


def ask_many(asks: Sequence[Ask], deadline_s: float) -> list[Answer | ModelUnavailable]:
    """Ask side by side; every element is an answer or says why there is none.

    Returns within `deadline_s` and a quarter second, whatever the servers do. Every call leaves a
    ModelCall row, also one that was not let out; only with no model configured there is none.
    Call it outside of `transaction.atomic`: money must be set aside for good before it is spent.
    """
    deadline = time.monotonic() + deadline_s
    prepared = [_prepared(one, deadline_s) for one in asks]
    calls = [call for call in prepared if isinstance(call, _Call)]
    admitted = _paid([call for call in calls if _admitted(call, deadline_s)], deadline_s)
    try:
        release_connections()
        for call in admitted:
            call.plan = _plan(call, deadline)
        plans = [call.plan for call in admitted if call.plan]
        for call, exchange in zip(admitted, exchange_all(plans), strict=True):
            call.exchange = exchange
    finally:
        for call in calls:
            if call.place:
                breaker.free_place(call.profile.label, call.place)
    for call in calls:
        _conclude(call)
    if calls:
        budget.settle([call.row for call in calls])
    return [_result(call) for call in prepared]


# --- Before -----------------------------------------------------------------------------------------
def _prepared(one: Ask, deadline_s: float) -> _Call | ModelUnavailable:
    """Choose version and profile, render. What is wrong with a prompt costs the model's part, not the answer."""
    try:
        return _render(one, one.version or resolve(one.slug, one.member_key), deadline_s)
    except TemplatePaused as error:
        return ModelUnavailable(Outcome.CANCELLED, str(error), reason="paused")
    except PromptError as error:
        log.error("prompt %s can't be asked: %s", one.slug, error)
        return ModelUnavailable(Outcome.CANCELLED, str(error), reason=error.code.lower())


def _render(one: Ask, version: ResolvedVersion, deadline_s: float) -> _Call | ModelUnavailable:
    profile = model_profiles.find(version.model_profile_id)
    if profile is None:
        return ModelUnavailable(Outcome.CANCELLED, "No model is configured.", reason="no_model")
    values, shown = _values(one, version)
    rendered = version.render(values)
    question = _question(one, version, rendered, shown, profile, deadline_s)
    return _Call(
        ask=one,
        version=version,
        profile=profile,
        rendered=rendered,
        question=question,
        shown=shown,
        row=_row(one, version, profile, rendered, question),
    )


def _values(one: Ask, version: ResolvedVersion) -> tuple[dict[str, str], Shown]:
    """Variables as text fit for a model, and what the answer will be judged by."""
    known = {item.name: item for item in version.contract.variables}
    fenced = {name for name in one.variables if name in known and known[name].fenced}
    values = {
        name: _within(sanitizing.lines(value), MOST_LABEL_TOKENS)
        if name == "labels"
        else _inline(value)
        for name, value in one.variables.items()
        if name not in fenced
    }
    values["locale"] = LANGUAGES.get(one.locale, LANGUAGES["ko"])
    room = MOST_VALUE_TOKENS - sum(map(estimate_tokens, values.values()))
    values |= {name: _within(sanitizing.lines(one.variables[name]), room) for name in fenced}
    listed = [values[name].splitlines() for name in ("labels", *fenced) if name in values]
    count = str(one.variables.get("count", ""))
    shown = Shown(
        locale=one.locale,
        items=one.n_items or max(map(len, listed), default=0),
        count=int(count) if count.isdigit() else 0,
        terms={
            kind: sanitizing.term_names(one.variables.get(kind, ()))
            for kind in ("genres", "moods", "artists")
        },
    )
    return values, shown


def _inline(value: object) -> str:
    """A value in a sentence, as much of it as a prompt has room for."""
    if isinstance(value, str):
        line = sanitizing.inline(value)
        share = MOST_TEXT_TOKENS / max(1, estimate_tokens(line))
        return line if share >= 1 else line[: int(len(line) * share)]
    return _within(sanitizing.inline(value), MOST_TERM_TOKENS, ", ")


def _within(block: str, most_tokens: float, between: str = "\n") -> str:
    """As many whole lines or terms as there is room for; a pick of a line left out is out of range."""
    room, kept = most_tokens, []
    for part in block.split(between):
        room -= estimate_tokens(part) + 1
        if room < 0:
            break
        kept.append(part)
    return between.join(kept)


def _question(
    one: Ask,
    version: ResolvedVersion,
    rendered: Rendered,
    shown: Shown,
    profile: Profile,
    deadline_s: float,
) -> Question:
    params = version.params
    effort = str(params.get("effort", "none"))
    least = TOKENS_PER_PICK * shown.count + TOKENS_PER_ANSWER
    wanted = max(int(params.get("max_output_tokens", 200)), least) + REASONING_TOKENS.get(effort, 0)
    flex = one.trigger == "schedule" and deadline_s >= FLEX_FROM_S
    return Question(
        name=f"{version.contract.key}_v{version.contract.version}",
        schema=version.contract.schema,
        system=rendered.system,
        user=rendered.user,
        max_output_tokens=min(wanted, profile.max_output_tokens),
        temperature=float(params.get("temperature", 0)),
        effort=effort,
        seed=one.seed,
        cache_key=f"{version.contract.key}:{version.sha[:12]}",
        safety_identifier=sanitizing.member_hash(one.member_key),
        service_tier="flex" if flex else "default",
    )


def _row(
    one: Ask, version: ResolvedVersion, profile: Profile, rendered: Rendered, question: Question
) -> ModelCall:
    text = f"{rendered.system}\n\n{rendered.user}"
    return ModelCall(
        uuid=uuid4(),
        run_uuid=one.run_uuid,
        purpose=one.slug,
        trigger=one.trigger,
        version_label=version.label,
        version_id=version.version_id,
        text_sha=version.sha,
        profile_id=profile.id,
        api=profile.api,
        model_asked=profile.model,
        member_hash=question.safety_identifier,
        service_tier_asked=question.service_tier if profile.is_openai else "",
        input_sha=hashlib.sha256(text.encode()).hexdigest(),
        input_zlib=packed(text),
    )


def _admitted(call: _Call, deadline_s: float) -> bool:
    """Find a profile that may be asked now; notes in the row why there is none."""
    first, other = call.profile, model_profiles.fallback_of(call.profile)
    for candidate in filter(None, (first, other)):
        if refused := _not_askable(candidate):
            call.row.outcome, call.row.error_class = refused
            continue
        place = breaker.take_place(
            candidate.label, places=candidate.concurrency, seconds=deadline_s
        )
        if not place:
            call.row.outcome, call.row.error_class = Outcome.CANCELLED, "Busy"
            call.reason = "busy"
            continue
        call.place, call.profile = place, candidate
        call.row.profile_id, call.row.api = candidate.id, candidate.api
        call.row.model_asked = candidate.model
        standby = other if candidate is first and other and not _not_askable(other) else None
        call.fallback = standby
        return True
    return False


def _not_askable(profile: Profile) -> tuple[Outcome, str] | None:
    """Why this profile can't be asked, None if it can."""
    if not model_profiles.host_allowed(profile):
        return Outcome.CANCELLED, "HostNotAllowed"
    if profile.is_openai and not profile.key:
        return Outcome.CANCELLED, "NoKey"
    if not breaker.admits(profile.label):
        return Outcome.CIRCUIT_OPEN, "CircuitOpen"
    return None


def _paid(calls: list[_Call], deadline_s: float) -> list[_Call]:
    """Set money aside; the calls that there is money for."""
    for call in calls:
        call.row.reserved_micro_usd = _most_cost(call)
    granted = budget.reserve(
        [
            budget.Claim(
                uuid=call.row.uuid,
                micro_usd=call.row.reserved_micro_usd,
                member_hash="" if call.ask.trigger in STAFF else call.row.member_hash,
                seconds=deadline_s,
                run_uuid=call.ask.run_uuid,
                purpose=call.ask.slug,
                version_label=call.version.label,
                api=call.profile.api,
                model=call.profile.model,
            )
            for call in calls
        ],
        now=timezone.now(),
    )
    for call, paid in zip(calls, granted, strict=True):
        if not paid:
            call.row.outcome, call.row.reserved_micro_usd = Outcome.BUDGET_DENIED, 0
            call.row.error_class = "LedgerAway" if guard.is_down else "Ceiling"
    return [call for call, paid in zip(calls, granted, strict=True) if paid]


def _most_cost(call: _Call) -> int:
    """What all attempts of a call can cost at most."""
    doubled = call.ask.trigger in PATIENT or (_hedges(call) and call.fallback is None)
    cost = budget.full_cost(call.profile, call.question) * (2 if doubled else 1)
    return cost + (budget.full_cost(call.fallback, call.question) if call.fallback else 0)


def _hedges(call: _Call) -> bool:
    return settings.LLM_HEDGE and call.ask.trigger == "api"


def _plan(call: _Call, deadline: float) -> Plan:
    return Plan(
        profile=call.profile,
        question=call.question,
        deadline=deadline,
        fallback=call.fallback,
        retry=call.ask.trigger in PATIENT,
        hedge=_hedges(call),
    )


# --- After ------------------------------------------------------------------------------------------
def _conclude(call: _Call) -> None:
    """Judge what came back, fill the row, tell the breakers and the instruments."""
    exchange = call.exchange
    if exchange is not None:
        _note_exchange(call, exchange)
        _judge(call, exchange)
        for profile, outcome, status in exchange.reports:
            breaker.record(profile.label, report_of(outcome, status))
    row = call.row
    metrics.CALLS.labels(row.purpose, row.outcome).inc()
    if exchange is not None:
        metrics.SECONDS.labels(row.purpose).observe(exchange.latency_s)
        metrics.TOKENS.labels(row.purpose, "input").inc(row.tokens_input)
        metrics.TOKENS.labels(row.purpose, "output").inc(row.tokens_output)
        metrics.COST.labels(row.purpose).inc(row.cost_micro_usd)


def _note_exchange(call: _Call, exchange: Exchange) -> None:
    """Tokens, money and identity of what was answered."""
    row, reply = call.row, exchange.reply
    row.latency_ms = round(exchange.latency_s * 1000)
    row.attempts, row.hedged = len(exchange.attempts), exchange.hedged
    row.error_class, row.error_status = exchange.error_class, exchange.status
    if exchange.profile is not None:
        row.profile_id, row.api = exchange.profile.id, exchange.profile.api
        row.model_asked = exchange.profile.model
    if reply is not None:
        row.model_reported, row.response_id = reply.model[:120], reply.response_id[:120]
        row.request_id, row.refusal = reply.request_id[:120], reply.refusal[:300]
        row.service_tier_served = reply.service_tier[:16]
        row.output_zlib = packed(reply.text)
    _note_tokens(call, exchange)
    row.cost_micro_usd = budget.call_cost(exchange, reserved=row.reserved_micro_usd)


def _note_tokens(call: _Call, exchange: Exchange) -> None:
    row = call.row
    counted = [attempt.usage for attempt in exchange.attempts if attempt.usage]
    row.tokens_input = sum(usage.input for usage in counted)
    row.tokens_output = sum(usage.output for usage in counted)
    row.tokens_cached = sum(usage.cached for usage in counted)
    row.tokens_cache_write = sum(usage.cache_write for usage in counted)
    row.tokens_reasoning = sum(usage.reasoning for usage in counted)
    unknown = [item for item in exchange.attempts if item.usage is None and not item.unbilled]
    if unknown:
        row.tokens_estimated = True
        row.tokens_input += call.rendered.tokens * len(unknown)
        row.tokens_output += estimate_tokens(exchange.reply.text) if exchange.reply else 0


def _judge(call: _Call, exchange: Exchange) -> None:
    """Outcome of the call, and the answer if it is usable."""
    row, reply = call.row, exchange.reply
    row.outcome = exchange.outcome
    if reply is None:
        return
    if reply.refusal:
        row.outcome = Outcome.REFUSED
        return
    if reply.truncated:
        row.outcome = Outcome.TRUNCATED
        return
    contract = call.version.contract
    try:
        checked = check(contract.key, reply.text, call.shown, contract.schema)
    except BadAnswer as bad:
        row.outcome, row.error_class = bad.outcome, str(bad)[:80]
        return
    row.repairs = checked.repairs
    row.outcome = Outcome.OK_REPAIRED if checked.repairs else Outcome.OK
    call.answer = Answer(
        data=checked.data,
        version=call.version.label,
        call=str(row.uuid),
        repairs=checked.repairs,
        ms=row.latency_ms,
        cost_micro_usd=row.cost_micro_usd,
        tokens_input=row.tokens_input,
        tokens_output=row.tokens_output,
        text=reply.text,
    )


def _result(call: _Call | ModelUnavailable) -> Answer | ModelUnavailable:
    if isinstance(call, ModelUnavailable):
        return call
    return call.answer or ModelUnavailable(
        call.row.outcome, call=str(call.row.uuid), reason=call.reason
    )


def rendered(one: Ask) -> Rendered:
    """What would be sent, without asking anybody. Raises MissingVariables."""
    version = one.version or resolve(one.slug, one.member_key)
    return version.render(_values(one, version)[0])


def model_configured() -> bool:
    """Is there a model to ask: a default profile, or what the OPENAI_* settings describe? From memory."""
    return model_profiles.find(None) is not None


def warm_up() -> None:
    """Do ahead what the first call would otherwise pay for with its deadline: seconds of imports, a client."""
    try:
        profile = model_profiles.find(None)
        if profile is not None:
            gateway.warm_up(profile)
    finally:
        release_connections()
