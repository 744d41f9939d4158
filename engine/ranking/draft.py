"""Holds a recommendation while the steps of a recipe work on it.

A step takes a `Draft` and returns the next one. Filters and boosts work on masks and scores over all
songs; once `keep_pool` has run, `draft.rows` is the list itself, best first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from engine.arrays import Floats, Mask, Rows
from engine.catalog.catalog import Catalog
from engine.ranking.notes import Note
from engine.scoring.taste import MemberTaste
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Query, Strategy

#: Caps and exploration are counted per so many songs: one screen of quick picks.
WINDOW = 20
Step = Callable[["Draft"], "Draft"]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A recommendation in the making."""

    query: Query
    catalog: Catalog
    model: Model
    settings: EngineSettings
    taste: MemberTaste
    alive: Mask  #: (n,) songs no rule has removed
    scores: Floats  #: (n,) blended, in standard deviations; zeros before `score`
    parts: dict[str, Floats] = field(default_factory=dict)
    rows: Rows | None = None  #: (p,) the list, best first; None until `keep_pool`
    pool: Rows = field(default_factory=lambda: np.empty(0, np.int32))  #: the list before variety
    explored: frozenset[int] = frozenset()  #: rows that are labelled exploration
    #: {`Rule.name`: rows it removed}; a song is counted at the first rule that applies to it
    removed: dict[str, Rows] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()  #: of the step that ran last

    @property
    def left(self) -> int:
        return int(self.alive.sum()) if self.rows is None else len(self.rows)

    @property
    def length(self) -> int:
        """Songs the shortlist should hold."""
        extra = 1.5 if self.query.strategy is Strategy.DEEP else 1.0
        return max(int(self.settings.shaping.shortlist * extra), self.query.count)
