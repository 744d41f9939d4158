"""Ranks what may come next in a current sitting: several scorers, combined by gradient boosted trees.

`FEATURES` describe each candidate. The trees are trained on sittings that are later than the
sittings its scorers were fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows, places_by_code
from engine.catalog.corpus import Corpus, Events
from engine.scoring.known import KnownSongs
from engine.scoring.scorers import Factors, Neighbours
from engine.training import boosted_trees, fitting
from engine.training.boosted_trees import Forest, ForestSettings

FEATURES = (
    # from the songs of this sitting
    "ease", "knn", "rp3", "als", "knn_last", "content", "artist_here",
    # from the member's own past
    "times", "log_days_ago", "rate", "faded_times", "times_30", "times_90", "gaps", "first_ago",
    "past_ease", "past_knn", "artist_past",
    # from all members
    "popularity", "last_30", "last_90", "last_365", "log_age", "members", "artist_popularity",
    # of the member: the same for all candidates
    "sittings", "songs_known", "last_sitting_ago", "sung_so_far",
)  # fmt: skip
_PLACE = {name: place for place, name in enumerate(FEATURES)}
_STATS = FEATURES[_PLACE["popularity"] : _PLACE["artist_popularity"] + 1]
_NEVER_LOG_DAYS = 9.0
_HALF_LIFE_DAYS = 60.0
#: Best songs of each scorer that become candidates.
_CANDIDATES_PER_OPINION = 100
#: Minimum songs of a sitting to learn from; half of them are given.
_MIN_SONGS = 6
#: Minimum sittings to train on.
_MIN_SITTINGS = 40
_TARGET_SITTINGS = 2000
_WINDOWS = 5
_NEGATIVES_PER_LIST = 150


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """Fitted on sittings: one row of data per sitting instead of one per member."""

    ease: csr_matrix
    knn: csr_matrix
    rp3: csr_matrix
    als: Floats
    als_gram: Floats
    #: (n, len(_STATS)) counts over all members, song by song.
    stats: Floats


@dataclass(frozen=True, kw_only=True)
class SessionRanker:
    """Orders songs for a member in the middle of a sitting."""

    opinions: Opinions
    forest: Forest

    def scores(self, corpus: Corpus, known: KnownSongs) -> tuple[Rows, Floats]:
        """(c,) candidate rows and (c,) log-odds that each will be sung in what is left."""
        rows, values = features(self.opinions, corpus, known)
        return rows, self.forest.predict(values)


def train(corpus: Corpus, *, seed: int) -> SessionRanker | None:
    """None where there are too few sittings to learn from."""
    if corpus.events is None or not _enough(corpus.events):
        return None
    log = SittingLog(corpus)
    lists = list(log.lists(seed))
    if len(lists) < _MIN_SITTINGS:
        return None
    values = np.concatenate([values for values, _ in lists])
    labels = np.concatenate([labels for _, labels in lists])
    forest = boosted_trees.fit(values, labels, settings=ForestSettings(), seed=seed)
    return SessionRanker(opinions=log.opinions(len(log.order), seed), forest=forest)


def _enough(events: Events) -> bool:
    """Whether there are enough sittings of `_MIN_SONGS` or more."""
    pairs = np.unique(np.stack([events.session, events.row]), axis=1)
    _, songs = np.unique(pairs[0], return_counts=True)
    return int((songs >= _MIN_SONGS).sum()) >= _MIN_SITTINGS


class SittingLog:
    """All sittings in time order."""

    def __init__(self, corpus: Corpus) -> None:
        assert corpus.events is not None
        self.corpus, self.events = corpus, corpus.events
        _, start = np.unique(self.events.session, return_index=True)
        by_day = np.argsort(self.events.day[start], kind="stable")
        places = np.argsort(self.events.session, kind="stable")
        bounds = np.searchsorted(self.events.session[places], self.events.session[start])
        ends = np.append(bounds[1:], len(places))
        #: Places of the events of each sitting, sittings in time order.
        self.order = [places[bounds[s] : ends[s]] for s in by_day]
        self.day = self.events.day[start][by_day]
        self.places_of_member = places_by_code(self.events.member)

    def lists(self, seed: int) -> Iterator[tuple[Floats, npt.NDArray[np.bool_]]]:
        """Candidates and which were sung, per sitting of the later part, newest windows first.

        The scorers of each list are fitted only on the days before its window.
        """
        random = np.random.default_rng(seed)
        found = 0
        for first, last in self.windows():
            opinions = self.opinions(first, seed)
            for number in range(first, last):
                for known, rest in self._questions(number):
                    rows, values = features(opinions, self.corpus, known)
                    wanted = np.isin(rows, rest)
                    shown = wanted | (random.random(len(rows)) * len(rows) < _NEGATIVES_PER_LIST)
                    found += 1
                    yield values[shown], wanted[shown]
            if found >= 2 * _TARGET_SITTINGS:
                return

    def windows(self) -> list[tuple[int, int]]:
        """The later 60 % of the sittings in equal parts, newest first; no day is cut in two."""
        marks = np.linspace(0.4, 1.0, _WINDOWS + 1) * len(self.order)
        cuts = np.searchsorted(self.day, self.day[np.minimum(marks, len(self.day) - 1).astype(int)])
        cuts[-1] = len(self.order)
        spans = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
        return [span for span in reversed(spans) if 0 < span[0] < span[1]]

    def _questions(self, number: int) -> Iterator[tuple[KnownSongs, Rows]]:
        """What is known after half of the sitting, with the member's past and without, and the songs after that."""
        places = self.order[number]
        rows = self.events.row[places]
        _, first = np.unique(rows, return_index=True)
        sung: Rows = rows[np.sort(first)]  # in the order of first appearance
        if len(sung) < _MIN_SONGS:
            return
        given, rest = sung[: len(sung) // 2], sung[len(sung) // 2 :]
        yield KnownSongs.in_sitting(given), rest
        mine = self.places_of_member[int(self.events.member[places[0]])]
        past = mine[self.events.day[mine] < self.day[number]]
        if len(past):
            ago = self.day[number] - self.events.day[past]
            yield KnownSongs.in_sitting(given, sung=self.events.row[past], sung_days_ago=ago), rest

    def opinions(self, before: int, seed: int) -> Opinions:
        """Fitted on the first `before` sittings."""
        lengths = [len(places) for places in self.order[:before]]
        places = np.concatenate(self.order[:before])
        ends = np.cumsum([0, *lengths])
        rows = self.events.row[places]
        shape = (before, self.corpus.n_songs)
        sittings = csr_matrix((np.ones(len(rows), np.float32), rows, ends), shape=shape)
        sittings.sum_duplicates()
        sittings.data[:] = 1
        ease = fitting.EaseSettings(regularization=200)
        als = fitting.als(sittings, factors=32, regularization=5, alpha=5, rounds=12, seed=seed)
        return Opinions(
            ease=fitting.ease(sittings, ease, max_songs=6000, keep=200),
            knn=fitting.cosine(sittings, shrink=10, keep=200),
            rp3=fitting.rp3(sittings, alpha=0.8, beta=0.4, keep=200),
            als=als,
            als_gram=np.asarray(als.T @ als, np.float32),
            stats=_stats(self.corpus, self.events, places),
        )


def _stats(corpus: Corpus, events: Events, places: npt.NDArray[np.intp]) -> Floats:
    """(n, len(_STATS)) counted over the events at `places`, logarithms all."""
    size, rows, day = corpus.n_songs, events.row[places], events.day[places]
    today = day.max()
    first = np.full(size, today, np.float32)
    np.minimum.at(first, rows, day)
    pairs = np.unique(np.stack([events.member[places], rows]), axis=1)
    total = np.bincount(rows, minlength=size)
    columns = {
        "popularity": total,
        "last_30": np.bincount(rows[day > today - 30], minlength=size),
        "last_90": np.bincount(rows[day > today - 90], minlength=size),
        "last_365": np.bincount(rows[day > today - 365], minlength=size),
        "log_age": today - first,
        "members": np.bincount(pairs[1], minlength=size),
        "artist_popularity": _by_artist(corpus, total.astype(np.float32)),
    }
    stacked = np.stack([columns[name] for name in _STATS], axis=1)
    return np.asarray(np.log1p(stacked), np.float32)


def _by_artist(corpus: Corpus, values: Floats) -> Floats:
    """(n,) for each song the sum of `values` over the songs of its artist; 0 for unknown artists."""
    codes = corpus.artist_code
    if not len(codes):
        return np.zeros(corpus.n_songs, np.float32)
    sums = np.bincount(codes + 1, values, minlength=1)
    sums[0] = 0
    return np.asarray(sums[codes + 1], np.float32)


@dataclass(frozen=True, kw_only=True)
class _Past:
    """What a member sang before this sitting, song by song."""

    rows: Rows  #: (p,) distinct
    times: Floats
    faded: Floats  #: times, each halved every 60 days
    last_ago: Floats
    first_ago: Floats
    times_30: Floats
    times_90: Floats
    sittings: int

    @classmethod
    def of(cls, known: KnownSongs) -> _Past:
        rows, place = np.unique(known.sung, return_inverse=True)
        ago, size = known.sung_days_ago, len(rows)
        last, first = np.full(size, np.inf, np.float32), np.zeros(size, np.float32)
        np.minimum.at(last, place, ago)
        np.maximum.at(first, place, ago)

        def total(weights: Floats) -> Floats:
            return np.bincount(place, weights, minlength=size).astype(np.float32)

        return cls(
            rows=rows.astype(np.int32),
            times=total(np.ones(len(ago), np.float32)),
            faded=total(np.exp2(-ago / np.float32(_HALF_LIFE_DAYS))),
            last_ago=last,
            first_ago=first,
            times_30=total((ago <= 30).astype(np.float32)),
            times_90=total((ago <= 90).astype(np.float32)),
            sittings=len(np.unique(np.floor(ago))),
        )


def features(opinions: Opinions, corpus: Corpus, known: KnownSongs) -> tuple[Rows, Floats]:
    """(c,) rows worth looking at and (c, f) their features; songs of the sitting are not among them."""
    past = _Past.of(known)
    whole = _whole(opinions, corpus, known, past)
    rows = _candidates(opinions, whole, past, known)
    values = np.zeros((len(rows), len(FEATURES)), np.float32)
    for name, column in whole.items():
        values[:, _PLACE[name]] = column[rows]
    first = _PLACE[_STATS[0]]
    values[:, first : first + len(_STATS)] = opinions.stats[rows]
    _fill_past(values, rows, past)
    values[:, _PLACE["sittings"]] = past.sittings
    values[:, _PLACE["songs_known"]] = len(past.rows)
    values[:, _PLACE["last_sitting_ago"]] = past.last_ago.min(initial=999.0)
    values[:, _PLACE["sung_so_far"]] = len(known.session)
    return rows, values


def _whole(opinions: Opinions, corpus: Corpus, known: KnownSongs, past: _Past) -> dict[str, Floats]:
    """The features that are scores of all songs."""
    here = KnownSongs.liked(known.session)
    before = KnownSongs(rows=past.rows, weights=past.faded / max(float(past.faded.sum()), 1e-9))
    knn = Neighbours(name="knn", matrix=opinions.knn)
    ease = Neighbours(name="ease", matrix=opinions.ease)
    als = Factors(songs=opinions.als, gram=opinions.als_gram, regularization=5, alpha=5)
    wanted = here.vector(corpus.n_songs) @ corpus.features
    return {
        "ease": ease.scores(here),
        "knn": knn.scores(here),
        "rp3": Neighbours(name="rp3", matrix=opinions.rp3).scores(here),
        "als": als.scores(here),
        "knn_last": knn.scores(KnownSongs.liked(known.session[-3:])),
        "content": np.asarray((corpus.features @ wanted.T).todense(), np.float32).ravel(),
        "artist_here": _artist_share(corpus, here),
        "past_ease": ease.scores(before),
        "past_knn": knn.scores(before),
        "artist_past": _artist_share(corpus, before),
    }


def _artist_share(corpus: Corpus, known: KnownSongs) -> Floats:
    """(n,) share of the known songs (by weight) that are of the song's artist."""
    values = np.zeros(corpus.n_songs, np.float32)
    values[known.rows] = known.weights / max(float(known.weights.sum()), 1e-9)
    return _by_artist(corpus, values)


def _candidates(
    opinions: Opinions, whole: Mapping[str, Floats], past: _Past, known: KnownSongs
) -> Rows:
    lately = opinions.stats[:, _STATS.index("last_90")]
    everybody = opinions.stats[:, _STATS.index("popularity")]
    by_artist = whole["artist_here"] * (1 + everybody)
    asked = ("ease", "knn", "rp3", "als", "past_ease", "past_knn", "content")
    best = [_best(values) for values in (*(whole[name] for name in asked), by_artist, lately)]
    recent = past.rows[np.argsort(past.last_ago, kind="stable")[:1000]]
    rows = np.setdiff1d(np.concatenate([*best, recent]), known.session)
    # Songs never sung before are left out: in a log each of them is sung later, so they would look certain.
    return np.asarray(rows[everybody[rows] > 0], np.int32)


def _best(values: Floats) -> Rows:
    """Rows of the largest positive values, at most `_CANDIDATES_PER_OPINION`."""
    if len(values) > _CANDIDATES_PER_OPINION:
        rows = np.argpartition(values, len(values) - _CANDIDATES_PER_OPINION)[
            -_CANDIDATES_PER_OPINION:
        ]
    else:
        rows = np.arange(len(values))
    return rows[values[rows] > 0].astype(np.int32)


def _fill_past(values: Floats, rows: Rows, past: _Past) -> None:
    values[:, _PLACE["log_days_ago"]] = _NEVER_LOG_DAYS
    values[:, [_PLACE["gaps"], _PLACE["first_ago"]]] = -1
    mine, here, there = np.intersect1d(rows, past.rows, return_indices=True)
    if not len(mine):
        return
    times, last, first = past.times[there], past.last_ago[there], past.first_ago[there]
    gap = (first - last) / np.maximum(times - 1, 1)
    columns = {
        "times": times,
        "log_days_ago": np.log1p(last),
        "rate": times / max(past.sittings, 1),
        "faded_times": past.faded[there],
        "times_30": past.times_30[there],
        "times_90": past.times_90[there],
        "gaps": np.where(times > 1, last / (gap + 7), -1),
        "first_ago": first,
    }
    for name, column in columns.items():
        values[here, _PLACE[name]] = column
