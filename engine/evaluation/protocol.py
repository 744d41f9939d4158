"""Measures the product's own recipe against the usual baselines, on the same split.

What is measured is `engine.ranking.recommend.rank`, the path of a request: signals become what is known,
the blend scores every song, rules and shaping follow. Only labelled exploration is left out (a song
drawn by chance claims nothing), and songs of the given part are excluded as a caller would.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.catalog.catalog import Catalog
from engine.evaluation import metrics
from engine.ranking.recommend import rank
from engine.scoring.scorers import (
    Corpus,
    Events,
    Factors,
    Floats,
    Known,
    Neighbours,
    Rows,
    Same,
    Scorer,
    standardised,
)
from engine.scoring.taste import strength_of
from engine.settings import EngineSettings
from engine.training import fitting
from engine.training.model import Model, TrainSettings
from engine.training.train_test_split import (
    LEAST_IN_SITTING,
    Interactions,
    Sitting,
    Split,
    at_least,
    random_split,
    session_split,
    sittings,
    temporal_split,
)
from engine.training.tuning import top
from engine.types import Exclude, Query, Signal, SignalType, SongView

PRODUCT = "songs_ai"
KNOWN_COUNTS = (1, 3, 5, 10, 20)
#: Share of members kept wholly out of a second training, to be asked about with few known songs.
_STRANGERS = 0.1
_FEWEST_STRANGERS, _MOST_STRANGERS = 30, 500
#: Strangers are asked again, told other songs, until so many lists were made.
_LISTS_OF_STRANGERS, _MOST_TIMES = 500, 10
#: The clock of data without any date.
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_SETTINGS = EngineSettings()
_MEASURED = replace(_SETTINGS, shaping=replace(_SETTINGS.shaping, exploration=0.0))

Clock = Callable[[], float]
Tell = Callable[[str], None]


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
class Plan:
    """What is asked of an evaluation."""

    protocol: str = "random"  #: random, temporal or session
    ks: tuple[int, ...] = (10, 20)
    holdout: float = 0.2
    min_interactions: int = 1
    seed: int = 0
    #: protocol session: Unix seconds at which the test part begins, and where it ends, if it does.
    since: float = 0.0
    until: float | None = None
    known_counts: tuple[int, ...] = KNOWN_COUNTS
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One list to be made, by every model."""

    member: int
    session: int  #: -1 outside the session protocol
    query: Query
    known: Rows  #: what baselines go by
    history: Rows  #: songs of earlier sittings, once per time; only some baselines look at it
    hidden: Rows  #: never listed: what was given
    wanted: Rows  #: rows to be found
    n_wanted: int  #: with songs that no model knows, which count as misses


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


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The lists of one model and what making them took."""

    lists: list[Rows]
    fit_seconds: float
    query_ms: float


def split_of(dataset: Dataset, plan: Plan) -> Split:
    """Filters, then splits as the plan says; what a member turned down is not asked for."""
    data = at_least(dataset.data, plan.min_interactions)
    if plan.protocol == "session":
        return session_split(data, since=plan.since, until=plan.until)
    if plan.protocol == "random":
        split = random_split(data, holdout=plan.holdout, seed=plan.seed)
    elif plan.protocol == "temporal":
        split = temporal_split(data, holdout=plan.holdout)
    else:
        raise ValueError(f"protocol {plan.protocol!r} is not random, temporal or session")
    return replace(split, test=split.test[_says_yes(dataset, split.test)])


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures, and the lists they come from."""

    figures: dict[str, Any]
    #: (member, session, song, rank from 1, model) with the names of the files; "" without session.
    rankings: list[tuple[str, str, str, int, str]]


def evaluate(
    dataset: Dataset, split: Split, plan: Plan, *, clock: Clock, tell: Tell = lambda text: None
) -> Report:
    """Fits every model on the training part and asks all of them the same questions."""
    in_sittings = plan.protocol == "session"
    if not len(split.train):
        raise ValueError("the training part is empty: there is nothing to learn from")
    world = build_world(dataset, split, with_test_songs=not in_sittings, sessions=in_sittings)
    questions = session_questions(world, split) if in_sittings else member_questions(world, split)
    if not questions:
        raise ValueError(_nothing_to_ask(split, in_sittings))
    models = _fitted(world, plan, clock, tell)
    figures: dict[str, Any] = _described(plan, world, split, len(questions))
    answers = _ask(models, questions, max(plan.ks), clock, tell)
    figures["models"], figures["intervals"] = _figures(world, questions, answers, plan)
    if in_sittings:
        figures |= _without_history(world, questions, models, plan, clock, tell)
    figures["by_known_items"] = _by_known(
        dataset, split, world, models, questions, plan, clock, tell
    )
    return Report(figures=figures, rankings=_rankings(world, questions, answers))


