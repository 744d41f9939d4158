"""Lays out the training part of a data set as the product lays out its catalog."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.catalog.catalog import Catalog
from engine.catalog.corpus import Corpus, Events
from engine.scoring.taste import strength_of
from engine.settings import SignalWeights
from engine.training.train_test_split import Interactions, TrainTestSplit
from engine.types import Signal, SignalType, SongView

_SIGNAL_WEIGHTS = SignalWeights()
#: `now` of a data set without dates.
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set read into memory; names are those of its files."""

    data: Interactions
    members: Sequence[str]
    songs: Sequence[str]
    kinds: Sequence[str]
    sessions: Sequence[str]
    #: By song name: title, artist, genre, mood, anime, language, tags (joined by |).
    about: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class World:
    """The training part, laid out as the product lays out its catalog."""

    dataset: Dataset
    train: Interactions
    catalog: Catalog
    row_of: npt.NDArray[np.int64]  #: song code → catalog row, -1 = not a candidate
    now: datetime

    @property
    def corpus(self) -> Corpus:
        return self.catalog.corpus


def build_world(
    dataset: Dataset, split: TrainTestSplit, *, with_test_songs: bool, sessions: bool
) -> World:
    """Catalog and corpus of the training part. With test songs: they are candidates, without likes."""
    train = split.train
    codes = [train.song, split.test.song] if with_test_songs else [train.song]
    songs = np.unique(np.concatenate(codes))
    now = latest(train)
    about = {code: dataset.about.get(dataset.songs[code], {}) for code in songs.tolist()}
    tags = {
        code + 1: list(filter(None, texts.get("tags", "").split("|")))
        for code, texts in about.items()
    }
    likes = (train.member, train.song + 1, train.at)
    views = [_view(code, texts) for code, texts in about.items()]
    catalog = Catalog.build(views, likes=likes, tags=tags, now=now)
    row_of = np.full(len(dataset.songs), -1, np.int64)
    row_of[songs] = catalog.rows_of((songs + 1).tolist())
    world = World(dataset=dataset, train=train, catalog=catalog, row_of=row_of, now=now)
    corpus = replace(
        catalog.corpus,
        interactions=_strengths(world),
        events=_events(world) if sessions else None,
    )
    return replace(world, catalog=replace(catalog, corpus=corpus))


def latest(data: Interactions) -> datetime:
    known = data.at[~np.isnan(data.at)]
    return datetime.fromtimestamp(float(known.max()), UTC) if len(known) else SOME_DAY


def _view(code: int, about: Mapping[str, str]) -> SongView:
    return SongView(
        song_id=code + 1,
        title_jp=about.get("title", ""),
        artist=about.get("artist", ""),
        genre=about.get("genre", ""),
        mood=about.get("mood", ""),
        anime=about.get("anime", ""),
        lang=about.get("language", ""),
    )


def _strengths(world: World) -> csr_matrix:
    """(members, n) what the signals of each member come to, by the product's own weight table."""
    by_pair = _by_pair(world.dataset, world.train)
    pairs = np.array(list(by_pair), np.int64).reshape(-1, 2)
    shape = (len(world.dataset.members), world.catalog.n)
    weights = np.array(list(by_pair.values()), np.float32)
    matrix = csr_matrix((weights, (pairs[:, 0], world.row_of[pairs[:, 1]])), shape=shape)
    matrix.data = np.maximum(matrix.data, 0)  # scorers learn from positive strength only
    matrix.eliminate_zeros()
    return matrix[np.diff(matrix.indptr) > 0]


def _by_pair(dataset: Dataset, data: Interactions) -> dict[tuple[int, int], float]:
    """{(member, song): what all signals of the one about the other come to, at the time of the last}"""
    pairs = zip(data.member.tolist(), data.song.tolist(), strict=True)
    found: dict[tuple[int, int], list[Signal]] = defaultdict(list)
    for pair, signal in zip(pairs, signals(dataset, data), strict=True):
        found[pair].append(signal)
    now = latest(data)
    return {
        pair: strength_of(pair_signals, now, _SIGNAL_WEIGHTS)
        for pair, pair_signals in found.items()
    }


def is_positive(dataset: Dataset, data: Interactions) -> npt.NDArray[np.bool_]:
    """(rows,) whether the member's rows about that song add up to a positive strength."""
    strength = _by_pair(dataset, data)
    pairs = zip(data.member.tolist(), data.song.tolist(), strict=True)
    return np.array([strength[pair] > 0 for pair in pairs], bool)


def _events(world: World) -> Events:
    train = world.train
    inside = np.flatnonzero(train.session >= 0)
    when = train.when[inside]
    order = np.lexsort((np.arange(len(when)), when))
    inside, when = inside[order], when[order]
    first = when[np.isfinite(when)].min(initial=0.0)
    return Events(
        member=train.member[inside].astype(np.int32),
        row=world.row_of[train.song[inside]].astype(np.int32),
        day=(np.where(np.isfinite(when), when, first) / 86_400).astype(np.float32),
        session=train.session[inside].astype(np.int32),
    )


def signals(dataset: Dataset, data: Interactions) -> list[Signal]:
    """The rows as the product's signals; song ids are codes + 1. Unknown types count as plays."""
    types = {kind.value: kind for kind in SignalType}
    kinds = [types.get(name.casefold(), SignalType.PLAY) for name in dataset.kinds]
    rows = zip(
        data.song.tolist(), data.kind.tolist(), data.weight.tolist(), data.at.tolist(), strict=True
    )
    return [_signal(song, kinds[kind], weight, at) for song, kind, weight, at in rows]


def _signal(song: int, kind: SignalType, weight: float, at: float) -> Signal:
    when = None if np.isnan(at) else datetime.fromtimestamp(at, UTC)
    if kind is SignalType.RATING:
        return Signal(song_id=song + 1, type=kind, value=weight, at=when)
    return Signal(song_id=song + 1, type=kind, at=when, times=weight if weight > 0 else 1.0)
