"""Puts a few labelled songs from beyond the list into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.arrays import Mask, Rows
from engine.ranking.boosts import are_new_artists
from engine.ranking.diversity import artist_and_anime_caps, unit
from engine.ranking.draft import Draft
from engine.ranking.notes import Note, NoteCode


def explore(draft: Draft) -> Draft:
    """Put labelled songs from beyond the list into every tenth place, drawn by the seed.

    They come from the pool, so they suit the member; among those, the less shown are drawn more often.
    """
    assert draft.rows is not None
    count = min(draft.query.count, len(draft.rows))
    # Adventure 0 asks for no exploration, 1 for twice the usual share.
    factor = 1.0 if draft.query.adventure is None else 2 * draft.query.adventure
    places = _explored_places(count, draft.settings.shaping.exploration * factor)
    listed = draft.rows
    beyond = np.setdiff1d(np.concatenate([listed[count:], draft.pool]), listed[:count])
    beyond = _within_caps(draft, listed[:count], beyond)
    # Prefer new artists, then songs that suit better than an average one, while there are enough.
    for is_better in (are_new_artists, _suit):
        better = beyond[is_better(draft, beyond)]
        beyond = better if len(better) >= 2 * len(places) else beyond
    chosen = _drawn(draft, beyond, len(places))
    if not len(chosen):
        code = NoteCode.NOTHING_BEYOND_LIST if places else NoteCode.LIST_TOO_SHORT
        return replace(draft, notes=(Note(code=code),))
    kept = listed[~np.isin(listed, chosen)].tolist()
    for place, row in zip(places, chosen.tolist(), strict=False):
        kept.insert(place, row)
    rows = np.array(kept[: max(len(listed), count)], np.int32)
    explored = frozenset(chosen.tolist())
    note = Note(code=NoteCode.EXPLORED, count=len(chosen), total=count)
    return replace(draft, rows=rows, explored=explored, notes=(note,))


def _suit(draft: Draft, rows: Rows) -> Mask:
    """(r,) songs that suit the member better than an average one."""
    return np.asarray(draft.scores[rows] > 0)


def _explored_places(count: int, share: float) -> list[int]:
    """Evenly spread, each at the end of its stretch: the top of the list stays the best songs."""
    explored = int(count * share + 1e-9)
    return [int((number + 1) * count / explored) - 1 for number in range(explored)]


def _within_caps(draft: Draft, listed: Rows, beyond: Rows) -> Rows:
    """Those of `beyond` of which one may join `listed` at any place without breaking a cap."""
    both = np.concatenate([listed, beyond])
    fits = np.ones(len(beyond), bool)
    for cap in artist_and_anime_caps(draft, both):
        fits &= cap.room(besides=cap.codes[: len(listed)])[len(listed) :]
    return beyond[fits]


def _drawn(draft: Draft, beyond: Rows, count: int) -> Rows:
    """(≤ count,) without repetition, each of another artist and anime: together they break no cap."""
    if not len(beyond):
        return np.empty(0, np.int32)
    likely = np.exp(unit(draft.scores[beyond])) * (1.5 - draft.catalog.popularity_rank[beyond])
    rng = np.random.default_rng([draft.query.seed, len(beyond)])
    drawn = rng.choice(beyond, size=len(beyond), replace=False, p=likely / likely.sum())
    alone = np.ones(len(drawn), bool)
    for cap in artist_and_anime_caps(draft, drawn):
        first = np.unique(cap.codes, return_index=True)[1]
        again = np.ones(len(drawn), bool)
        again[first] = False
        alone &= ~again | (cap.codes < 0)
    return np.asarray(drawn[alone][:count], np.int32)
