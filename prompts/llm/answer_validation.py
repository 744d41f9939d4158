"""Validates a model's answer: finds the JSON, checks it against the contract, repairs small faults."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.catalog.text import fold, match_key
from prompts.llm import sanitizing
from prompts.models import CallOutcome

_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n?(.*?)\n?\s*```\s*$", re.S)
#: An answer of ours is a few hundred characters; more is not worth searching.
MAX_ANSWER_CHARS = 20_000


class BadAnswer(Exception):
    """The answer is unusable, for the reason in `outcome`."""

    def __init__(self, outcome: CallOutcome, detail: str = "") -> None:
        super().__init__(detail or outcome)
        self.outcome = outcome


@dataclass(frozen=True, kw_only=True)
class ShownItems:
    """The part of the prompt that the answer is validated against."""

    locale: str = "ko"
    #: Lines that were numbered: songs of a curation, labels that want a tagline.
    items: int = 0
    #: Picks asked for.
    count: int = 0
    #: Terms the answer may name, by kind ("genres", "moods", "artists").
    terms: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckedAnswer:
    """An answer fit for use."""

    data: dict[str, Any]
    #: How often each repair was needed; empty for an answer that was right as it came.
    repairs: dict[str, int]


def check(key: str, text: str, shown: ShownItems, schema: Mapping[str, Any]) -> CheckedAnswer:
    """Read and repair an answer to contract `key`; raises BadAnswer."""
    if not text.strip():
        raise BadAnswer(CallOutcome.EMPTY)
    repairs: Counter[str] = Counter()
    answer = _conforming(_json_object(text, repairs), schema, repairs)
    check_content = _CHECKS.get(key)  # None for a layer above: only the shape is checked
    if check_content is not None:
        answer = check_content(answer, shown, repairs)
    return CheckedAnswer(
        data=answer, repairs={name: times for name, times in repairs.items() if times}
    )


def _json_object(text: str, repairs: Counter[str]) -> dict[str, Any]:
    """The first JSON object in `text`, which may be fenced or surrounded by prose."""
    text = text[:MAX_ANSWER_CHARS]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        repairs["extracted"] += 1
        unfenced = _FENCE.match(text)
        found = _first_object(unfenced[1] if unfenced else text)
    if not isinstance(found, dict):
        raise BadAnswer(CallOutcome.SCHEMA_MISMATCH, "The answer is JSON, but no object.")
    return found


def _first_object(text: str) -> Any:
    decoder = json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"\{", text)][:20]:
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise BadAnswer(CallOutcome.INVALID_JSON)


def _conforming(
    answer: dict[str, Any], schema: Mapping[str, Any], repairs: Counter[str]
) -> dict[str, Any]:
    """Only the schema's properties, each of its kind; raises BadAnswer when one is absent or another kind."""
    properties: Mapping[str, Any] = schema["properties"]
    repairs["extra"] += len(answer.keys() - properties.keys())
    kinds = {"array": list, "string": str, "integer": int, "object": dict}
    for name, wanted in properties.items():
        if not isinstance(answer.get(name), kinds.get(wanted["type"], object)):
            raise BadAnswer(
                CallOutcome.SCHEMA_MISMATCH, f"{name!r} is missing or no {wanted['type']}."
            )
    return {name: answer[name] for name in properties}


def _check_picks(
    answer: dict[str, Any], shown: ShownItems, repairs: Counter[str]
) -> dict[str, Any]:
    """Numbers of shown lines, each once, at most as many as asked for."""
    if not answer["picks"]:
        raise BadAnswer(CallOutcome.EMPTY, "No song was picked.")
    picks: dict[int, None] = {}
    for raw in answer["picks"]:
        number = _as_number(raw)
        if number is None or not 1 <= number <= shown.items:
            repairs["out_of_range"] += 1
        elif number in picks:
            repairs["duplicates"] += 1
        else:
            picks[number] = None
    if not picks:
        raise BadAnswer(CallOutcome.SCHEMA_MISMATCH, "No pick names a song that was shown.")
    wanted = min(shown.count or shown.items, shown.items)
    repairs["surplus"] += max(0, len(picks) - wanted)
    repairs["missing"] += max(0, wanted - len(picks))
    return {"picks": list(picks)[:wanted]}


def _as_number(raw: object) -> int | None:
    """An integer, also where a weaker server wrote "7" or 7.0; None for anything else."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if isinstance(raw, str) and re.fullmatch(r"\s*\d{1,6}\s*", raw):
        return int(raw)
    return raw if isinstance(raw, int) else None


def _check_taste(
    answer: dict[str, Any], shown: ShownItems, repairs: Counter[str]
) -> dict[str, Any]:
    """A sentence, terms that were in the counts, one tagline (or None) for each label."""
    data: dict[str, Any] = {"taste": sanitizing.taste_text(answer["taste"])}
    repairs["taste_rejected"] += not data["taste"]
    for kind in ("genres", "moods", "artists"):
        data[kind] = _known_terms(answer[kind], shown.terms.get(kind, ()), repairs)
    lines = [sanitizing.tagline(line, shown.locale) for line in answer["taglines"][: shown.items]]
    repairs["taglines_surplus"] += max(0, len(answer["taglines"]) - shown.items)
    repairs["taglines_rejected"] += lines.count(None)
    repairs["taglines_missing"] += shown.items - len(lines)
    data["taglines"] = lines + [None] * (shown.items - len(lines))
    if not (data["taste"] or any(data["taglines"]) or data["genres"] or data["moods"]):
        raise BadAnswer(CallOutcome.SCHEMA_MISMATCH, "Nothing in the answer passed the checks.")
    return data


def _known_terms(raw: Sequence[Any], known: Sequence[str], repairs: Counter[str]) -> list[str]:
    """The terms that were shown, in our spelling; others are dropped."""
    spelled = {match_key(name): name for name in known}
    found = [spelled.get(match_key(fold(term))) for term in raw if isinstance(term, str)]
    kept = list(dict.fromkeys(term for term in found if term))
    repairs["unknown_terms"] += len(raw) - sum(term is not None for term in found)
    return kept


_CHECKS: dict[str, Callable[[dict[str, Any], ShownItems, Counter[str]], dict[str, Any]]] = {
    "curation": _check_picks,
    "taste_and_taglines": _check_taste,
}
