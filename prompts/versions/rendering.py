"""Renders a text with its values into what is sent to a model.

The syntax is `{{ name }}` and nothing else: one pass, and values are never read again as text of ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

from prompts.errors import MissingVariables
from prompts.versions.contracts import Contract

PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")
#: Anything between double braces, so that lint can name what is not a placeholder.
BRACES = re.compile(r"\{\{(.*?)\}\}", re.S)


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
    """Tokens of a text in o200k_base, seldom a tenth too few, without a tokenizer."""
    return ceil(sum(map(_token_share, text)))


@lru_cache(maxsize=1 << 16)
def _token_share(char: str) -> float:
    """What one character adds, measured over our prompts and catalog lines, long and without spaces too."""
    if char == " " or "a" <= char <= "z":
        return 0.3
    if char < "\x80":
        return 0.7 if char.isalnum() else 1.0
    if "\uac00" <= char <= "\ud7a3":  # 2 350 syllables are in use, the others fall apart into bytes
        return 0.9 if len(char.encode("euc_kr", "ignore")) == 2 else 2.4
    if "\u3040" <= char <= "\u30ff":
        return 1.0
    if "\u4e00" <= char <= "\u9fff":  # JIS level 1: the everyday ones
        return 1.2 if b"\x88" <= char.encode("shift_jis", "ignore") <= b"\x98\x72" else 2.0
    return 3.0 if char > "\uffff" else 2.0


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
