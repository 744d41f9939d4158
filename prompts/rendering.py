"""Decides how a text and its values become what is sent to a model.

The syntax is `{{ name }}` and nothing else: one pass, and values are never read again as text of ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompts.contracts import Contract
from prompts.errors import MissingVariables

PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")
#: Anything between double braces, so that lint can name what is not a placeholder.
BRACES = re.compile(r"\{\{(.*?)\}\}", re.S)

#: Tokens per character in o200k_base, rounded up from counts over our own prompts and catalog lines.
_PER_CHARACTER = (
    (re.compile(r"[A-Za-z ]"), 0.3),
    (re.compile(r"[0-9]"), 0.7),
    (re.compile(r"[\uac00-\ud7a3]"), 0.75),
    (re.compile(r"[\u3040-\u30ff]"), 1.0),
    (re.compile(r"[\u4e00-\u9fff]"), 1.2),
)
_OTHER = 1.0


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What a model is sent."""

    system: str
    user: str

    @property
    def tokens(self) -> int:
        return estimate_tokens(self.system) + estimate_tokens(self.user)


def placeholders(text: str) -> tuple[str, ...]:
    """Names used in a text, each once, in order of appearance."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(text)))


def render(
    system_text: str, user_text: str, *, values: Mapping[str, Any], agreed: Contract
) -> Rendered:
    """Put the values in; raises MissingVariables naming all that are absent.

    An optional variable that was not given renders as "".
    """
    known = {item.name: "" for item in agreed.variables if not item.required} | {
        name: str(value) for name, value in values.items()
    }
    used = dict.fromkeys((*placeholders(system_text), *placeholders(user_text)))
    missing = tuple(name for name in used if name not in known)
    if missing:
        raise MissingVariables(missing)
    shown = {name: _shown(name, known[name], agreed) for name in used}

    def put(text: str) -> str:
        return PLACEHOLDER.sub(lambda match: shown[match[1]], text)

    return Rendered(system=put(system_text), user=put(user_text))


def _shown(name: str, value: str, agreed: Contract) -> str:
    variable = agreed.variable(name)
    return fence(value) if variable is not None and variable.fenced else value


def fence(block: str) -> str:
    """Put text by strangers between marks.

    The mark is a hash of the block itself: the author of one title can't know it, and a replay renders the same bytes.
    """
    mark = hashlib.blake2b(block.encode(), digest_size=4).hexdigest()
    return f"<<{mark}\n{block}\n{mark}>>"


def estimate_tokens(text: str) -> int:
    """Tokens of a text, from above, without a tokenizer (o200k_base, Korean and Japanese)."""
    counted = 0
    total = 0.0
    for pattern, weight in _PER_CHARACTER:
        found = len(pattern.findall(text))
        counted += found
        total += found * weight
    return round(total + (len(text) - counted) * _OTHER)


def body_sha(
    *,
    contract_key: str,
    contract_version: int,
    system_text: str,
    user_text: str,
    params: Mapping[str, Any],
    model_profile: str = "",
) -> str:
    """Content hash of a version: equal hash, equal behaviour."""
    body = [contract_key, contract_version, system_text, user_text, dict(params), model_profile]
    packed = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()
