"""Scores the songs, then lifts or sinks them: adventure, preferences of staff and model, recent impressions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from engine.arrays import Mask, Rows
from engine.ranking.draft import Draft
from engine.ranking.filters import rows_holding
from engine.ranking.notes import Note, NoteCode
from engine.ranking.situations import situation_multipliers
from engine.scoring.blend import blend
from engine.types import PreferenceSource
from engine.weights import ScoreAdjustment

#: A song with a positive signal from this long before it was last shown, or later, was not ignored.
_TAKEN_UP_WITHIN = timedelta(days=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def score(draft: Draft) -> Draft:
    """Blend all scorers, the situation included."""
    if not draft.catalog.n:
        return replace(draft, notes=(Note(code=NoteCode.EMPTY_CATALOG),))
    blended = blend(
        draft.model,
        draft.catalog.corpus,
        draft.taste.known,
        draft.settings.blend,
        adventure=draft.query.adventure,
        context_multipliers=situation_multipliers(draft),
    )
    notes = (
        Note(code=NoteCode.KNOWN_SONGS, count=draft.taste.known.count),
        Note(code=NoteCode.SCORE_PARTS, parts=tuple(blended.parts)),
    )
    return replace(draft, scores=blended.total, parts=dict(blended.parts), notes=notes)


def lean_to_adventure(draft: Draft) -> Draft:
    """Lift artists that are new to the member for adventure above .5, known ones below."""
    adventure = draft.query.adventure
    if adventure is None or not draft.taste.known.count:
        return draft
    lean = 2 * float(np.clip(adventure, 0, 1)) - 1
    new = are_new_artists(draft, np.arange(draft.catalog.n, dtype=np.int32))
    lift = lean * draft.settings.shaping.adventure
    part = np.where(new, lean, -lean).astype(np.float32) * draft.settings.shaping.adventure
    return replace(
        draft,
        scores=draft.scores + part,
        parts={**draft.parts, ScoreAdjustment.ADVENTURE: part},
        notes=(Note(code=NoteCode.NEW_ARTISTS, amount=round(lift, 2)),),
    )


def are_new_artists(draft: Draft, rows: Rows) -> Mask:
    """(r,) songs that name no artist among what the member likes, plays or sings."""
    terms, heard = draft.catalog.terms["artist"], draft.taste.mix["artist"] > 0
    codes, owners = terms.gather(rows)
    new = np.ones(len(rows), bool)
    new[owners[heard[codes]]] = False
    return new


def lean_to_preferences(draft: Draft) -> Draft:
    """Lift what staff pinned and what the model derived from the likes."""
    if not draft.query.preferences:
        return draft
    shaping = draft.settings.shaping
    scores, parts, notes = draft.scores.copy(), dict(draft.parts), []
    for preference in draft.query.preferences:
        if preference.weight <= 0 or preference.kind not in draft.catalog.terms:
            continue
        source, name = preference.source, preference.name
        rows = rows_holding(draft.catalog, preference.kind, [name])
        if not len(rows):
            code = NoteCode.PREFERENCE_WITHOUT_SONGS
            notes.append(Note(code=code, source=source, name=name))
            continue
        strength = shaping.staff_pin if source == PreferenceSource.STAFF else shaping.model_lean
        lift = strength * min(preference.weight, 1.0)
        part = parts.setdefault(source, np.zeros(draft.catalog.n, np.float32))
        part[rows] += lift
        scores[rows] += lift
        amount = round(lift, 2)
        notes.append(Note(code=NoteCode.PREFERENCE, source=source, name=name, amount=amount))
    return replace(draft, scores=scores, parts=parts, notes=tuple(notes))


def rest_what_was_shown(draft: Draft) -> Draft:
    """Sink songs that were shown and ignored; the penalty fades with the days."""
    shaping, query = draft.settings.shaping, draft.query
    if not query.impressions:
        return draft
    rows = draft.catalog.rows_of([shown.song_id for shown in query.impressions])
    part = np.zeros(draft.catalog.n, np.float32)
    # {song id: time of the member's latest positive signal about it}
    taken_up: dict[int, datetime] = {}
    for signal in query.signals:
        if signal.at and draft.settings.signals.of(signal.type) > 0:
            taken_up[signal.song_id] = max(taken_up.get(signal.song_id, signal.at), signal.at)
    for row, shown in zip(rows.tolist(), query.impressions, strict=True):
        if row < 0 or shown.last_at - taken_up.get(shown.song_id, _LONG_AGO) < _TAKEN_UP_WITHIN:
            continue
        age_days = max((query.now - shown.last_at).total_seconds() / 86_400, 0.0)
        fresh = 2 ** (-age_days / shaping.rotation_half_life_days)
        part[row] = -shaping.rotation * np.log2(1 + shown.times) * fresh
    return replace(
        draft,
        scores=draft.scores + part,
        parts={**draft.parts, ScoreAdjustment.ROTATION: part},
        notes=(Note(code=NoteCode.SHOWN_LATELY, count=int((part < -0.01).sum())),),
    )
