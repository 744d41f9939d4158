"""Computes a member's taste: signals become weights of songs, likes become a mix of genres and moods."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from engine.arrays import Floats, Rows
from engine.catalog.catalog import Catalog
from engine.catalog.corpus import SITTING_PAUSE_S
from engine.catalog.terms import KINDS
from engine.scoring.known import KnownSongs
from engine.settings import SignalWeights
from engine.types import Query, Signal, SignalType

_DAY_S = 86_400.0
#: A sitting at karaoke: songs of the last hours belong to the session that is going on.
SESSION_HOURS = SITTING_PAUSE_S / 3600
#: Ratings up to this count as a dislike.
_MAX_BAD_RATING = 2.0
#: Signals that make a song the member's own; it is not recommended to them again.
_OWNING_TYPES = {SignalType.LIKE, SignalType.PLAYLIST}
_SUNG_TYPES = {SignalType.SANG, SignalType.PLAY, SignalType.COMPLETE, SignalType.REPLAY}
_MAX_NAMES = 8


@dataclass(frozen=True, kw_only=True)
class MemberTaste:
    """What the likes and signals of one query amount to, in rows of one catalog."""

    known: KnownSongs
    favorites: tuple[int, ...]  #: ids in the catalog, as asked
    unknown: tuple[int, ...]  #: ids that are not
    owned: Rows  #: favourites and what signals make the member's own
    disliked: Rows
    resting: Rows  #: unliked a short while ago
    #: {kind: (values,) share of each code among the known songs}, 0 everywhere when nothing is known
    mix: dict[str, Floats] = field(default_factory=dict)

    def top(self, catalog: Catalog) -> dict[str, list[tuple[str, float]]]:
        """The mix by name, largest shares first."""
        shown = {}
        for kind in ("genre", "mood", "artist", "anime"):
            shares = self.mix[kind]
            best = np.argsort(-shares, kind="stable")[:_MAX_NAMES]
            names = catalog.terms[kind].names
            shown[kind] = [(names[c], round(float(shares[c]), 4)) for c in best if shares[c] > 0]
        return shown


def taste_of(query: Query, *, catalog: Catalog, weights: SignalWeights) -> MemberTaste:
    """Weigh all favourites and signals of the query. Later events overrule earlier ones."""
    favorites = np.array(query.favorite_ids, np.int64)
    favorite_rows = catalog.rows_of(favorites)
    held = favorite_rows >= 0
    by_row = _signals_by_row(query, catalog)
    strength = {row: strength_of(found, query.now, weights) for row, found in by_row.items()}
    for row in favorite_rows[held].tolist():
        own = [s for s in by_row.get(row, ()) if s.type in _OWNING_TYPES]
        strength[row] = max(strength.get(row, 0.0), 0.0) + (0.0 if own else weights.like)
    known = _known(favorite_rows[held].tolist(), strength, by_row, query.now)
    last = {row: _last_verdict(found) for row, found in by_row.items()}
    owned = {row for row, verdict in last.items() if verdict and verdict.type in _OWNING_TYPES}
    return MemberTaste(
        known=known,
        favorites=tuple(favorites[held].tolist()),
        unknown=tuple(favorites[~held].tolist()),
        owned=_rows({*favorite_rows[held].tolist(), *owned}),
        disliked=_rows(row for row, verdict in last.items() if verdict and _is_negative(verdict)),
        resting=_rows(_resting(last, query.now, weights)),
        mix=mix_of(known, catalog),
    )


def mix_of(known: KnownSongs, catalog: Catalog) -> dict[str, Floats]:
    """{kind: (values,)} weighted share of each value among the known songs."""
    shares = {}
    for kind in KINDS:
        counts = catalog.terms[kind].counts(known.rows, known.weights)
        shares[kind] = counts / max(float(counts.sum()), 1e-9)
    return shares


def _signals_by_row(query: Query, catalog: Catalog) -> dict[int, list[Signal]]:
    """Signals of songs the catalog holds, oldest first; undated ones count as the oldest."""
    rows = catalog.rows_of([signal.song_id for signal in query.signals]).tolist()
    by_row: dict[int, list[Signal]] = defaultdict(list)
    for row, signal in zip(rows, query.signals, strict=True):
        if row >= 0:
            by_row[row].append(signal)
    for found in by_row.values():
        found.sort(key=_when)
    return dict(by_row)


def _when(signal: Signal) -> float:
    return signal.at.timestamp() if signal.at else 0.0


def strength_of(signals: list[Signal], now: datetime, weights: SignalWeights) -> float:
    """Sum over kinds, each kind growing with the logarithm of how often."""
    by_kind: dict[SignalType, float] = defaultdict(float)
    for signal in signals:
        by_kind[signal.type] += _faded(signal, now, weights) * _size(signal) * signal.times
    return sum(weights.of(kind) * log_growth(size, weights) for kind, size in by_kind.items())


def log_growth(size: float, weights: SignalWeights) -> float:
    """Combined weight of repeated signals: 1 → 1, 2 → 2, 4 → 3 …, at most `most_repeats`; odd in `size`."""
    times = abs(size)
    growth = times if times <= 1 else 1 + math.log2(times)
    return math.copysign(min(growth, weights.most_repeats), size)


def _size(signal: Signal) -> float:
    """How much of its weight one signal carries."""
    if signal.type is SignalType.RATING:
        return (signal.value - 2) / 3 if signal.value >= 2 else signal.value - 2
    if signal.type is SignalType.PLAYLIST:
        return max(0.5, 1 - 0.02 * signal.value)
    if signal.type is SignalType.PLAY:
        return float(np.clip(signal.value, 0.0, 1.0))
    return 1.0


def _faded(signal: Signal, now: datetime, weights: SignalWeights) -> float:
    if signal.at is None:
        return weights.floor if signal.type not in _OWNING_TYPES else 1.0
    age_days = max((now - signal.at).total_seconds() / _DAY_S, 0.0)
    return max(float(2 ** (-age_days / weights.half_life_days)), weights.floor)


def _last_verdict(signals: list[Signal]) -> Signal | None:
    """The latest explicit opinion; plays and skips are none."""
    explicit = {SignalType.LIKE, SignalType.UNLIKE, SignalType.DISLIKE, SignalType.PLAYLIST}
    opinions = [s for s in signals if s.type in explicit or s.type is SignalType.RATING]
    return opinions[-1] if opinions else None


def _is_negative(signal: Signal) -> bool:
    rated_badly = signal.type is SignalType.RATING and signal.value <= _MAX_BAD_RATING
    return signal.type is SignalType.DISLIKE or rated_badly


def _resting(last: dict[int, Signal | None], now: datetime, weights: SignalWeights) -> set[int]:
    rest_s = weights.unlike_rest_days * _DAY_S
    return {
        row
        for row, verdict in last.items()
        if verdict
        and verdict.type is SignalType.UNLIKE
        and (verdict.at is None or (now - verdict.at).total_seconds() < rest_s)
    }


def _known(
    favorites: list[int],
    strength: dict[int, float],
    by_row: dict[int, list[Signal]],
    now: datetime,
) -> KnownSongs:
    """Favourites in their order, then what else was taken up, newest first."""
    others = sorted(
        (row for row in by_row if row not in set(favorites)), key=lambda r: -_when(by_row[r][-1])
    )
    rows = [row for row in [*dict.fromkeys(favorites), *others] if strength[row] > 0]
    against = [row for row in others if strength[row] < 0]
    sung = {row: [s for s in by_row.get(row, ()) if s.type in _SUNG_TYPES] for row in rows}
    before = _sung_before(by_row, now)
    return KnownSongs(
        rows=np.array(rows, np.int32),
        weights=np.array([strength[row] for row in rows], np.float32),
        disliked=np.array(against, np.int32),
        disliked_weights=np.array([-strength[row] for row in against], np.float32),
        counts=np.array([max(len(sung[row]), 1) for row in rows], np.float32),
        age_days=_ages(sung, by_row, rows, now),
        session=_session(by_row, now),
        sung=np.array([row for row, _ in before], np.int32),
        sung_days_ago=np.array([age for _, age in before], np.float32),
    )


def _sung_before(by_row: dict[int, list[Signal]], now: datetime) -> list[tuple[int, float]]:
    """Row and days since, of every time a song was sung or played before the sitting that is going on."""
    ages = [
        (row, (now.timestamp() - _when(signal)) / _DAY_S)
        for row, signals in by_row.items()
        for signal in signals
        if signal.type in _SUNG_TYPES and signal.at
    ]
    return [(row, age) for row, age in ages if age * 24 > SESSION_HOURS]


def _ages(
    sung: dict[int, list[Signal]], by_row: dict[int, list[Signal]], rows: list[int], now: datetime
) -> Floats:
    """(k,) days since the last time; empty unless anything was ever sung or played."""
    if not any(sung.values()):
        return np.empty(0, np.float32)
    ages = [
        max((now.timestamp() - _when(found[-1])) / _DAY_S, 0.0)
        if (found := by_row.get(row))
        else 365.0
        for row in rows
    ]
    return np.array(ages, np.float32)


def _session(by_row: dict[int, list[Signal]], now: datetime) -> Rows:
    """(s,) rows sung or played in the last hours, oldest first."""
    since = now.timestamp() - SESSION_HOURS * 3600
    latest = {
        row: max(_when(s) for s in found if s.type in _SUNG_TYPES)
        for row, found in by_row.items()
        if any(s.type in _SUNG_TYPES for s in found)
    }
    return np.array(
        sorted((r for r in latest if latest[r] >= since), key=latest.__getitem__), np.int32
    )


def _rows(rows: object) -> Rows:
    return np.array(sorted(rows), np.int32)  # type: ignore[call-overload]