def _nothing_to_ask(split: Split, in_sittings: bool) -> str:
    rows = f"{len(split.train)} training rows, {len(split.test)} test rows"
    if in_sittings:
        return f"nothing to ask about: no test session has {LEAST_IN_SITTING} songs ({rows})"
    return f"nothing to ask about: no member has rows in both parts ({rows})"


def _described(plan: Plan, world: World, split: Split, questions: int) -> dict[str, Any]:
    return {
        "protocol": plan.protocol,
        "seed": plan.seed,
        "songs": world.catalog.n,
        "members": len(np.unique(split.train.member)),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "lists": questions,
    }


# The world of a split


def build_world(dataset: Dataset, split: Split, *, with_test_songs: bool, sessions: bool) -> World:
    """Catalog and corpus of the training part. With test songs: they are candidates, without likes."""
    train = split.train
    codes = [train.song, split.test.song] if with_test_songs else [train.song]
    songs = np.unique(np.concatenate(codes))
    now = _latest(train)
    views = [_view(code, dataset) for code in songs.tolist()]
    tags = {code + 1: _tags(dataset, code) for code in songs.tolist()}
    likes = (train.member, train.song + 1, train.at)
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


def _latest(data: Interactions) -> datetime:
    known = data.at[~np.isnan(data.at)]
    return datetime.fromtimestamp(float(known.max()), UTC) if len(known) else _SOME_DAY


def _view(code: int, dataset: Dataset) -> SongView:
    about = dataset.about.get(dataset.songs[code], {})
    return SongView(
        song_id=code + 1,
        title_jp=about.get("title", ""),
        artist=about.get("artist", ""),
        genre=about.get("genre", ""),
        mood=about.get("mood", ""),
        anime=about.get("anime", ""),
        lang=about.get("language", ""),
    )


def _tags(dataset: Dataset, code: int) -> list[str]:
    tags = dataset.about.get(dataset.songs[code], {}).get("tags", "")
    return [tag for tag in tags.split("|") if tag]


def _strengths(world: World) -> csr_matrix:
    """(members, n) what the signals of each member come to, by the product's own weight table."""
    by_pair = _by_pair(world.dataset, world.train)
    pairs = np.array(list(by_pair), np.int64).reshape(-1, 2)
    shape = (len(world.dataset.members), world.catalog.n)
    weights = np.array(list(by_pair.values()), np.float32)
    matrix = csr_matrix((weights, (pairs[:, 0], world.row_of[pairs[:, 1]])), shape=shape)
    matrix.data = np.maximum(matrix.data, 0)  # what was turned down teaches no scorer
    matrix.eliminate_zeros()
    return matrix[np.diff(matrix.indptr) > 0]


def _by_pair(dataset: Dataset, data: Interactions) -> dict[tuple[int, int], float]:
    """{(member, song): what all signals of the one about the other come to, at the time of the last}"""
    pairs = zip(data.member.tolist(), data.song.tolist(), strict=True)
    found: dict[tuple[int, int], list[Signal]] = defaultdict(list)
    for pair, signal in zip(pairs, signals(dataset, data), strict=True):
        found[pair].append(signal)
    now = _latest(data)
    return {pair: strength_of(said, now, _SETTINGS.signals) for pair, said in found.items()}


def _says_yes(dataset: Dataset, data: Interactions) -> npt.NDArray[np.bool_]:
    """(rows,) whether the member's rows about that song come to more than nothing."""
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


# Questions


def member_questions(world: World, split: Split) -> list[Question]:
    """One per member with both a known and a wanted song."""
    train, test = split.train, split.test
    known, wanted = _places(train.member), _places(test.member)
    return [
        _member_question(world, train[known[member]], test[wanted[member]])
        for member in wanted
        if member in known
    ]


