"""Computes how well each song suits the activity, mood and time of day of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.arrays import Floats
from engine.catalog.catalog import Catalog
from engine.catalog.text import term_key
from engine.ranking.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One part of the request's context, and the words that suit it."""

    name: str  #: a time of day, an activity, an occasion of the table, or a mood of the catalog
    is_mood: bool
    words: dict[str, float]  #: {key of a genre or mood word: multiplier}


def situations_of(draft: Draft) -> list[Situation]:
    """The parts of the context, the most specific first: activity, mood, time of day."""
    context, table = draft.query.context, draft.settings.situations
    parts: list[tuple[str, bool]] = []
    if context.activity:
        parts.append((context.activity.value, False))
    if context.mood:
        occasion = table.occasion(context.mood)
        parts.append((occasion or context.mood, not occasion))
    if context.time_of_day:
        parts.append((context.time_of_day.value, False))
    found = (
        Situation(
            name=name,
            is_mood=is_mood,
            words={term_key(name): table.asked_mood} if is_mood else table.of(name),
        )
        for name, is_mood in parts
    )
    return [situation for situation in found if situation.words]


def situation_multipliers(draft: Draft) -> Floats | None:
    """(n,) how much each song suits the time, activity and mood; None without any."""
    words: dict[str, float] = {}
    for situation in situations_of(draft):
        for word, multiplier in situation.words.items():
            words[word] = words.get(word, 1.0) * multiplier
    if not words:
        return None
    strength = draft.settings.situations.strength
    return np.asarray(np.exp(strength * suiting(draft.catalog, words)), np.float32)


def suiting(catalog: Catalog, words: Mapping[str, float]) -> Floats:
    """(n,) sum of the logarithms of a song's multipliers; a value of several words takes its strongest."""
    total = np.zeros(catalog.n, np.float32)
    for kind in ("genre", "mood"):
        terms = catalog.terms[kind]
        logs = np.log(np.array([multiplier_of(name, words) for name in terms.names], np.float32))
        total += terms.matrix @ logs
    return total


def multiplier_of(name: str, words: Mapping[str, float]) -> float:
    """The multiplier of one genre or mood as the catalog writes it; 1 without an entry."""
    keys = [term_key(name), *map(term_key, name.split())]
    hits = [words[key] for key in keys if key in words]
    return max(hits, key=lambda value: abs(np.log(value)), default=1.0)
