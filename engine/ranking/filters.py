"""Decides which songs a member may be shown at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import Mask, Rows
from engine.catalog.catalog import Catalog
from engine.ranking.draft import Draft
from engine.ranking.notes import FilterKind, Note, NoteCode

#: What `why` calls a filter; clients read these.
_FILTER_NAMES = {FilterKind.SONG: "song_ids"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One reason to leave songs out."""

    #: What `why` calls it; clients read these.
    name: str
    note: Note  #: without its count
    rows: Rows  #: songs it applies to


def only_what_was_asked(draft: Draft) -> Draft:
    """Keep active songs that pass the caller's filters; when none does, the list is empty."""
    only, catalog = draft.query.only, draft.catalog
    rules = [Rule(name="inactive", note=Note(code=NoteCode.INACTIVE), rows=catalog.inactive)]
    if only.song_ids:
        asked = np.isin(catalog.song_ids, list(only.song_ids))
        rules.append(_outside(FilterKind.SONG, asked))
    for kind, names in (
        (FilterKind.ARTIST, only.artists),
        (FilterKind.GENRE, only.genres),
        (FilterKind.MOOD, only.moods),
        (FilterKind.LANGUAGE, only.languages),
    ):
        if names:
            terms = catalog.terms[kind]
            rules.append(_outside(kind, terms.mask(terms.lookup(names))))
    for machine in sorted(only.karaoke):
        if machine not in ("tj", "ky"):
            raise ValueError(f"karaoke: {machine!r} is not tj or ky")
        numbered = catalog.has_tj if machine == "tj" else catalog.has_ky
        rules.append(_outside(FilterKind(machine), numbered))
    return _without(draft, rules)


def _outside(kind: FilterKind, passing: Mask) -> Rule:
    return Rule(
        name=f"only: {_FILTER_NAMES.get(kind, kind)}",
        note=Note(code=NoteCode.OUTSIDE_FILTER, kind=kind),
        rows=np.flatnonzero(~passing).astype(np.int32),
    )


def without_known_songs(draft: Draft) -> Draft:
    """Leave out favourites in every version of them, unless the caller allows known songs."""
    if draft.query.allow_known:
        return replace(draft, notes=(Note(code=NoteCode.KNOWN_SONGS_ALLOWED),))
    owned = draft.taste.owned
    rules = [
        Rule(name="favourite", note=Note(code=NoteCode.FAVORITE), rows=owned),
        Rule(
            name="another version of a favourite",
            note=Note(code=NoteCode.FAVORITE_VERSION),
            rows=draft.catalog.versions_of(owned),
        ),
    ]
    return _without(draft, rules, when_empty=NoteCode.ONLY_FAVORITES_LEFT)


def without_what_was_refused(draft: Draft) -> Draft:
    """Leave out dislikes, blocks and what staff barred."""
    catalog, exclude, taste = draft.catalog, draft.query.exclude, draft.taste
    ids = catalog.rows_of(exclude.song_ids)
    rules = [
        Rule(
            name="disliked",
            note=Note(code=NoteCode.DISLIKED),
            rows=catalog.versions_of(taste.disliked),
        ),
        Rule(name="unliked lately", note=Note(code=NoteCode.UNLIKED_LATELY), rows=taste.resting),
        _excluded(FilterKind.SONG, ids[ids >= 0]),
    ]
    for kind, names in (
        (FilterKind.ARTIST, exclude.artists),
        (FilterKind.GENRE, exclude.genres),
        (FilterKind.MOOD, exclude.moods),
        (FilterKind.ANIME, exclude.anime),
    ):
        if names:
            rules.append(_excluded(kind, rows_holding(catalog, kind, names)))
    rules += [
        Rule(
            name=f"{preference.source}: barred {preference.name}",
            note=Note(code=NoteCode.BARRED, source=preference.source, name=preference.name),
            rows=rows_holding(catalog, preference.kind, [preference.name]),
        )
        for preference in draft.query.preferences
        if preference.weight < 0 and preference.kind in catalog.terms
    ]
    return _without(draft, rules)


def _excluded(kind: FilterKind, rows: Rows) -> Rule:
    return Rule(name=f"excluded {kind}", note=Note(code=NoteCode.EXCLUDED, kind=kind), rows=rows)


def rows_holding(catalog: Catalog, kind: str, names: Iterable[str]) -> Rows:
    """(songs,) that hold any of the values, ascending."""
    terms = catalog.terms[kind]
    held = [terms.rows_of(code) for code in terms.lookup(names).tolist()]
    return np.unique(np.concatenate(held)) if held else np.empty(0, np.int32)


def _without(
    draft: Draft, rules: list[Rule], *, when_empty: NoteCode = NoteCode.NOTHING_LEFT
) -> Draft:
    """Apply rules in order; the notes count what each one removed."""
    alive, removed, notes = draft.alive.copy(), dict(draft.removed), []
    for rule in rules:
        taken = rule.rows[alive[rule.rows]]
        if len(taken):
            alive[taken] = False
            removed[rule.name] = taken
            notes.append(replace(rule.note, count=len(taken)))
    if notes and not alive.any():
        notes.append(Note(code=when_empty))
    return replace(draft, alive=alive, removed=removed, notes=tuple(notes))