def _member_question(world: World, known: Interactions, wanted: Interactions) -> Question:
    rows = _rows(world, known.song)
    to_find = np.setdiff1d(np.unique(wanted.song), known.song)
    query = Query(
        member_key=world.dataset.members[int(known.member[0])],
        signals=tuple(signals(world.dataset, known)),
        exclude=Exclude(song_ids=frozenset((known.song + 1).tolist())),
        now=world.now,
    )
    return Question(
        member=int(known.member[0]),
        session=-1,
        query=query,
        known=rows,
        history=np.empty(0, np.int32),
        hidden=rows,
        wanted=_rows(world, to_find),
        n_wanted=len(to_find),
    )


def session_questions(world: World, split: Split) -> list[Question]:
    """One per sitting of the test part with enough songs; earlier rows of the member are his past."""
    past = _places(split.train.member)
    return [
        _session_question(world, split, sitting, past.get(sitting.member))
        for sitting in sittings(split)
    ]


def _session_question(
    world: World, split: Split, sitting: Sitting, past: npt.NDArray[np.intp] | None
) -> Question:
    given, lately = split.test[sitting.given], split.test[sitting.past_in_test]
    earlier = lately if past is None else Interactions.joined(split.train[past], lately)
    last = float(np.nanmax(given.at)) if not np.isnan(given.at).all() else world.now.timestamp()
    return Question(
        member=sitting.member,
        session=sitting.session,
        query=Query(
            member_key=world.dataset.members[sitting.member],
            signals=tuple(signals(world.dataset, Interactions.joined(earlier, given))),
            exclude=Exclude(song_ids=frozenset((given.song + 1).tolist())),
            allow_known=True,
            now=datetime.fromtimestamp(last, UTC) + timedelta(seconds=1),
        ),
        known=_rows(world, given.song),
        history=_rows(world, earlier.song, distinct=False),
        hidden=_rows(world, given.song),
        wanted=_rows(world, split.test.song[sitting.wanted]),
        n_wanted=len(sitting.wanted),
    )


def _forgetting(question: Question, keep: int | None = None) -> Question:
    """The same question to somebody without a past, with only the last `keep` songs of the sitting."""
    rows = question.known if keep is None else question.known[-keep:]
    ids = sorted(question.query.exclude.song_ids)
    given = [s for s in question.query.signals if s.song_id in set(ids)]
    last = {signal.song_id: signal for signal in given}  # its latest time is the one of the sitting
    now = sorted(last.values(), key=lambda s: s.at or _SOME_DAY)
    told = tuple(now if keep is None else now[-keep:])
    query = replace(question.query, signals=told)
    return replace(question, query=query, known=rows, history=np.empty(0, np.int32))


def _rows(world: World, songs: npt.NDArray[np.int64], *, distinct: bool = True) -> Rows:
    """Catalog rows in order; songs that are no candidates are left out."""
    rows = world.row_of[songs]
    rows = rows[rows >= 0]
    if distinct:
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    return rows.astype(np.int32)


def _places(codes: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.intp]]:
    """{code: ascending places where it stands}"""
    if not len(codes):
        return {}
    order = np.argsort(codes, kind="stable")
    distinct, starts = np.unique(codes[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True))


# Models


