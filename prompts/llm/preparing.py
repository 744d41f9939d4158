"""Prepares one call: chooses version and profile, formats the values, renders the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from prompts.errors import ModelUnavailable, PromptError, TemplatePaused
from prompts.llm import model_profiles, sanitizing
from prompts.llm.answer_validation import ShownItems
from prompts.llm.exchange import ModelRequest
from prompts.llm.model_profiles import Profile
from prompts.models import CallOutcome, CallTrigger
from prompts.versions.rendering import Rendered, estimate_tokens
from prompts.versions.resolution import ResolvedVersion, resolve

log = logging.getLogger(__name__)

#: "12, " is at most three tokens; the frame of the object a few more. Twenty picks: 100 tokens, so that
#: both calls of a recommendation stay within 300.
TOKENS_PER_PICK, TOKENS_PER_ANSWER = 4, 20
#: Both calls of a recommendation have 2 500 prompt tokens. Our own words and schemas take 570 of them; this is
#: the limit for the values of one prompt. Songs get what the other values leave ...
MAX_VALUE_TOKENS = 1_750
#: ... of these limits: a list of labels, a sentence, a list of terms.
MAX_LABEL_TOKENS, MAX_TEXT_TOKENS, MAX_TERM_TOKENS = 90, 130, 60
#: Reasoning counts as output and must not use up the tokens of the answer.
REASONING_TOKENS = {"minimal": 64, "low": 512, "medium": 1_024, "high": 2_048}
#: From this deadline on, scheduled work uses the cheaper, slower service tier.
MIN_FLEX_S = 60.0
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
    #: A `prompts.models.CallTrigger`.
    trigger: str = CallTrigger.API
    #: A draft to try, or the version of a replay; None: the live one for the member.
    version: ResolvedVersion | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PreparedCall:
    """One call, ready to be admitted and sent."""

    #: Of the ModelCall row to be written.
    uuid: UUID = field(default_factory=uuid4)
    ask: Ask
    version: ResolvedVersion
    #: The version's own profile, or the default one.
    profile: Profile
    rendered: Rendered
    request: ModelRequest
    shown: ShownItems


def prepare(one: Ask, deadline_s: float) -> PreparedCall | ModelUnavailable:
    """Choose version and profile and render. A broken prompt makes the model unavailable; it does not raise."""
    try:
        version = one.version or resolve(one.slug, one.member_key)
        profile = model_profiles.find(version.model_profile_id)
        if profile is None:
            return ModelUnavailable(
                CallOutcome.CANCELLED, "No model is configured.", reason="no_model"
            )
        values, shown = prompt_values(one, version)
        rendered = version.render(values)
    except TemplatePaused as error:
        return ModelUnavailable(CallOutcome.CANCELLED, str(error), reason="paused")
    except PromptError as error:
        log.error("prompt %s can't be asked: %s", one.slug, error)
        return ModelUnavailable(CallOutcome.CANCELLED, str(error), reason=error.code.lower())
    return PreparedCall(
        ask=one,
        version=version,
        profile=profile,
        rendered=rendered,
        request=_request(one, version, rendered, shown, profile, deadline_s),
        shown=shown,
    )


def prompt_values(one: Ask, version: ResolvedVersion) -> tuple[dict[str, str], ShownItems]:
    """Format the variables as text for the model; also what the answer is validated against."""
    known = {item.name: item for item in version.contract.variables}
    fenced = {name for name in one.variables if name in known and known[name].fenced}
    values = {
        name: _within(sanitizing.lines(value), MAX_LABEL_TOKENS)
        if name == "labels"
        else _inline(value)
        for name, value in one.variables.items()
        if name not in fenced
    }
    values["locale"] = LANGUAGES.get(one.locale, LANGUAGES["ko"])
    room = MAX_VALUE_TOKENS - sum(map(estimate_tokens, values.values()))
    values |= {name: _within(sanitizing.lines(one.variables[name]), room) for name in fenced}
    listed = [values[name].splitlines() for name in ("labels", *fenced) if name in values]
    count = str(one.variables.get("count", ""))
    shown = ShownItems(
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
    """A value within a sentence, cut to its token limit."""
    if isinstance(value, str):
        line = sanitizing.inline(value)
        share = MAX_TEXT_TOKENS / max(1, estimate_tokens(line))
        return line if share >= 1 else line[: int(len(line) * share)]
    return _within(sanitizing.inline(value), MAX_TERM_TOKENS, ", ")


def _within(block: str, max_tokens: float, between: str = "\n") -> str:
    """The whole lines or terms that fit into `max_tokens`; picking a line that was left out is out of range."""
    room, parts = max_tokens, []
    for part in block.split(between):
        room -= estimate_tokens(part) + 1
        if room < 0:
            break
        parts.append(part)
    return between.join(parts)


def _request(
    one: Ask,
    version: ResolvedVersion,
    rendered: Rendered,
    shown: ShownItems,
    profile: Profile,
    deadline_s: float,
) -> ModelRequest:
    params = version.params
    effort = str(params.get("effort", "none"))
    min_output = TOKENS_PER_PICK * shown.count + TOKENS_PER_ANSWER
    max_output = max(int(params.get("max_output_tokens", 200)), min_output)
    flex = one.trigger == CallTrigger.SCHEDULE and deadline_s >= MIN_FLEX_S
    return ModelRequest(
        name=f"{version.contract.key}_v{version.contract.version}",
        schema=version.contract.schema,
        system=rendered.system,
        user=rendered.user,
        max_output_tokens=min(
            max_output + REASONING_TOKENS.get(effort, 0), profile.max_output_tokens
        ),
        temperature=float(params.get("temperature", 0)),
        effort=effort,
        seed=one.seed,
        cache_key=f"{version.contract.key}:{version.sha[:12]}",
        safety_identifier=sanitizing.member_hash(one.member_key),
        service_tier="flex" if flex else "default",
    )
