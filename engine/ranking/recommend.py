"""Answers a query: runs the recipe, fills the shelves, says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.catalog.catalog import Catalog, Mask
from engine.presentation.groups import Shelf, shelves
from engine.presentation.reasons import Grounds, grounds
from engine.ranking.recipes import RECIPES
from engine.ranking.steps import Draft, Step
from engine.scoring.scorers import Rows
from engine.scoring.taste import taste_of
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Candidate, Group, Query, Slate, StepTrace

#: What a stored answer keeps of the way to it: so many songs per step and per rule.
_KEPT_PER_STEP = 60
_KEPT_PER_RULE = 40
#: The weakest song of a slate still matches a little; 0 would read as a mistake.
_LEAST_MATCH = 0.01

Watch = Callable[[str, Draft], None]
Clock = Callable[[], float]


def _stopped() -> float:
    """The clock of a caller who does not measure."""
    return 0.0


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
    recorder = _Recorder(clock or _stopped)
    draft = run(
        query, catalog=catalog, model=model, settings=settings or EngineSettings(), watch=recorder
    )
    groups = recorder.timed("group", lambda: shelves(draft), lambda made: f"{len(made)} groups")
    rows = _shortlist(draft, groups)
    said = recorder.timed("give_reasons", lambda: grounds(draft, rows))
    return Slate(
        shortlist=candidates(draft, rows, said),
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
    """(≤ max(count, shortlist),) catalog rows as `recommend` orders them, without words: for measuring."""
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
        draft = step(replace(draft, note=""))
        if watch is not None:
            watch(step.__name__, draft)
    return draft


class _Recorder:
    """Writes down what each step did and how long it took."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.trace: list[StepTrace] = []
        self.ranks: dict[str, list[int]] = {}
        self.left = 0
        self.since = clock()

    def __call__(self, name: str, draft: Draft) -> None:
        if draft.rows is not None:
            ids = draft.catalog.song_ids[draft.rows[:_KEPT_PER_STEP]]
            self.ranks[name] = ids.tolist()
        self.left = draft.left
        self._note(name, draft.note)

    def timed(
        self, name: str, work: Callable[[], Any], note: Callable[[Any], str] | None = None
    ) -> Any:
        self.since = self.clock()
        made = work()
        self._note(name, note(made) if note else "")
        return made

    def _note(self, name: str, note: str) -> None:
        now = self.clock()
        spent_ms = round((now - self.since) * 1000, 3)
        self.trace.append(StepTrace(name=name, left=self.left, ms=spent_ms, note=note))
        self.since = now


def _shortlist(draft: Draft, groups: list[Shelf]) -> list[int]:
    """The list in its final order, then the shelf songs that are not on it."""
    listed = draft.rows.tolist() if draft.rows is not None else []
    return list(dict.fromkeys([*listed, *(row for shelf in groups for row in shelf.rows.tolist())]))


def _placed(groups: list[Shelf], rows: list[int]) -> tuple[Group, ...]:
    place = {row: number for number, row in enumerate(rows)}
    return tuple(
        Group(
            kind=shelf.kind,
            label=shelf.label,
            tagline=shelf.tagline,
            subject=shelf.subject,
            members=tuple(place[row] for row in shelf.rows.tolist()),
        )
        for shelf in groups
    )


def candidates(draft: Draft, rows: list[int], said: list[Grounds]) -> tuple[Candidate, ...]:
    """Rows of a draft with what is to be said of each, decoded."""
    matches = _matches(draft, rows)
    parts = {name: part[rows].round(3).tolist() for name, part in draft.parts.items()}
    return tuple(
        Candidate(
            song=draft.catalog.view(row),
            match_score=match,
            recommendation_type="random" if row in draft.explored else "preference",
            matched_criteria=found.criteria,
            reason=found.reason,
            evidence=found.evidence,
            scores={name: values[place] for name, values in parts.items()},
        )
        for place, (row, match, found) in enumerate(zip(rows, matches, said, strict=True))
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
        for match in np.clip(np.sqrt(np.maximum(scores, 0) / top), _LEAST_MATCH, 1)
    ]