class Ranker(Protocol):
    """Makes lists."""

    @property
    def name(self) -> str:
        """Its key in the figures."""

    @property
    def fit_seconds(self) -> float:
        """What training took."""

    def lists(self, questions: Sequence[Question], depth: int) -> list[Rows]:
        """At most `depth` rows per question, best first, none of its hidden ones."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """What members get: the recipe of `engine.ranking.recipes` under the product's settings."""

    catalog: Catalog
    model: Model
    fit_seconds: float
    name: str = PRODUCT

    def lists(self, questions: Sequence[Question], depth: int) -> list[Rows]:
        return [self._list(question, depth) for question in questions]

    def _list(self, question: Question, depth: int) -> Rows:
        query = replace(question.query, count=depth)
        found = rank(query, catalog=self.catalog, model=self.model, settings=_MEASURED)
        return found[:depth]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Any sum of weighted scores; by z-score when it is a sum of several."""

    name: str
    fit_seconds: float
    parts: tuple[tuple[float, Callable[[Question], Floats]], ...]

    def lists(self, questions: Sequence[Question], depth: int) -> list[Rows]:
        return [self._list(question, depth) for question in questions]

    def _list(self, question: Question, depth: int) -> Rows:
        if len(self.parts) == 1:
            scores = self.parts[0][1](question).copy()
        else:
            scores = sum(
                (np.float32(w) * standardised(part(question)) for w, part in self.parts),
                start=np.zeros(1, np.float32),
            )
        scores[question.hidden] = -np.inf
        best = top(scores, depth)
        return best[np.isfinite(scores[best])].astype(np.int32)


def _fitted(world: World, plan: Plan, clock: Clock, tell: Tell) -> list[Ranker]:
    begun = clock()
    model = Model.train(world.corpus, settings=plan.train, seed=plan.seed)
    took = clock() - begun
    tell(f"trained {PRODUCT} in {took:.1f} s: {model.facts}")
    product = Product(catalog=world.catalog, model=model, fit_seconds=took)
    return [product, *baselines(world, plan, clock)]


def baselines(world: World, plan: Plan, clock: Clock) -> list[Ranker]:
    """Popularity, item-kNN, RP3β, ALS, EASE; fitted on sittings when sittings are asked about."""
    in_sittings = plan.protocol == "session"
    data = _by_sitting(world) if in_sittings else _by_member(world)
    made = [
        _timed("popularity", clock, lambda: _popularity(data)),
        _timed("item_knn", clock, lambda: _neighbours(fitting.cosine(data, shrink=10, keep=200))),
        _timed("rp3", clock, lambda: _neighbours(fitting.rp3(data, alpha=0.8, beta=0.4, keep=200))),
        _timed("als", clock, lambda: _als(data, in_sittings, plan.seed)),
        _timed("ease", clock, lambda: _neighbours(_plain_ease(data))),
    ]
    return [*made, *(_mixes(world, made[-1]) if in_sittings else ())]


def _timed(name: str, clock: Clock, fit: Callable[[], Scorer]) -> Baseline:
    begun = clock()
    scorer = fit()

    def scores(question: Question) -> Floats:
        return scorer.scores(Known.liked(question.known))

    return Baseline(name=name, fit_seconds=clock() - begun, parts=((1.0, scores),))


def _popularity(data: csr_matrix) -> Scorer:
    return Same(name="popularity", values=np.asarray(data.sum(axis=0), np.float32).ravel())


def _neighbours(matrix: csr_matrix) -> Scorer:
    return Neighbours(name="neighbours", matrix=matrix)


def _plain_ease(data: csr_matrix) -> csr_matrix:
    """λ = 100: the baseline of the papers. 2 000 neighbours a song lose nothing and fit into memory."""
    plain = fitting.EaseSettings(regularization=100.0)
    return fitting.ease(data, plain, max_songs=10_000, keep=2_000)


def _als(data: csr_matrix, in_sittings: bool, seed: int) -> Scorer:
    """Regularisation by what the rows hold: a sitting is short, a member's history long."""
    factors, alpha, ridge = (32, 5.0, 5.0) if in_sittings else (64, 10.0, 30.0)
    songs = fitting.als(
        data, factors=factors, regularization=ridge, alpha=alpha, rounds=15, seed=seed
    )
    return Factors(songs=songs, gram=songs.T @ songs, regularization=ridge, alpha=alpha)


def _by_member(world: World) -> csr_matrix:
    """(members, n) 1 where there is any row, whatever it says: what the papers' baselines learn from."""
    _, member = np.unique(world.train.member, return_inverse=True)
    return _marked(member, world.row_of[world.train.song], world.catalog.n)


def _by_sitting(world: World) -> csr_matrix:
    """(sittings, n) 1 where a song was sung; rows without a session are left out."""
    inside = world.train.session >= 0
    _, sitting = np.unique(world.train.session[inside], return_inverse=True)
    return _marked(sitting, world.row_of[world.train.song[inside]], world.catalog.n)


def _marked(group: npt.NDArray[np.intp], rows: npt.NDArray[np.int64], size: int) -> csr_matrix:
    """(groups, size) 1 at each pair."""
    shape = (int(group.max(initial=-1)) + 1, size)
    marked = csr_matrix((np.ones(len(rows), np.float32), (group, rows)), shape=shape)
    marked.data[:] = 1
    return marked


