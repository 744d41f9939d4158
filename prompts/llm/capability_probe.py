"""Finds out what a model server understands: 연결 시험 (a handful of tiny calls, stored on the profile)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from django.utils import timezone

from prompts.llm import budget, model_profiles, sanitizing
from prompts.llm.exchange import CallPlan, Exchange, ModelRequest
from prompts.llm.gateway import exchange_all
from prompts.llm.model_profiles import Profile
from prompts.models import CallOutcome, CallTrigger, ModelCall, ModelProfile
from prompts.models.calls import packed

#: A cold local model loads for a while before its first word.
PROBE_DEADLINE_S = 60.0
FORMATS = ("json_schema", "json_object", "text")
EFFORTS = ("none", "minimal", "low")
SONGS = (
    ("夜に駆ける", "YOASOBI"),
    ("Lemon", "米津玄師"),
    ("紅蓮華", "LiSA"),
    ("マリーゴールド", "あいみょん"),
    ("Pretender", "Official髭男dism"),
)
#: The text asks for prose where the schema asks for JSON: only a server that enforces it answers JSON.
PROSE = "You are a music critic. Answer in one English sentence of plain prose. Never use JSON, braces or digits."
PLAIN = 'Answer with JSON only, of the form {"picks": [numbers]}.'
SCHEMA = {
    "type": "object",
    "properties": {"picks": {"type": "array", "items": {"type": "integer"}}},
    "required": ["picks"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a probe found; `capabilities` is empty when the server could not be used at all."""

    capabilities: dict[str, Any]
    error: str = ""

    @property
    def usable(self) -> bool:
        return bool(self.capabilities)


def probe(row: ModelProfile) -> Probed:
    """Probe the profile's server and store the result on the row."""
    found = probe_profile(model_profiles.from_row(row, today=timezone.localdate()))
    row.capabilities = found.capabilities
    row.probed_at = timezone.now()
    row.probe_error = found.error[:300]
    row.save(update_fields=["capabilities", "probed_at", "probe_error"])
    model_profiles.clear_cache()
    return found


def probe_profile(profile: Profile) -> Probed:
    """Try json_schema, json_object, then text until an answer has picks; then try the extras."""
    if not model_profiles.host_allowed(profile):
        return Probed(capabilities={}, error="HostNotAllowed")
    bare = replace(profile, capabilities={"temperature": False, "seed": False, "effort": ""})
    last: Exchange | None = None
    for form in FORMATS:
        asked = _with(bare, format=form)
        last = _ask(asked, PROSE if form == "json_schema" else PLAIN)
        if _picks(last) is not None:
            return Probed(capabilities=_extras(asked, last))
        if last.outcome in {
            CallOutcome.TIMEOUT,
            CallOutcome.CONNECTION,
            CallOutcome.QUOTA,
        } or last.status in {
            401,
            403,
            404,
        }:
            break  # the way of asking is not what is wrong
    return Probed(capabilities={}, error=_why(last))


def _with(profile: Profile, **capabilities: Any) -> Profile:
    return replace(profile, capabilities={**profile.capabilities, **capabilities})


def _extras(profile: Profile, first: Exchange) -> dict[str, Any]:
    """Try one parameter at a time; the server supports those it accepts without an error."""
    known: dict[str, Any] = dict(profile.capabilities)
    known["usage"] = bool(first.reply and first.reply.usage)
    for name in ("temperature", "seed"):
        known[name] = _accepts(profile, {name: True})
    if profile.api == "responses":
        known["effort"] = next(
            (effort for effort in EFFORTS if _accepts(profile, {"effort": effort})), ""
        )
    known["latency_ms"] = round(first.latency_s * 1000)
    return known


def _accepts(profile: Profile, capabilities: Mapping[str, Any]) -> bool:
    return _ask(_with(profile, **capabilities), PLAIN).outcome == CallOutcome.OK


def _ask(profile: Profile, system: str) -> Exchange:
    """One paid, recorded call; a probe spends from the same budget as everything else."""
    request = ModelRequest(
        name="probe_v1",
        schema=SCHEMA,
        system=system,
        user="Pick 2 songs.\n" + sanitizing.numbered(SONGS),
        # "none" must not outrank what is tried: _effort takes the larger of the two
        effort=profile.can("effort", "") or "none",
        max_output_tokens=min(256, profile.max_output_tokens),
    )
    now = timezone.now()
    text = f"{system}\n\n{request.user}"
    cost = budget.full_cost(profile, request)
    row = ModelCall(
        uuid=uuid4(),
        purpose="probe",
        trigger=CallTrigger.PROBE,
        version_label="probe",
        profile_id=profile.id,
        api=profile.api,
        model_asked=profile.model,
        reserved_micro_usd=cost,
        input_zlib=packed(text),
    )
    claim = budget.BudgetClaim(
        uuid=row.uuid,
        micro_usd=cost,
        seconds=PROBE_DEADLINE_S,
        purpose="probe",
        version_label="probe",
        api=profile.api,
        model=profile.model,
    )
    if not budget.reserve([claim], now=now)[0]:
        exchange = Exchange(outcome=CallOutcome.BUDGET_DENIED, profile=profile)
        row.reserved_micro_usd = 0
    else:
        deadline = time.monotonic() + PROBE_DEADLINE_S
        exchange = exchange_all([CallPlan(profile=profile, request=request, deadline=deadline)])[0]
    _settle(row, exchange)
    return exchange


def _settle(row: ModelCall, exchange: Exchange) -> None:
    row.outcome = exchange.outcome
    row.error_class, row.error_status = exchange.error_class, exchange.status
    row.attempts, row.latency_ms = len(exchange.attempts), round(exchange.latency_s * 1000)
    row.cost_micro_usd = budget.call_cost(exchange, reserved=row.reserved_micro_usd)
    if exchange.reply is not None:
        row.output_zlib = packed(exchange.reply.text)
        row.model_reported = exchange.reply.model[:120]
        usage = exchange.reply.usage
        row.tokens_estimated = usage is None
        if usage is not None:
            row.tokens_input, row.tokens_output = usage.input, usage.output
    budget.settle([row])


def _picks(exchange: Exchange) -> list[int] | None:
    """The picks of an answer that is JSON as it stands; None otherwise."""
    if exchange.reply is None:
        return None
    try:
        found = json.loads(exchange.reply.text)
    except ValueError:
        return None
    picks = found.get("picks") if isinstance(found, dict) else None
    return picks if isinstance(picks, list) else None


def _why(exchange: Exchange | None) -> str:
    if exchange is None:
        return ""
    said = exchange.reply.text if exchange.reply else ""
    parts = (exchange.outcome, exchange.status, exchange.error_class, said[:120])
    return " · ".join(str(part) for part in parts if part)