def _why(draft: Draft, recorder: _Recorder, rows: list[int]) -> dict[str, Any]:
    """What `explain` needs later; JSON-able and bounded (about 10 kB)."""
    ids = draft.catalog.song_ids
    return {
        "rules": {
            rule: {"count": len(taken), "song_ids": ids[taken[:_KEPT_PER_RULE]].tolist()}
            for rule, taken in draft.removed.items()
            if len(taken)
        },
        "ranks": recorder.ranks,
        "shortlist": ids[rows].tolist(),
        "explored": ids[sorted(draft.explored)].tolist(),
    }


@dataclass
class _Follower:
    """Follows one song through a recipe."""

    row: int
    was_alive: bool = True

    def __post_init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.stopped_by = ""

    def __call__(self, name: str, draft: Draft) -> None:
        place = self._place(draft)
        present = bool(draft.alive[self.row]) if draft.rows is None else place is not None
        self.steps.append(
            {
                "step": name,
                "present": present,
                "rank": place,
                "left": draft.left,
                "score": round(float(draft.scores[self.row]), 3),
            }
        )
        if not present and not self.stopped_by:
            self.stopped_by = name

    def _place(self, draft: Draft) -> int | None:
        """1 = first; before the list is cut, the place by score among all songs left."""
        if draft.rows is not None:
            found = np.flatnonzero(draft.rows == self.row)
            return int(found[0]) + 1 if len(found) else None
        if not draft.parts or not draft.alive[self.row]:
            return None
        return _rank_by_score(draft, draft.alive, self.row)


def _rank_by_score(draft: Draft, alive: Mask, row: int) -> int:
    return int((draft.scores[alive] > draft.scores[row]).sum()) + 1


def explain(
    query: Query,
    song_id: int,
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings | None = None,
    why: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Tell why a song is in the answer to a query, or why it is not, by going through it again.

    The answer is JSON-able: `in_catalog`, `recommended`, `rank` (1 = first), `stopped_by` (the step after
    which it was gone), `rules` (what removed it), `steps` (present, rank, score after each), `scores`
    (parts of the blended score) and, where it has any, `evidence` and `reason`. why: the stored
    `Slate.why` of the run; what it knows of the song is given as `stored`, whatever changed since.
    """
    told = _gone_through(query, song_id, catalog, model, settings or EngineSettings())
    return told if why is None else {**told, "stored": explain_stored(why, song_id)}


def _gone_through(
    query: Query, song_id: int, catalog: Catalog, model: Model, settings: EngineSettings
) -> dict[str, Any]:
    row = int(catalog.rows_of([song_id])[0])
    if row < 0:
        return {
            "song_id": song_id,
            "in_catalog": False,
            "recommended": False,
            "rules": ["not in the catalog"],
        }
    follower = _Follower(row)
    draft = run(query, catalog=catalog, model=model, settings=settings, watch=follower)
    rank_now = follower.steps[-1]["rank"]
    return {
        "song_id": song_id,
        "in_catalog": True,
        "recommended": rank_now is not None and rank_now <= query.count,
        "rank": rank_now,
        "shelves": [s.label for s in shelves(draft) if row in s.rows],
        "explored": row in draft.explored,
        "stopped_by": follower.stopped_by,
        "rules": [rule for rule, taken in draft.removed.items() if row in taken],
        "steps": follower.steps,
        "scores": {name: round(float(part[row]), 3) for name, part in draft.parts.items()},
        **_said_of(draft, row),
    }


def _said_of(draft: Draft, row: int) -> dict[str, Any]:
    said = grounds(draft, [row])[0]
    shares = [{"song_id": e.song_id, "share": e.share} for e in said.evidence]
    return {"evidence": shares, "criteria": list(said.criteria), "reason": said.reason}


def explain_stored(why: Mapping[str, Any], song_id: int) -> dict[str, Any]:
    """Tell what a stored `Slate.why` knows of a song, without the catalog it was made from.

    Rules and ranks of songs that were far from the list may be missing from it (it is bounded).
    """
    ranks = {step: ids.index(song_id) + 1 for step, ids in why["ranks"].items() if song_id in ids}
    return {
        "song_id": song_id,
        "shortlisted": song_id in why["shortlist"],
        "explored": song_id in why["explored"],
        "rules": [rule for rule, taken in why["rules"].items() if song_id in taken["song_ids"]],
        "ranks": ranks,
    }
