"""What staff may turn is checked before it counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.settings import (
    EngineSettings,
    InvalidSettings,
    ShapingSettings,
    SignalWeights,
    SituationTable,
)
from engine.types import Activity, SignalType, TimeOfDay


def test_settings_survive_being_stored():
    stored = json.loads(json.dumps(EngineSettings().to_json()))
    assert EngineSettings.from_json(stored, version="7").to_json() == stored
    assert EngineSettings.from_json(stored, version="7").version == "7"


def test_what_is_absent_keeps_its_default():
    chosen = EngineSettings.from_json({"shaping": {"artist_cap": 2}})
    assert chosen.shaping == ShapingSettings(artist_cap=2)
    assert chosen.signals == SignalWeights()


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"shaping": {"artist_cap": 0}}, "artist_cap"),
        ({"shaping": {"artist_cap": 2.5}}, "artist_cap"),
        ({"shaping": {"diversity": "much"}}, "diversity"),
        ({"shaping": {"diversity": True}}, "diversity"),
        ({"shaping": {"diversty": 0.5}}, "diversty"),
        ({"signals": {"like": float("nan")}}, "like"),
        ({"signals": {"like": 6}}, "like"),
        ({"situations": {"multipliers": {"teatime": {}}}}, "teatime"),
        ({"situations": {"multipliers": {"night": {"잔잔": 0}}}}, "night.잔잔"),
        ({"situations": {"multipliers": [1]}}, "multipliers"),
        ({"blend": {"0": {}}}, "blend"),
        ({"colours": {}}, "colours"),
        ([], "table"),
        ({"shaping": []}, "ShapingSettings"),
    ],
)
def test_a_bad_entry_is_refused_by_name(table: Any, named: str):
    with pytest.raises(InvalidSettings, match=named):
        EngineSettings.from_json(table)


def test_every_signal_has_a_weight():
    assert all(isinstance(SignalWeights().of(kind), float) for kind in SignalType)


def test_every_situation_has_an_entry():
    table = SituationTable()
    assert all(table.of(situation) for situation in (*TimeOfDay, *Activity))
    assert table.of("nowhere") == {}
