"""Answers a query: runs the recipe, fills the groups, gives the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.arrays import Rows
from engine.catalog.catalog import Catalog
from engine.presentation.group_rows import RowGroup
from engine.presentation.groups import make_groups
from engine.presentation.reasons import Grounds, grounds
from engine.ranking.draft import Draft, Step
from engine.ranking.notes import Note, NoteCode, StepName, StepTrace
from engine.ranking.recipes import RECIPES
from engine.scoring.taste import taste_of
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Candidate, CandidateKind, Group, Query, Slate

#: Song ids that `Slate.why` keeps per step and per rule.
_MAX_IDS_PER_STEP = 60
_MAX_IDS_PER_RULE = 40
#: Minimum match of a listed song; 0 would read as an error.
_MIN_MATCH = 0.01
Watch = Callable[[StepName, Draft], None]
Clock = Callable[[], float]


def recommend(
    query: Query,
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings | None = None,
    clock: Clock | None = None,
) -> Slate:
    """Make the slate for a query. Same query, catalog, model and settings: same slate.

    model: for the rows of `catalog` (`Model.realigned`). An empty catalog, unknown ids or filters that
    leave nothing give an empty slate whose trace says why. clock: seconds (`time.perf_counter`), for the
    trace's times, which stay 0 without it.
    """
    recorder = _Recorder(clock or (lambda: 0.0))
    draft = run(
        query, catalog=catalog, model=model, settings=settings or EngineSettings(), watch=recorder
    )
    groups = make_groups(draft)
    recorder.record(StepName.GROUP, (Note(code=NoteCode.GROUPS, count=len(groups)),))
    # The list in its final order, then the songs of groups that are not on it.
    listed = draft.rows.tolist() if draft.rows is not None else []
    rows = list(dict.fromkeys([*listed, *(row for group in groups for row in group.rows.tolist())]))
    reasons = grounds(draft, rows)
    recorder.record(StepName.GIVE_REASONS)
    return Slate(
        shortlist=candidates(draft, rows, reasons),
        groups=_placed(groups, rows),
        trace=tuple(recorder.trace),
        known_favorites=draft.taste.favorites,
        unknown_favorites=draft.taste.unknown,
        taste=draft.taste.top(catalog),
        why=_why(draft, recorder, rows),
        versions={
            "catalog": catalog.version,
            "model": model.version,
            "weights": draft.settings.version,
        },
    )


def rank(
    query: Query,
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings | None = None,
    recipe: Sequence[Step] | None = None,
) -> Rows:
    """(≤ max(count, shortlist),) catalog rows as `recommend` orders them, without groups and reasons."""
    draft = run(
        query, catalog=catalog, model=model, settings=settings or EngineSettings(), recipe=recipe
    )
    return draft.rows if draft.rows is not None else np.empty(0, np.int32)


def run(
    query: Query,
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings,
    recipe: Sequence[Step] | None = None,
    watch: Watch | None = None,
) -> Draft:
    """Take the query through the recipe of its strategy (or the given one), step by step."""
    draft = Draft(
        query=query,
        catalog=catalog,
        model=model,
        settings=settings,
        taste=taste_of(query, catalog=catalog, weights=settings.signals),
        alive=np.ones(catalog.n, bool),
        scores=np.zeros(catalog.n, np.float32),
    )
    for step in RECIPES[query.strategy] if recipe is None else recipe:
        draft = step(replace(draft, notes=()))
        if watch is not None:
            watch(StepName(step.__name__), draft)
    return draft


class _Recorder:
    """Records what each step did and how long it took."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.trace: list[StepTrace] = []
        self.ranks: dict[str, list[int]] = {}
        self.left = 0
        self.since = clock()

    def __call__(self, name: StepName, draft: Draft) -> None:
        if draft.rows is not None:
            ids = draft.catalog.song_ids[draft.rows[:_MAX_IDS_PER_STEP]]
            self.ranks[name.value] = ids.tolist()
        self.left = draft.left
        self.record(name, draft.notes)

    def record(self, name: StepName, notes: tuple[Note, ...] = ()) -> None:
        """Add a step that has just ended; its time runs from the step before it."""
        now = self.clock()
        spent_ms = round((now - self.since) * 1000, 3)
        self.trace.append(StepTrace(name=name, left=self.left, ms=spent_ms, notes=notes))
        self.since = now


def _placed(groups: list[RowGroup], rows: list[int]) -> tuple[Group, ...]:
    place = {row: number for number, row in enumerate(rows)}
    return tuple(
        Group(
            kind=group.kind,
            label=group.label,
            tagline=group.tagline,
            subject=group.subject,
            members=tuple(place[row] for row in group.rows.tolist()),
        )
        for group in groups
    )


def candidates(draft: Draft, rows: list[int], reasons: list[Grounds]) -> tuple[Candidate, ...]:
    """Rows of a draft as candidates, with their reasons."""
    matches = _matches(draft, rows)
    parts = {str(name): part[rows].round(3).tolist() for name, part in draft.parts.items()}
    return tuple(
        Candidate(
            song=draft.catalog.view(row),
            match_score=match,
            recommendation_type=(
                CandidateKind.RANDOM if row in draft.explored else CandidateKind.PREFERENCE
            ),
            matched_criteria=found.criteria,
            reason=found.reason,
            evidence=found.evidence,
            scores={name: values[place] for name, values in parts.items()},
        )
        for place, (row, match, found) in enumerate(zip(rows, matches, reasons, strict=True))
    )


def _matches(draft: Draft, rows: list[int]) -> list[float]:
    """0.01 … 1 each, 1 the strongest, 0 a song like any other.

    Standard deviations fall off steeply; their root is what "match" means to a reader: a song of half
    the strongest score matches by .71, one of a tenth by .32.
    """
    scores = draft.scores[rows]
    top = float(scores.max(initial=0.0))
    if top <= 0:
        return [round(1 - place / (2 * len(rows)), 3) for place in range(len(rows))]
    return [
        round(float(match), 3)
        for match in np.clip(np.sqrt(np.maximum(scores, 0) / top), _MIN_MATCH, 1)
    ]


def _why(draft: Draft, recorder: _Recorder, rows: list[int]) -> dict[str, Any]:
    """What `explain` needs later; JSON-able and bounded (about 10 kB)."""
    ids = draft.catalog.song_ids
    return {
        "rules": {
            rule: {"count": len(taken), "song_ids": ids[taken[:_MAX_IDS_PER_RULE]].tolist()}
            for rule, taken in draft.removed.items()
            if len(taken)
        },
        "ranks": recorder.ranks,
        "shortlist": ids[rows].tolist(),
        "explored": ids[sorted(draft.explored)].tolist(),
    }
