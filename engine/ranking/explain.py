"""Explains why a song is in an answer, or why it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.catalog.catalog import Catalog
from engine.presentation.groups import make_groups
from engine.presentation.reasons import grounds
from engine.ranking.draft import Draft
from engine.ranking.notes import StepName
from engine.ranking.recommend import run
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Query


@dataclass
class _Follower:
    """Follows one song through a recipe."""

    row: int
    was_alive: bool = True

    def __post_init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.stopped_by = ""

    def __call__(self, name: StepName, draft: Draft) -> None:
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
        return int((draft.scores[draft.alive] > draft.scores[self.row]).sum()) + 1


def explain(
    query: Query,
    song_id: int,
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings | None = None,
    why: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Explain why a song is in the answer to a query, or why it is not, by running the recipe again.

    The answer is JSON-able: `in_catalog`, `recommended`, `rank` (1 = first), `stopped_by` (the step after
    which it was gone), `rules` (what removed it), `steps` (present, rank, score after each), `scores`
    (parts of the blended score) and, where it has any, `evidence` and `reason`. why: the stored
    `Slate.why` of the run; its entries for the song are given as `stored`.
    """
    explained = _replayed(query, song_id, catalog, model, settings or EngineSettings())
    return explained if why is None else {**explained, "stored": explain_stored(why, song_id)}


def _replayed(
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
    found = grounds(draft, [row])[0]
    return {
        "song_id": song_id,
        "in_catalog": True,
        "recommended": rank_now is not None and rank_now <= query.count,
        "rank": rank_now,
        "shelves": [group.label for group in make_groups(draft) if row in group.rows],
        "explored": row in draft.explored,
        "stopped_by": follower.stopped_by,
        "rules": [rule for rule, taken in draft.removed.items() if row in taken],
        "steps": follower.steps,
        "scores": {str(name): round(float(part[row]), 3) for name, part in draft.parts.items()},
        "evidence": [{"song_id": e.song_id, "share": e.share} for e in found.evidence],
        "criteria": list(found.criteria),
        "reason": found.reason,
    }


def explain_stored(why: Mapping[str, Any], song_id: int) -> dict[str, Any]:
    """Explain a song by a stored `Slate.why`, without the catalog of that run.

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
