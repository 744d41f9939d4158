"""Makes the questions of an evaluation: what is known of a member, and which songs are to be found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from engine.arrays import Rows, places_by_code
from engine.evaluation.world import SOME_DAY, World, signals
from engine.training.model import TrainSettings
from engine.training.train_test_split import Interactions, Sitting, TrainTestSplit, sittings
from engine.types import Exclude, Query

KNOWN_COUNTS = (1, 3, 5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """The options of an evaluation."""

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
class EvaluationQuestion:
    """One list every model has to make."""

    member: int
    session: int  #: -1 outside the session protocol
    query: Query
    known: Rows  #: the songs baselines may use
    history: Rows  #: songs of earlier sittings, once per time; only some baselines look at it
    hidden: Rows  #: never listed: the given songs
    wanted: Rows  #: rows to be found
    n_wanted: int  #: including songs no model knows, which count as misses


def member_questions(world: World, split: TrainTestSplit) -> list[EvaluationQuestion]:
    """One per member with both a known and a wanted song."""
    train, test = split.train, split.test
    known, wanted = places_by_code(train.member), places_by_code(test.member)
    return [
        member_question(world, train[known[member]], test[wanted[member]])
        for member in wanted
        if member in known
    ]


def member_question(world: World, known: Interactions, wanted: Interactions) -> EvaluationQuestion:
    rows = catalog_rows(world, known.song)
    to_find = np.setdiff1d(np.unique(wanted.song), known.song)
    query = Query(
        member_key=world.dataset.members[int(known.member[0])],
        signals=tuple(signals(world.dataset, known)),
        exclude=Exclude(song_ids=frozenset((known.song + 1).tolist())),
        now=world.now,
    )
    return EvaluationQuestion(
        member=int(known.member[0]),
        session=-1,
        query=query,
        known=rows,
        history=np.empty(0, np.int32),
        hidden=rows,
        wanted=catalog_rows(world, to_find),
        n_wanted=len(to_find),
    )


def session_questions(world: World, split: TrainTestSplit) -> list[EvaluationQuestion]:
    """One per sitting of the test part with enough songs; earlier rows of the member are their past."""
    past = places_by_code(split.train.member)
    return [
        _session_question(world, split, sitting, past.get(sitting.member))
        for sitting in sittings(split)
    ]


def _session_question(
    world: World, split: TrainTestSplit, sitting: Sitting, past: npt.NDArray[np.intp] | None
) -> EvaluationQuestion:
    given, lately = split.test[sitting.given], split.test[sitting.past_in_test]
    earlier = lately if past is None else Interactions.joined(split.train[past], lately)
    last = float(np.nanmax(given.at)) if not np.isnan(given.at).all() else world.now.timestamp()
    return EvaluationQuestion(
        member=sitting.member,
        session=sitting.session,
        query=Query(
            member_key=world.dataset.members[sitting.member],
            signals=tuple(signals(world.dataset, Interactions.joined(earlier, given))),
            exclude=Exclude(song_ids=frozenset((given.song + 1).tolist())),
            allow_known=True,
            now=datetime.fromtimestamp(last, UTC) + timedelta(seconds=1),
        ),
        known=catalog_rows(world, given.song),
        history=catalog_rows(world, earlier.song, distinct=False),
        hidden=catalog_rows(world, given.song),
        wanted=catalog_rows(world, split.test.song[sitting.wanted]),
        n_wanted=len(sitting.wanted),
    )


def without_past(question: EvaluationQuestion, keep: int | None = None) -> EvaluationQuestion:
    """The same question without the member's past, with only the last `keep` songs of the sitting."""
    rows = question.known if keep is None else question.known[-keep:]
    ids = sorted(question.query.exclude.song_ids)
    given = [s for s in question.query.signals if s.song_id in set(ids)]
    last = {signal.song_id: signal for signal in given}  # its latest time is the one of the sitting
    now = sorted(last.values(), key=lambda s: s.at or SOME_DAY)
    kept = tuple(now if keep is None else now[-keep:])
    query = replace(question.query, signals=kept)
    return replace(question, query=query, known=rows, history=np.empty(0, np.int32))


def catalog_rows(world: World, songs: npt.NDArray[np.int64], *, distinct: bool = True) -> Rows:
    """Catalog rows in order; songs that are no candidates are left out."""
    rows = world.row_of[songs]
    rows = rows[rows >= 0]
    if distinct:
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    return rows.astype(np.int32)