def _mixes(world: World, ease: Baseline) -> list[Ranker]:
    """Hand-made mixes of EASE, the singer's own past and songs of the same artists."""
    size, codes = world.catalog.n, world.corpus.artist_code
    popular = np.log1p(np.bincount(world.row_of[world.train.song], minlength=size))

    def past(question: Question) -> Floats:
        times = np.bincount(question.history, minlength=size)
        return (times + 1e-3 * popular).astype(np.float32)

    def artist(question: Question) -> Floats:
        counts = np.bincount(codes[question.known] + 1, minlength=int(codes.max()) + 2)
        counts[0] = 0
        return counts[codes + 1].astype(np.float32)

    by_ease = ease.parts[0][1]
    mixes = {
        "history": ((1.0, past),),
        "ease_artist": ((1.0, by_ease), (0.5, artist)),
        "ease_history_artist": ((1.0, by_ease), (1.0, past), (0.5, artist)),
    }
    return [
        Baseline(name=name, fit_seconds=ease.fit_seconds, parts=parts)
        for name, parts in mixes.items()
    ]


# Figures


def _ask(
    models: Sequence[Ranker], questions: Sequence[Question], depth: int, clock: Clock, tell: Tell
) -> dict[str, Answers]:
    answers = {}
    for model in models:
        begun = clock()
        lists = model.lists(questions, depth)
        each = 1000 * (clock() - begun) / max(len(questions), 1)
        tell(f"asked {model.name} {len(questions)} times, {each:.1f} ms each")
        answers[model.name] = Answers(lists=lists, fit_seconds=model.fit_seconds, query_ms=each)
    return answers


def _hits(
    questions: Sequence[Question], lists: Sequence[Rows], depth: int
) -> tuple[metrics.Hits, npt.NDArray[np.int64]]:
    hits = np.zeros((len(questions), depth), bool)
    for place, (question, found) in enumerate(zip(questions, lists, strict=True)):
        hits[place, : len(found)] = np.isin(found, question.wanted)
    return hits, np.array([question.n_wanted for question in questions], np.int64)


def accuracy(
    questions: Sequence[Question], lists: Sequence[Rows], ks: Sequence[int]
) -> dict[str, metrics.Values]:
    """{metric@k: (questions,)}"""
    hits, wanted = _hits(questions, lists, max(ks))
    by_name = {"ndcg": metrics.ndcg, "recall": metrics.recall, "hit_rate": metrics.hit_rate}
    return {f"{name}@{k}": of(hits, wanted, k) for name, of in by_name.items() for k in ks}


def _figures(
    world: World, questions: Sequence[Question], answers: Mapping[str, Answers], plan: Plan
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, tuple[float, float]]]]:
    """Means per model, and 95 % intervals of those that are means over lists."""
    figures, intervals = {}, {}
    for name, given in answers.items():
        values = accuracy(questions, given.lists, plan.ks)
        intervals[name] = {
            metric: metrics.interval(found, seed=plan.seed) for metric, found in values.items()
        }
        means = {metric: float(found.mean()) for metric, found in values.items()}
        figures[name] = {**means, **_beyond(world, questions, given, plan)}
    return figures, intervals


def _beyond(
    world: World, questions: Sequence[Question], given: Answers, plan: Plan
) -> dict[str, float]:
    """What accuracy does not tell: coverage, surprise, variety, likeness to the member's mix, times."""
    lists, features, k = given.lists, world.corpus.features, max(plan.ks)
    liked = np.asarray(world.corpus.liked_binary.sum(axis=0), np.float32).ravel()
    known = [np.union1d(q.known, q.history).astype(np.int32) for q in questions]
    cover = {f"coverage@{k}": metrics.coverage(lists, world.catalog.n, k) for k in plan.ks}
    return {
        **cover,
        f"novelty@{k}": float(metrics.novelty(lists, liked, k).mean()),
        f"diversity@{k}": float(metrics.diversity(lists, features, k).mean()),
        f"calibration@{k}": float(metrics.calibration(lists, known, features, k).mean()),
        "fit_seconds": round(given.fit_seconds, 3),
        "query_ms": round(given.query_ms, 3),
    }


