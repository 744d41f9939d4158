"""Steps and what they note: closed sets that survive being stored."""

from __future__ import annotations

import json

import pytest

from engine.catalog.catalog import Catalog
from engine.ranking.explain import explain
from engine.ranking.notes import FilterKind, Note, NoteCode, StepName
from engine.ranking.recipes import RECIPES, SIMILAR
from engine.ranking.recommend import recommend
from engine.training.model import Model
from engine.weights import BlendWeights
from tests.engine.conftest import query


def test_every_step_has_its_name() -> None:
    steps = {step.__name__ for recipe in (*RECIPES.values(), SIMILAR) for step in recipe}
    assert steps | {StepName.GROUP, StepName.GIVE_REASONS} == set(StepName)


@pytest.mark.parametrize("code", NoteCode)
def test_a_note_is_the_same_after_it_was_stored(code: NoteCode) -> None:
    full = Note(
        code=code,
        count=3,
        total=20,
        amount=-0.25,
        kind=FilterKind.GENRE,
        name="록",
        source="staff",
        parts=("ease", "context"),
    )
    for note in (full, Note(code=code)):
        assert Note.from_json(json.loads(json.dumps(note.to_json()))) == note


def test_a_stored_note_holds_only_what_was_noted() -> None:
    assert Note(code=NoteCode.FAVORITE, count=2).to_json() == {"code": "favorite", "count": 2}


def test_names_that_become_keys_of_json_are_plain_strings(catalog: Catalog, model: Model) -> None:
    slate = recommend(query(1, 9, adventure=0.8), catalog=catalog, model=model)
    why = explain(query(1, 9), 20, catalog=catalog, model=model)
    keys = [*slate.shortlist[0].scores, *slate.why["ranks"], *why["scores"], *model.coverage()]
    keys += [key for weights in BlendWeights().to_json().values() for key in _keys(weights)]
    assert {type(key) for key in keys} == {str}, "orjson refuses other keys"


def _keys(value: object) -> list[object]:
    return list(value) if isinstance(value, dict) else []


def test_a_trace_is_json(catalog: Catalog, model: Model) -> None:
    trace = recommend(query(1, 9), catalog=catalog, model=model).trace
    stored = json.loads(json.dumps([step.to_json() for step in trace]))
    assert stored[1] == {
        "name": "without_known_songs",
        "left": 58,
        "ms": 0.0,
        "notes": [{"code": "favorite", "count": 2}],
    }
