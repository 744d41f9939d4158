"""Lints a version: errors block its submission, warnings do not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.utils.translation import gettext as _

from prompts.versions.contracts import Contract, Param
from prompts.versions.rendering import BRACES, PLACEHOLDER, estimate_tokens, placeholders

Level = Literal["error", "warning"]
Where = Literal["system", "user", "params"]

#: Tokens of both texts without their values: beyond it the budget of 2 500 for both calls is in danger.
WARN_TOKENS = 600
MAX_TOKENS = 4_000
_JSON_PROSE = re.compile(r"JSON|json|제이슨|코드\s*블록|```")
_PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.\w+|\b01[016789][- ]?\d{3,4}[- ]?\d{4}\b")
_ALLOWED_CONTROLS = "\n\t"


@dataclass(frozen=True, kw_only=True)
class LintFinding:
    """One error or warning."""

    level: Level
    code: str
    where: Where
    message: str


@dataclass(frozen=True, kw_only=True)
class LintInput:
    """What is checked: an unsaved form or a stored version."""

    system_text: str
    user_text: str
    params: Mapping[str, Any]
    contract: Contract
    #: What a probe found out about the chosen model; {} when it was never probed.
    capabilities: Mapping[str, Any]

    def texts(self) -> tuple[tuple[Where, str], ...]:
        return ("system", self.system_text), ("user", self.user_text)


def lint(draft: LintInput) -> list[LintFinding]:
    """Every finding, errors first."""
    found = [finding for check in _CHECKS for finding in check(draft)]
    return sorted(found, key=lambda finding: finding.level != "error")


def has_errors(findings: list[LintFinding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def as_json(findings: list[LintFinding]) -> list[dict[str, str]]:
    return [asdict(finding) for finding in findings]


def _error(code: str, where: Where, message: str) -> LintFinding:
    return LintFinding(level="error", code=code, where=where, message=message)


def _warning(code: str, where: Where, message: str) -> LintFinding:
    return LintFinding(level="warning", code=code, where=where, message=message)


def _empty(draft: LintInput) -> Iterator[LintFinding]:
    for where, text in draft.texts():
        if not text.strip():
            yield _error("empty", where, _("글이 비어 있습니다."))


def _unknown(draft: LintInput) -> Iterator[LintFinding]:
    for where, text in draft.texts():
        for name in placeholders(text):
            if name not in draft.contract.names:
                known = ", ".join(sorted(draft.contract.names))
                yield _error(
                    "unknown_variable",
                    where,
                    _("모르는 변수 {{ %(name)s }} — 쓸 수 있는 변수: %(known)s")
                    % {"name": name, "known": known},
                )


def _malformed(draft: LintInput) -> Iterator[LintFinding]:
    """Malformed variables would reach the model as plain text."""
    for where, text in draft.texts():
        for match in BRACES.finditer(text):
            if not PLACEHOLDER.fullmatch(match[0]):
                yield _error(
                    "malformed_variable",
                    where,
                    _("잘못된 변수 표기 %(text)s — {{ 이름 }} 꼴만 씁니다.")
                    % {"text": match[0][:40]},
                )
        rest = BRACES.sub("", text)
        if "{{" in rest or "}}" in rest:
            yield _error("unclosed_variable", where, _("닫히지 않은 중괄호 {{ 또는 }}가 있습니다."))


def _missing(draft: LintInput) -> Iterator[LintFinding]:
    used = {*placeholders(draft.system_text), *placeholders(draft.user_text)}
    for variable in draft.contract.variables:
        if variable.name in used:
            continue
        if variable.required:
            yield _error(
                "missing_variable",
                "user",
                _("꼭 필요한 변수 {{ %(name)s }}(%(label)s)가 없습니다.")
                % {"name": variable.name, "label": variable.label},
            )
        else:
            yield _warning(
                "unused_variable",
                "user",
                _("{{ %(name)s }}(%(label)s)를 쓰지 않습니다. 그 값은 모델에 가지 않습니다.")
                % {"name": variable.name, "label": variable.label},
            )


def _member_data_in_system(draft: LintInput) -> Iterator[LintFinding]:
    for name in placeholders(draft.system_text):
        variable = draft.contract.variable(name)
        if variable is not None and not variable.shared:
            yield _error(
                "member_data_in_system",
                "system",
                _(
                    "{{ %(name)s }}는 회원마다 다릅니다. 시스템 글은 모두에게 같아야 하니 사용자 글로 옮기십시오."
                )
                % {"name": name},
            )


def _fenced_not_last(draft: LintInput) -> Iterator[LintFinding]:
    for variable in draft.contract.variables:
        last = placeholders(draft.user_text)[-1:]
        if (
            variable.fenced
            and variable.name in placeholders(draft.user_text)
            and last != (variable.name,)
        ):
            yield _warning(
                "data_not_last",
                "user",
                _("{{ %(name)s }}는 남이 쓴 글이라 맨 끝에 두는 것이 안전합니다.")
                % {"name": variable.name},
            )


def _length(draft: LintInput) -> Iterator[LintFinding]:
    tokens = sum(estimate_tokens(text) for _where, text in draft.texts())
    if tokens > MAX_TOKENS:
        yield _error(
            "too_long",
            "user",
            _("글이 너무 깁니다: 약 %(tokens)d토큰(한도 %(most)d).")
            % {"tokens": tokens, "most": MAX_TOKENS},
        )
    elif tokens > WARN_TOKENS:
        yield _warning(
            "long",
            "user",
            _("글만 약 %(tokens)d토큰입니다. %(most)d토큰 아래가 빠르고 쌉니다.")
            % {"tokens": tokens, "most": WARN_TOKENS},
        )


def _control_characters(draft: LintInput) -> Iterator[LintFinding]:
    """Invisible characters: controls, bidi marks, zero widths. They hide what a reader would object to."""
    for where, text in draft.texts():
        odd = {
            f"U+{ord(character):04X}"
            for character in text
            if unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs"}
            and character not in _ALLOWED_CONTROLS
        }
        if odd:
            yield _error(
                "control_characters",
                where,
                _("보이지 않는 문자가 있습니다: %(characters)s")
                % {"characters": ", ".join(sorted(odd)[:6])},
            )


def _json_prose(draft: LintInput) -> Iterator[LintFinding]:
    for where, text in draft.texts():
        if _JSON_PROSE.search(text):
            yield _warning(
                "json_prose",
                where,
                _("답의 형식은 계약이 정합니다. JSON에 대한 설명은 토큰만 씁니다."),
            )


def _personal_data(draft: LintInput) -> Iterator[LintFinding]:
    for where, text in draft.texts():
        if _PERSONAL.search(text):
            yield _error(
                "personal_data",
                where,
                _("이메일이나 전화번호처럼 보이는 글이 있습니다. 지우십시오."),
            )


def _params(draft: LintInput) -> Iterator[LintFinding]:
    known = {param.name: param for param in draft.contract.params}
    for name in draft.params.keys() - known.keys():
        yield _error("unknown_param", "params", _("모르는 매개변수: %(name)s") % {"name": name})
    for name, param in known.items():
        if name in draft.params and not within(param, draft.params[name]):
            yield _error(
                "param_range",
                "params",
                _("%(label)s: %(value)s은(는) 쓸 수 없는 값입니다.")
                % {"label": param.label, "value": draft.params[name]},
            )


def within(param: Param, value: Any) -> bool:
    """Whether a parameter may have this value."""
    if param.kind == "choice":
        return value in {choice for choice, _label in param.choices}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = param.kind == "float" or isinstance(value, int)
    return whole and param.least <= value <= param.most


def _capabilities(draft: LintInput) -> Iterator[LintFinding]:
    """Warn of parameters that the probe found unsupported; the gateway leaves them out."""
    effort = draft.params.get("effort", "none")
    if draft.capabilities.get("reasoning") is False and effort != "none":
        yield _warning(
            "capability", "params", _("이 모델은 추론 강도를 받지 않습니다. 무시됩니다.")
        )
    if draft.capabilities.get("temperature") is False:
        yield _warning("capability", "params", _("이 모델은 온도를 받지 않습니다. 무시됩니다."))


_CHECKS = (
    _empty,
    _malformed,
    _unknown,
    _missing,
    _member_data_in_system,
    _control_characters,
    _personal_data,
    _length,
    _params,
    _fenced_not_last,
    _json_prose,
    _capabilities,
)
