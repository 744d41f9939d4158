"""Finds the songs most like some given ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from engine.catalog.catalog import Catalog
from engine.presentation.reasons import grounds
from engine.ranking.recipes import SIMILAR
from engine.ranking.recommend import candidates, run
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Candidate, Locale, Query


def similar(
    song_ids: Sequence[int],
    *,
    catalog: Catalog,
    model: Model,
    settings: EngineSettings | None = None,
    limit: int = 20,
    locale: Locale = Locale.KO,
    now: datetime,
) -> tuple[Candidate, ...]:
    """Songs like all of the given ones together, best first, without them and their other versions.

    Ids the catalog does not hold are left out; with none left the answer is empty. Reasons name the
    given songs without claiming that the member likes them. now: timezone-aware, for "new".
    """
    query = Query(member_key="", favorite_ids=tuple(song_ids), count=limit, locale=locale, now=now)
    draft = run(
        query,
        catalog=catalog,
        model=model,
        settings=settings or EngineSettings(),
        recipe=SIMILAR,
    )
    if draft.rows is None or not draft.taste.known.count:
        return ()
    rows = draft.rows[:limit].tolist()
    return candidates(draft, rows, grounds(draft, rows, likes=False))
