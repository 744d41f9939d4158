"""Decides which songs a member may be shown at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from engine.arrays import Mask, Rows
from engine.catalog.catalog import Catalog
from engine.ranking.draft import Draft


def only_what_was_asked(draft: Draft) -> Draft:
    """Keep active songs that pass the caller's filters. An empty result stays empty: a filter is a promise."""
    only, catalog = draft.query.only, draft.catalog
    rules = [("inactive", catalog.inactive)]
    if only.song_ids:
        rules.append(("only: song_ids", _but(np.isin(catalog.song_ids, list(only.song_ids)))))
    for kind, names in (
        ("artist", only.artists),
        ("genre", only.genres),
        ("mood", only.moods),
        ("language", only.languages),
    ):
        if names:
            terms = catalog.terms[kind]
            rules.append((f"only: {kind}", _but(terms.mask(terms.lookup(names)))))
    rules += [
        (f"only: {machine}", _but(_has_number(catalog, machine)))
        for machine in sorted(only.karaoke)
    ]
    return _without(draft, rules)


def _has_number(catalog: Catalog, machine: str) -> Mask:
    if machine not in ("tj", "ky"):
        raise ValueError(f"karaoke: {machine!r} is not tj or ky")
    return catalog.has_tj if machine == "tj" else catalog.has_ky


def without_known_songs(draft: Draft) -> Draft:
    """Leave out favourites in every version of them, unless the caller allows known songs."""
    if draft.query.allow_known:
        return replace(draft, note="known songs allowed")
    taste, catalog = draft.taste, draft.catalog
    return _without(
        draft,
        [
            ("favourite", taste.owned),
            ("another version of a favourite", catalog.versions_of(taste.owned)),
        ],
        when_empty="every song left is a favourite",
    )


def without_what_was_refused(draft: Draft) -> Draft:
    """Leave out dislikes, blocks and what staff barred."""
    catalog, exclude = draft.catalog, draft.query.exclude
    ids = catalog.rows_of(exclude.song_ids)
    rules = [
        ("disliked", catalog.versions_of(draft.taste.disliked)),
        ("unliked lately", draft.taste.resting),
        ("excluded song", ids[ids >= 0]),
    ]
    for kind, names in (
        ("artist", exclude.artists),
        ("genre", exclude.genres),
        ("mood", exclude.moods),
        ("anime", exclude.anime),
    ):
        if names:
            rules.append((f"excluded {kind}", rows_holding(catalog, kind, names)))
    rules += [
        (f"{p.source}: barred {p.name}", rows_holding(catalog, p.kind, [p.name]))
        for p in draft.query.preferences
        if p.weight < 0 and p.kind in catalog.terms
    ]
    return _without(draft, rules)


def rows_holding(catalog: Catalog, kind: str, names: Iterable[str]) -> Rows:
    """(songs,) that hold any of the values, ascending."""
    terms = catalog.terms[kind]
    held = [terms.rows_of(code) for code in terms.lookup(names).tolist()]
    return np.unique(np.concatenate(held)) if held else np.empty(0, np.int32)


def _but(mask: Mask) -> Rows:
    """(songs,) outside of the mask."""
    return np.flatnonzero(~mask).astype(np.int32)


def _without(draft: Draft, rules: list[tuple[str, Rows]], *, when_empty: str = "") -> Draft:
    """Apply rules in order; the note counts what each one took."""
    alive, removed, said = draft.alive.copy(), dict(draft.removed), []
    for rule, rows in rules:
        taken = rows[alive[rows]]
        if len(taken):
            alive[taken] = False
            removed[rule] = taken
            said.append(f"{rule}: {len(taken)}")
    if said and not alive.any():
        said.append(f"nothing left{', ' + when_empty if when_empty else ''}: the list is empty")
    return replace(draft, alive=alive, removed=removed, note="; ".join(said))
