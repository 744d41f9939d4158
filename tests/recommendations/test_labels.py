"""Closed sets that staff read: every member has a Korean and an English label."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from engine.types import Strategy
from prompts.errors import (
    DEGRADED,
    MissingVariables,
    PromptError,
    TemplatePaused,
    UnknownContract,
)
from prompts.models.calls import USABLE, CallOutcome
from recommendations.models import Degraded, Source, Trigger
from recommendations.models.artifacts import ArtifactState
from recommendations.models.runs import STRATEGY_LABELS

LABELS = {
    f"{kind.__name__}.{member.name}": member.label
    for kind in (Degraded, Trigger, Source, ArtifactState)
    for member in kind
} | {f"Strategy.{strategy.name}": STRATEGY_LABELS.get(strategy, "") for strategy in Strategy}


def has_hangul(text: str) -> bool:
    return any("가" <= char <= "힣" for char in text)


@pytest.mark.parametrize("member", LABELS)
def test_every_member_has_a_korean_and_an_english_label(member: str) -> None:
    with override("ko"):
        korean = str(LABELS[member])
    with override("en"):
        english = str(LABELS[member])
    assert has_hangul(korean)
    assert english
    assert not has_hangul(english)


def test_every_reason_the_model_can_give_is_a_known_degradation() -> None:
    by_outcome = {DEGRADED.get(outcome, str(outcome)) for outcome in set(CallOutcome) - USABLE}
    by_prompt = {
        error.code.lower()
        for error in (PromptError, MissingVariables, TemplatePaused, UnknownContract)
    }
    assert by_outcome | by_prompt <= set(Degraded.values)


def test_a_value_of_another_release_is_shown_as_it_is() -> None:
    assert Degraded.label_of("from_the_future") == "from_the_future"