def _means(
    models: Sequence[Ranker],
    questions: Sequence[Question],
    plan: Plan,
    clock: Clock,
    tell: Tell,
) -> dict[str, dict[str, float]]:
    answers = _ask(models, questions, max(plan.ks), clock, tell)
    return {
        name: {m: float(v.mean()) for m, v in accuracy(questions, a.lists, plan.ks).items()}
        for name, a in answers.items()
    }


def _without_history(
    world: World,
    questions: Sequence[Question],
    models: Sequence[Ranker],
    plan: Plan,
    clock: Clock,
    tell: Tell,
) -> dict[str, Any]:
    strangers = [_forgetting(question) for question in questions]
    return {
        "lists_with_history": sum(len(question.history) > 0 for question in questions),
        "without_history": _means(models, strangers, plan, clock, tell),
    }


def _by_known(
    dataset: Dataset,
    split: Split,
    world: World,
    models: Sequence[Ranker],
    questions: Sequence[Question],
    plan: Plan,
    clock: Clock,
    tell: Tell,
) -> dict[str, dict[str, dict[str, float]]]:
    """By how many songs are known of members (or sittings) that training never saw."""
    if not plan.known_counts:
        return {}
    if plan.protocol == "session":
        return {
            str(count): _means(models, told, plan, clock, tell)
            for count in plan.known_counts
            if (told := [_forgetting(q, count) for q in questions if len(q.known) >= count])
        }
    return _by_known_of_strangers(dataset, split, plan, clock, tell)


def _by_known_of_strangers(
    dataset: Dataset, split: Split, plan: Plan, clock: Clock, tell: Tell
) -> dict[str, dict[str, dict[str, float]]]:
    """Trains once more without a tenth of the members, and tells all models a few songs of those."""
    everything = Interactions.joined(split.train, split.test)
    random = np.random.default_rng(plan.seed)
    members, pairs = np.unique(
        np.unique(np.stack([everything.member, everything.song]), axis=1)[0], return_counts=True
    )
    able = members[pairs > min(plan.known_counts)]
    count = int(np.clip(len(members) * _STRANGERS, _FEWEST_STRANGERS, _MOST_STRANGERS))
    strangers = random.permutation(able)[: min(count, len(able) // 2)]
    theirs = everything[np.isin(everything.member, strangers)]
    rest = Split(
        train=split.train[~np.isin(split.train.member, strangers)],
        test=theirs[_says_yes(dataset, theirs)],
    )
    if not len(strangers) or not len(rest.train):
        return {}
    world = build_world(dataset, rest, with_test_songs=True, sessions=False)
    models = _fitted(world, plan, clock, tell)
    figures = {}
    for told in plan.known_counts:
        questions = _told(world, rest.test, told, random)
        if questions:
            figures[str(told)] = _means(models, questions, plan, clock, tell)
            figures[str(told)][PRODUCT]["lists"] = len(questions)
    return figures


def _told(
    world: World, theirs: Interactions, told: int, random: np.random.Generator
) -> list[Question]:
    """Each stranger with more than `told` songs: that many known, the others wanted.

    Few strangers are asked several times, each time told other songs.
    """
    able = [theirs[places] for places in _places(theirs.member).values()]
    able = [mine for mine in able if len(np.unique(mine.song)) > told]
    times = min(-(-_LISTS_OF_STRANGERS // max(len(able), 1)), _MOST_TIMES)
    questions = []
    for mine in able * times:
        known = np.isin(mine.song, random.permutation(np.unique(mine.song))[:told])
        questions.append(_member_question(world, mine[known], mine[~known]))
    return questions


def _rankings(
    world: World, questions: Sequence[Question], answers: Mapping[str, Answers]
) -> list[tuple[str, str, str, int, str]]:
    code_of_row = np.empty(world.catalog.n, np.int64)
    held = np.flatnonzero(world.row_of >= 0)
    code_of_row[world.row_of[held]] = held
    names = world.dataset
    return [
        (
            names.members[question.member],
            names.sessions[question.session] if question.session >= 0 else "",
            names.songs[code],
            place,
            model,
        )
        for model, given in answers.items()
        for question, found in zip(questions, given.lists, strict=True)
        for place, code in enumerate(code_of_row[found].tolist(), start=1)
    ]
