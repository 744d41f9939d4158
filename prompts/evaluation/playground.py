"""Tries a version in the admin: rendered text, cost estimate, and its answer beside the live version's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.conf import settings

from prompts.errors import ModelUnavailable
from prompts.evaluation.input_providers import Input
from prompts.llm import model_profiles
from prompts.llm.ask import Answer, Ask, ask_many, rendered
from prompts.models import CallTrigger, PromptTemplate
from prompts.versions.rendering import Rendered, estimate_tokens
from prompts.versions.resolution import ResolvedVersion, as_resolved, builtin


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one call would need at most."""

    system_tokens: int
    user_tokens: int
    max_output_tokens: int
    #: None while no model is configured.
    most_micro_usd: int | None
    model: str

    @property
    def tokens(self) -> int:
        return self.system_tokens + self.user_tokens


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of an answer, and where the other version put it."""

    text: str
    number: int = 0
    #: Place in the other answer, 1 = first; 0: it is not there.
    other_place: int = 0
    place: int = 0

    @property
    def moved(self) -> int:
        """Places gained (+) or lost (−) against the other answer; 0 where it is not there."""
        return self.other_place - self.place if self.other_place else 0


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of one version's question."""

    label: str
    answer: Answer | None = None
    failure: str = ""
    picks: tuple[Line, ...] = ()
    #: Other fields of the answer, as (name, text, differs from the other version's).
    texts: tuple[tuple[str, str, bool], ...] = field(default=())


def live_of(template: PromptTemplate) -> ResolvedVersion | None:
    """The live version as it is served; None where the repository has no text either."""
    if template.live_version is not None:
        return as_resolved(template.live_version)
    try:
        return builtin(template.slug)
    except KeyError:
        return None


def question(
    version: ResolvedVersion,
    given: Input,
    *,
    member_key: str = "",
    run_uuid: UUID | None = None,
    trigger: str = CallTrigger.PREVIEW,
    seed: int = 0,
) -> Ask:
    """The question that `version` would put about this input."""
    return Ask(
        slug=version.slug,
        variables=given.variables,
        version=version,
        locale=given.locale,
        member_key=member_key,
        run_uuid=run_uuid,
        trigger=trigger,
        seed=seed,
    )


def render_for(version: ResolvedVersion, given: Input) -> Rendered:
    """Exactly what would be sent. Raises MissingVariables."""
    return rendered(question(version, given))


def estimate(version: ResolvedVersion, text: Rendered) -> Estimate:
    """Tokens of a rendered text and what the call would cost at most."""
    profile = model_profiles.find(version.model_profile_id)
    most_output = int(version.params["max_output_tokens"])
    system, user = estimate_tokens(text.system), estimate_tokens(text.user)
    cost = profile.price.cost(input=system + user, output=most_output) if profile else None
    return Estimate(
        system_tokens=system,
        user_tokens=user,
        max_output_tokens=most_output,
        most_micro_usd=cost,
        model=profile.model if profile else "",
    )


def try_beside(
    version: ResolvedVersion, live: ResolvedVersion | None, given: Input, **options: Any
) -> tuple[Tried, Tried | None]:
    """Ask both versions side by side and mark the difference. Options are those of `question`."""
    versions = [version] + ([live] if live is not None and live.sha != version.sha else [])
    answers = ask_many(
        [question(each, given, **options) for each in versions], settings.LLM_DEADLINE_DEEP_S
    )
    first, *others = [
        _tried(each, answer, given) for each, answer in zip(versions, answers, strict=True)
    ]
    if not others:
        return first, None
    return _marked(first, others[0]), _marked(others[0], first)


def _tried(version: ResolvedVersion, answer: Answer | ModelUnavailable, given: Input) -> Tried:
    if isinstance(answer, ModelUnavailable):
        return Tried(label=version.label, failure=str(answer.outcome))
    picks = tuple(
        Line(text=_item(given, number), number=number, place=place)
        for place, number in enumerate(answer.data.get("picks", ()), start=1)
    )
    return Tried(label=version.label, answer=answer, picks=picks, texts=_texts(answer.data, given))


def _item(given: Input, number: int) -> str:
    return given.items[number - 1] if 0 < number <= len(given.items) else f"#{number}"


def _texts(data: Mapping[str, Any], given: Input) -> tuple[tuple[str, str, bool], ...]:
    rows: list[tuple[str, str, bool]] = []
    for name, value in data.items():
        if name == "picks":
            continue
        if name == "taglines":
            rows += [(_item(given, at), str(line), False) for at, line in enumerate(value, start=1)]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((name, text, False))
    return tuple(rows)


def _marked(one: Tried, other: Tried) -> Tried:
    """`one` with every difference to `other` marked."""
    places = {line.number: line.place for line in other.picks}
    said = {name: text for name, text, _differs in other.texts}
    return replace(
        one,
        picks=tuple(replace(line, other_place=places.get(line.number, 0)) for line in one.picks),
        texts=tuple((name, text, said.get(name) != text) for name, text, _differs in one.texts),
    )
