"""What stops a text from being submitted, and what is only pointed out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prompts.defaults import default_texts
from prompts.versions.contracts import CURATION, TASTE_AND_TAGLINES
from prompts.versions.lint import LintInput, has_errors, lint

GOOD = LintInput(
    system_text=default_texts()["curation"].system_text,
    user_text=default_texts()["curation"].user_text,
    params=default_texts()["curation"].params,
    contract=CURATION,
    capabilities={},
)


def codes(**changes: Any) -> dict[str, str]:
    return {finding.code: finding.level for finding in lint(replace(GOOD, **changes))}


@pytest.mark.parametrize("slug", sorted(default_texts()))
def test_the_repositorys_texts_have_no_finding(slug: str) -> None:
    text = default_texts()[slug]
    draft = LintInput(
        system_text=text.system_text,
        user_text=text.user_text,
        params=text.params,
        contract=text.contract,
        capabilities={},
    )
    assert lint(draft) == []


@pytest.mark.parametrize(
    ("changes", "code", "level"),
    [
        ({"system_text": "  "}, "empty", "error"),
        ({"user_text": GOOD.user_text + "{{ age }}"}, "unknown_variable", "error"),
        ({"user_text": GOOD.user_text + "{{ taste.x }}"}, "malformed_variable", "error"),
        ({"user_text": GOOD.user_text + "{{ taste"}, "unclosed_variable", "error"),
        ({"user_text": "{{ taste }} {{ count }}"}, "missing_variable", "error"),
        ({"user_text": "{{ candidates }} {{ taste }} {{ count }}"}, "data_not_last", "warning"),
        ({"user_text": "{{ taste }} {{ count }} {{ candidates }}"}, "unused_variable", "warning"),
        ({"system_text": GOOD.system_text + "{{ taste }}"}, "member_data_in_system", "error"),
        ({"system_text": GOOD.system_text + "\u202e"}, "control_characters", "error"),
        ({"system_text": GOOD.system_text + "\u200b"}, "control_characters", "error"),
        ({"system_text": GOOD.system_text + "문의 a@b.kr"}, "personal_data", "error"),
        ({"system_text": GOOD.system_text + "문의 010-1234-5678"}, "personal_data", "error"),
        ({"system_text": GOOD.system_text * 6}, "long", "warning"),
        ({"system_text": GOOD.system_text * 60}, "too_long", "error"),
        ({"system_text": GOOD.system_text + "JSON으로만"}, "json_prose", "warning"),
        ({"params": {"temperature": 9}}, "param_range", "error"),
        ({"params": {"candidates": 60.5}}, "param_range", "error"),
        ({"params": {"effort": "huge"}}, "param_range", "error"),
        ({"params": {"top_k": 1}}, "unknown_param", "error"),
        ({"capabilities": {"temperature": False}}, "capability", "warning"),
    ],
)
def test_each_rule_speaks_up(changes: dict[str, Any], code: str, level: str) -> None:
    assert codes(**changes).get(code) == level


def test_a_shared_variable_may_stand_in_the_system_text() -> None:
    taste = replace(GOOD, contract=TASTE_AND_TAGLINES, system_text="답하는 언어: {{ locale }}")
    assert "member_data_in_system" not in {finding.code for finding in lint(taste)}


def test_errors_come_first() -> None:
    findings = lint(replace(GOOD, system_text=GOOD.system_text + "JSON {{ nobody }}"))
    assert [finding.level for finding in findings] == sorted(finding.level for finding in findings)
    assert has_errors(findings)
