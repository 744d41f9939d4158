"""Turns likes and playlist entries into interactions, popularity and trend of the songs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Array, Floats, Ids, Mask
from engine.catalog.building import NO_DATE

#: Half-life of a like in popularity: karaoke charts turn over in about a quarter.
POPULARITY_HALF_LIFE_DAYS = 90.0
#: Half-life of a like as a sign of taste, which lasts for years; its weight never falls below the floor.
LIKE_HALF_LIFE_DAYS = 730.0
LIKE_FLOOR = 0.3
#: Weight of a playlist entry (a like is 1), less the step for each place further down.
PLAYLIST_WEIGHT = 0.7
PLAYLIST_STEP = 0.01
TREND_DAYS = 14.0
TREND_BASE_DAYS = 90.0
RECENCY_HALF_LIFE_DAYS = 60.0
_DAY_S = 86_400.0
#: Rows of tuples, or one array per column.
Likes = Iterable[tuple[Any, ...]] | tuple[Array, ...]


@dataclass(frozen=True, kw_only=True)
class _Events:
    """Likes or playlist places as columns."""

    members: Ids
    songs: Ids
    at_s: npt.NDArray[np.float64]  #: NaN = no date
    weights: Floats


def _like_events(likes: Likes) -> _Events:
    members, songs, at_s = _as_columns(likes, 3)
    return _Events(
        members=members.astype(np.int64),
        songs=songs.astype(np.int64),
        at_s=_seconds(at_s),
        weights=np.ones(len(members), np.float32),
    )


def _playlist_events(places: Likes) -> _Events:
    members, songs, order, at_s = _as_columns(places, 4)
    later = np.clip(np.nan_to_num(order.astype(np.float64)), 0, 30)
    return _Events(
        members=members.astype(np.int64),
        songs=songs.astype(np.int64),
        at_s=_seconds(at_s),
        weights=(PLAYLIST_WEIGHT - PLAYLIST_STEP * later).astype(np.float32),
    )


def _as_columns(events: Likes, width: int) -> tuple[Array, ...]:
    if isinstance(events, tuple) and len(events) == width and isinstance(events[0], np.ndarray):
        return events
    rows = list(events)
    if not rows:
        return tuple(np.empty(0) for _ in range(width))
    return tuple(np.array(column, dtype=object) for column in zip(*rows, strict=True))


def _seconds(dates: Array) -> npt.NDArray[np.float64]:
    """Epoch seconds; datetimes must be timezone-aware."""
    if dates.dtype != object:
        return dates.astype(np.float64)
    seconds = (
        date.timestamp() if isinstance(date, datetime) else float("nan" if date is None else date)
        for date in dates
    )
    return np.fromiter(seconds, np.float64, len(dates))


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What likes and playlist entries come to."""

    member_ids: Ids
    corpus: dict[str, Any]  #: interactions, popularity, trend

    @classmethod
    def of(cls, song_ids: Ids, *, likes: Likes, playlist_songs: Likes, now: datetime) -> Behaviour:
        """likes and playlist_songs: as `Catalog.build` takes them."""
        members, rows, at_s, weights = _joined(
            song_ids, _like_events(likes), _playlist_events(playlist_songs)
        )
        age_days = _ages(at_s, now)
        member_ids, member_rows = np.unique(members, return_inverse=True)
        fade = np.maximum(np.exp2(-age_days / LIKE_HALF_LIFE_DAYS), LIKE_FLOOR)
        strength = (weights * fade).astype(np.float32)
        matrix, kept = _strongest(member_rows, rows, strength, (len(member_ids), len(song_ids)))
        decayed = np.exp2(-age_days[kept] / POPULARITY_HALF_LIFE_DAYS) * weights[kept]
        popularity = np.bincount(rows[kept], weights=decayed, minlength=len(song_ids))
        trend = _trend(rows[kept], age_days[kept], np.isnan(at_s[kept]), len(song_ids))
        return cls(
            member_ids=member_ids,
            corpus={
                "interactions": matrix,
                "popularity": popularity.astype(np.float32),
                "trend": trend,
            },
        )

    def digest(self) -> str:
        matrix = self.corpus["interactions"]
        return hash_arrays([self.member_ids, matrix.indptr, matrix.indices])


def _joined(song_ids: Ids, likes: _Events, places: _Events) -> tuple[Array, Array, Array, Array]:
    """Events of songs the catalog holds: members, rows, seconds, weights."""
    members = np.concatenate([likes.members, places.members])
    songs = np.concatenate([likes.songs, places.songs])
    at_s = np.concatenate([likes.at_s, places.at_s])
    weights = np.concatenate([likes.weights, places.weights])
    if not len(song_ids):
        return members[:0], songs[:0], at_s[:0], weights[:0]
    rows = np.searchsorted(song_ids, songs).clip(max=len(song_ids) - 1)
    held = song_ids[rows] == songs
    return members[held], rows[held], at_s[held], weights[held]


def _ages(at_s: npt.NDArray[np.float64], now: datetime) -> npt.NDArray[np.float64]:
    """Days since each event; one without a date is as old as the oldest known."""
    ages = np.maximum((now.timestamp() - at_s) / _DAY_S, 0)
    known = ages[~np.isnan(ages)]
    return np.where(np.isnan(ages), known.max() if len(known) else 0.0, ages)


def _strongest(
    members: Array, rows: Array, strength: Floats, shape: tuple[int, int]
) -> tuple[csr_matrix, Array]:
    """One entry per member and song, the strongest; also which events those are."""
    order = np.lexsort((strength, rows, members))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(members[order]) != 0) | (np.diff(rows[order]) != 0)
    kept = order[last]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(members[kept], minlength=shape[0]))])
    parts = (strength[kept], rows[kept].astype(np.int32), indptr.astype(np.int32))
    return csr_matrix(parts, shape=shape), kept


def _trend(rows: Array, age_days: Array, undated: Mask, n: int) -> Floats:
    """(n,) log growth of the last two weeks over the last quarter; 0 = as always.

    One added like on both sides keeps a song's first like from looking like a boom.
    """
    recent = np.bincount(rows[(age_days <= TREND_DAYS) & ~undated], minlength=n)
    base = np.bincount(rows[(age_days <= TREND_BASE_DAYS) & ~undated], minlength=n)
    expected = base * (TREND_DAYS / TREND_BASE_DAYS)
    return np.log((recent + 1) / (expected + 1)).astype(np.float32)


def recency_of(created_s: Ids, now: datetime) -> Floats:
    """(n,) 1 = added today, halved every two months; 0 without a date."""
    age_days = np.maximum((now.timestamp() - created_s.astype(np.float64)) / _DAY_S, 0)
    fresh = np.exp2(-age_days / RECENCY_HALF_LIFE_DAYS)
    return np.where(created_s == NO_DATE, 0, fresh).astype(np.float32)


def hash_arrays(arrays: Iterable[Array]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
