"""Learns from events which genres and moods suit a situation, starting from staff's table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.catalog.catalog import Catalog
from engine.catalog.text import term_key
from engine.settings import SituationTable

#: Minimum events of a situation.
MIN_EVENTS = 200
#: Minimum expected events of a word in a situation.
MIN_EXPECTED = 10.0
#: Additive smoothing, in events of the overall mix: a word without events is rare, not impossible.
_SMOOTHING = 50.0
#: Maximum observed ratio, and its inverse the minimum.
_MAX_RATIO = 3.0
#: Multipliers are rounded to this.
_DECIMALS = 2


@dataclass(frozen=True, kw_only=True)
class Heard:
    """How often songs of each word were taken up in each situation. JSON-able by `to_json`."""

    #: {situation: events}
    events: Mapping[str, float] = field(default_factory=dict)
    #: {situation: {genre or mood: events}}
    words: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: {genre or mood: share of all events, whatever the situation}
    usual: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"events": self.events, "words": self.words, "usual": self.usual}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Heard:
        return cls(**table)


def heard(catalog: Catalog, events: Iterable[tuple[int, Sequence[str]]]) -> Heard:
    """Count events of songs the catalog holds. events: song id and the situations it was taken up in."""
    counted = [(song_id, tuple(situations)) for song_id, situations in events]
    rows = catalog.rows_of([song_id for song_id, _ in counted]).tolist()
    of_situation: dict[str, list[int]] = defaultdict(list)
    for row, (_, situations) in zip(rows, counted, strict=True):
        for situation in situations if row >= 0 else ():
            of_situation[situation].append(row)
    known = [row for row in rows if row >= 0]
    if not known:
        return Heard()
    return Heard(
        events={name: float(len(songs)) for name, songs in of_situation.items()},
        words={name: _words(catalog, songs) for name, songs in of_situation.items()},
        usual={word: count / len(known) for word, count in _words(catalog, known).items()},
    )


def _words(catalog: Catalog, rows: list[int]) -> dict[str, float]:
    """{genre or mood: how many of the rows hold it}"""
    found: dict[str, float] = {}
    for kind in ("genre", "mood"):
        terms = catalog.terms[kind]
        counts = terms.counts(np.array(rows, np.int32))
        for code in np.flatnonzero(counts).tolist():
            found[terms.names[code]] = found.get(terms.names[code], 0.0) + float(counts[code])
    return found


def with_learned(table: SituationTable, found: Heard) -> SituationTable:
    """Staff's table, shrunk towards what members did by the number of events.

    A multiplier is the geometric mean of staff's number, which weighs `prior_events`, and the observed one,
    which weighs its events: with as many events as that, each counts for half.
    """
    known = SituationTable().multipliers
    enough = [name for name, events in found.events.items() if events >= MIN_EVENTS]
    # Situations that only have events start from an empty entry.
    multipliers = {**{name: {} for name in enough if name in known}, **table.multipliers}
    learned = {
        situation: _learned(table, found, situation, words)
        for situation, words in multipliers.items()
    }
    occasions = {
        name: _learned(table, found, name, words) for name, words in table.occasions.items()
    }
    return replace(table, multipliers=learned, occasions=occasions)


def _learned(
    table: SituationTable, found: Heard, situation: str, words: Mapping[str, float]
) -> dict[str, float]:
    events = found.events.get(situation, 0.0)
    if events < MIN_EVENTS:
        return dict(words)
    weight = events / (events + table.prior_events)
    spelled = {term_key(word): word for word in words}
    learned = dict(words)
    for word, usual in found.usual.items():
        if usual * events < MIN_EXPECTED:
            continue
        name = spelled.get(term_key(word), word)
        observed = found.words[situation].get(word, 0.0)
        ratio = (observed + _SMOOTHING * usual) / ((events + _SMOOTHING) * usual)
        ratio = min(max(ratio, 1 / _MAX_RATIO), _MAX_RATIO)
        logarithm = weight * math.log(ratio) + (1 - weight) * math.log(words.get(name, 1.0))
        learned[name] = round(math.exp(logarithm), _DECIMALS)
    return learned
