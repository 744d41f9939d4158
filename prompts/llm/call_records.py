"""Turns an exchange into its result: the judged answer, the ModelCall row, breaker reports and metrics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from prompts import metrics
from prompts.llm import budget
from prompts.llm.admission import Admission, Refusal
from prompts.llm.answer_validation import BadAnswer, CheckedAnswer, check
from prompts.llm.breaker import breaker, report_of
from prompts.llm.exchange import Exchange, Reply
from prompts.llm.model_profiles import Profile
from prompts.llm.preparing import PreparedCall
from prompts.models import CallOutcome, ModelCall
from prompts.models.calls import packed
from prompts.versions.rendering import estimate_tokens


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


@dataclass(frozen=True, kw_only=True)
class FinishedCall:
    """The row to be written, and the answer if there is a usable one."""

    row: ModelCall
    answer: Answer | None = None
    #: Value of `degraded` where it is not the outcome's own.
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """CallOutcome of a reply, and its checked answer if it is usable."""

    outcome: CallOutcome
    error_class: str = ""
    checked: CheckedAnswer | None = None


def refused(refusal: Refusal) -> FinishedCall:
    """The record of a call that was not sent."""
    row = _row(refusal.call, refusal.profile)
    row.outcome, row.error_class = refusal.outcome, refusal.error_class
    metrics.CALLS.labels(row.purpose, row.outcome).inc()
    return FinishedCall(row=row, reason=refusal.reason)


def finished(admission: Admission, exchange: Exchange) -> FinishedCall:
    """Judge the reply, fill the row, report to the breakers and count."""
    call, reply = admission.call, exchange.reply
    row = _row(call, exchange.profile or admission.profile)
    row.reserved_micro_usd = admission.reserved_micro_usd
    row.latency_ms = round(exchange.latency_s * 1000)
    row.attempts, row.hedged = len(exchange.attempts), exchange.hedged
    row.outcome = exchange.outcome
    row.error_class, row.error_status = exchange.error_class, exchange.status
    _fill_tokens(row, call, exchange)
    row.cost_micro_usd = budget.call_cost(exchange, reserved=row.reserved_micro_usd)
    answer = None
    if reply is not None:
        row.model_reported, row.response_id = reply.model[:120], reply.response_id[:120]
        row.request_id, row.refusal = reply.request_id[:120], reply.refusal[:300]
        row.service_tier_served = reply.service_tier[:16]
        row.output_zlib = packed(reply.text)
        judged = _judge(call, reply)
        row.outcome = judged.outcome
        row.error_class = judged.error_class or row.error_class
        if judged.checked is not None:
            row.repairs = judged.checked.repairs
            answer = _answer(row, call, judged.checked, reply.text)
    for report in exchange.reports:
        breaker.record(report.profile.label, report_of(report.outcome, report.status))
    _count(row, exchange)
    return FinishedCall(row=row, answer=answer)


def _row(call: PreparedCall, profile: Profile) -> ModelCall:
    """What is known before the reply. `profile` is the one that was asked."""
    text = f"{call.rendered.system}\n\n{call.rendered.user}"
    return ModelCall(
        uuid=call.uuid,
        run_uuid=call.ask.run_uuid,
        purpose=call.ask.slug,
        trigger=call.ask.trigger,
        version_label=call.version.label,
        version_id=call.version.version_id,
        text_sha=call.version.sha,
        profile_id=profile.id,
        api=profile.api,
        model_asked=profile.model,
        member_hash=call.request.safety_identifier,
        service_tier_asked=call.request.service_tier if call.profile.is_openai else "",
        input_sha=hashlib.sha256(text.encode()).hexdigest(),
        input_zlib=packed(text),
    )


def _fill_tokens(row: ModelCall, call: PreparedCall, exchange: Exchange) -> None:
    """Tokens as counted by the servers; estimated for attempts without a count."""
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


def _judge(call: PreparedCall, reply: Reply) -> _Judgement:
    if reply.refusal:
        return _Judgement(outcome=CallOutcome.REFUSED)
    if reply.truncated:
        return _Judgement(outcome=CallOutcome.TRUNCATED)
    contract = call.version.contract
    try:
        checked = check(contract.key, reply.text, call.shown, contract.schema)
    except BadAnswer as bad:
        return _Judgement(outcome=bad.outcome, error_class=str(bad)[:80])
    outcome = CallOutcome.OK_REPAIRED if checked.repairs else CallOutcome.OK
    return _Judgement(outcome=outcome, checked=checked)


def _answer(row: ModelCall, call: PreparedCall, checked: CheckedAnswer, text: str) -> Answer:
    return Answer(
        data=checked.data,
        version=call.version.label,
        call=str(row.uuid),
        repairs=checked.repairs,
        ms=row.latency_ms,
        cost_micro_usd=row.cost_micro_usd,
        tokens_input=row.tokens_input,
        tokens_output=row.tokens_output,
        text=text,
    )


def _count(row: ModelCall, exchange: Exchange) -> None:
    metrics.CALLS.labels(row.purpose, row.outcome).inc()
    metrics.SECONDS.labels(row.purpose).observe(exchange.latency_s)
    metrics.TOKENS.labels(row.purpose, "input").inc(row.tokens_input)
    metrics.TOKENS.labels(row.purpose, "output").inc(row.tokens_output)
    metrics.COST.labels(row.purpose).inc(row.cost_micro_usd)
