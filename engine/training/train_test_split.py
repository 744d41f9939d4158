"""Splits interactions into a training part and a test part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Minimum distinct songs of a sitting in the test; shorter ones only count as a member's past.
MIN_SITTING_SONGS = 6


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """One element per row of a data set, in file order. Codes are indices into lists of names."""

    member: Ints
    song: Ints
    at: npt.NDArray[np.float64]  #: Unix seconds, NaN = not known
    kind: Ints  #: code of the type of signal
    weight: npt.NDArray[np.float64]  #: how often, 1 = once
    session: Ints  #: -1 = none

    def __len__(self) -> int:
        return len(self.member)

    def __getitem__(self, chosen: Mask | npt.NDArray[np.intp]) -> Interactions:
        columns: dict[str, Any] = {f.name: getattr(self, f.name)[chosen] for f in fields(self)}
        return Interactions(**columns)

    @property
    def when(self) -> npt.NDArray[np.float64]:
        """Seconds, undated ones before all others."""
        return np.where(np.isnan(self.at), -np.inf, self.at)

    @classmethod
    def joined(cls, first: Interactions, second: Interactions) -> Interactions:
        return cls(
            **{
                f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
                for f in fields(cls)
            }
        )


@dataclass(frozen=True, kw_only=True)
class TrainTestSplit:
    train: Interactions
    test: Interactions


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """A session of the test: places in `TrainTestSplit.test`."""

    session: int
    member: int
    given: npt.NDArray[np.intp]  #: first half, in order
    wanted: npt.NDArray[np.intp]  #: the other half
    past_in_test: npt.NDArray[np.intp]  #: earlier rows of the member that training did not see


def with_min_partners(data: Interactions, minimum: int) -> Interactions:
    """Rows of members and songs with at least `minimum` distinct partners, repeated until stable."""
    kept = np.ones(len(data), bool)
    while minimum > 1 and kept.any():
        before = int(kept.sum())
        pairs = np.unique(np.stack([data.member[kept], data.song[kept]]), axis=1)
        of_member = np.bincount(pairs[0], minlength=int(data.member.max()) + 1)
        of_song = np.bincount(pairs[1], minlength=int(data.song.max()) + 1)
        kept &= (of_member[data.member] >= minimum) & (of_song[data.song] >= minimum)
        if int(kept.sum()) == before:
            break
    return data[kept]


def random_split(data: Interactions, *, holdout: float, seed: int) -> TrainTestSplit:
    """Of each member's songs the share `holdout`, rounded, is test; at least one stays for training."""
    pairs, pair_of_row = np.unique(np.stack([data.member, data.song]), axis=1, return_inverse=True)
    draw = np.random.default_rng(seed).random((pairs.shape[1],))
    order = np.lexsort((draw, pairs[0]))
    sizes = np.bincount(pairs[0])
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(draw), np.int64)
    place[order] = np.arange(len(draw)) - starts[pairs[0][order]]
    quota = np.minimum(np.round(holdout * sizes), np.maximum(sizes - 1, 0))
    tested = (place < quota[pairs[0]])[pair_of_row.ravel()]
    return TrainTestSplit(train=data[~tested], test=data[tested])


def temporal_split(data: Interactions, *, holdout: float) -> TrainTestSplit:
    """The latest share `holdout` of all rows is test, less songs the member already had."""
    if np.isnan(data.at).all():
        raise ValueError("protocol temporal: no row has a timestamp; use --protocol random")
    threshold = np.quantile(data.when, 1 - holdout, method="higher")
    late = data.when >= threshold
    train, test = data[~late], data[late]
    known = set(zip(train.member.tolist(), train.song.tolist(), strict=True))
    fresh = [
        pair not in known for pair in zip(test.member.tolist(), test.song.tolist(), strict=True)
    ]
    return TrainTestSplit(train=train, test=test[np.array(fresh, bool)])


def session_split(
    data: Interactions, *, since: float, until: float | None = None
) -> TrainTestSplit:
    """Sessions that begin at `since` (Unix seconds) or later are test; undated ones are training."""
    begins = np.full(int(data.session.max(initial=-1)) + 2, np.inf)
    np.minimum.at(begins, data.session, data.when)
    begin = np.where(data.session >= 0, begins[data.session], data.when)
    late = begin >= since
    stays = np.ones(len(data), bool) if until is None else begin < until
    return TrainTestSplit(train=data[~late], test=data[late & stays])


def sittings(split: TrainTestSplit) -> Iterator[Sitting]:
    """Sessions of the test part with enough songs: the first half is given, the rest wanted."""
    test = split.test
    order = np.lexsort((np.arange(len(test)), test.when))
    by_session: dict[int, list[int]] = {}
    for place in order.tolist():
        if test.session[place] >= 0:
            by_session.setdefault(int(test.session[place]), []).append(place)
    for session, places in by_session.items():
        _, first = np.unique(test.song[places], return_index=True)
        sung = np.array(places)[np.sort(first)]
        if len(sung) >= MIN_SITTING_SONGS:
            half = len(sung) // 2
            member, begin = int(test.member[sung[0]]), test.when[places[0]]
            earlier = (test.member == member) & (test.when < begin) & (test.session != session)
            yield Sitting(
                session=session,
                member=member,
                given=sung[:half],
                wanted=sung[half:],
                past_in_test=np.flatnonzero(earlier),
            )
