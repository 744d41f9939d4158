"""The engine's settings as staff edit them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.settings import EngineSettings
from recommendations.admin.engine_settings_form import EngineSettingsForm, settings_fields
from recommendations.models import EngineSettingsVersion

pytestmark = pytest.mark.django_db


def filled(**changes: Any) -> dict[str, Any]:
    """The form as a browser would post it unchanged, and what was changed in it."""
    payload = EngineSettings().to_json()
    values = {name: field.initial for name, field in settings_fields(payload)}
    return {"note": "because", **values, **changes}


def test_saving_the_form_unchanged_changes_nothing():
    form = EngineSettingsForm(filled())
    assert form.is_valid(), form.errors
    assert EngineSettings.from_json(form.instance.payload) == EngineSettings()


@pytest.mark.parametrize("learned", [True, False])
def test_staff_choose_between_the_learned_blend_and_their_own(learned: bool):
    form = EngineSettingsForm(filled(**{"blend.learned": learned, "blend.10+.ease": 2.5}))
    assert form.is_valid(), form.errors
    blend = EngineSettings.from_json(form.instance.payload).blend
    assert blend.learned is learned
    assert blend.by_bucket["10+"]["ease"] == 2.5
    reopened = dict(settings_fields(form.instance.payload))
    assert reopened["blend.learned"].initial is learned


def test_multipliers_occasions_and_their_strength_are_edited_as_text():
    form = EngineSettingsForm(
        filled(
            **{
                "situations.night": "잔잔=2, 강렬=0.5",
                "situations.occasions": "비 오는 날: 감성적=1.7\n첫눈 오는 날: 설렘=2",
                "situations.strength": 1.5,
            }
        )
    )
    assert form.is_valid(), form.errors
    table = EngineSettings.from_json(form.instance.payload).situations
    assert table.multipliers["night"] == {"잔잔": 2, "강렬": 0.5}
    assert table.occasions == {"비 오는 날": {"감성적": 1.7}, "첫눈 오는 날": {"설렘": 2}}
    assert table.strength == 1.5


@pytest.mark.parametrize(
    ("field", "line", "named"),
    [
        ("situations.night", "잔잔", "잔잔"),
        ("situations.night", "잔잔=loud", "loud"),
        ("situations.occasions", "비 오는 날: 감성적=99", "감성적"),
        ("situations.occasions", "비 오는 날", "비 오는 날"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(field: str, line: str, named: str):
    form = EngineSettingsForm(filled(**{field: line}))
    assert not form.is_valid()
    assert named in str(form.errors)


def test_settings_of_an_earlier_release_are_completed_with_the_starting_table():
    payload = EngineSettings().to_json()
    del payload["situations"]["occasions"], payload["situations"]["strength"]
    EngineSettingsVersion.objects.create(number=1, payload=payload, note="old")
    fields = EngineSettingsForm().fields
    assert "비 오는 날: " in fields["situations.occasions"].initial
    assert fields["situations.strength"].initial == EngineSettings().situations.strength
