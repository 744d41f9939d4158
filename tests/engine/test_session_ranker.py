"""In the middle of a sitting: what was sung says what comes next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from engine.catalog.corpus import Corpus, Events
from engine.scoring.blend import blend
from engine.scoring.known import KnownSongs
from engine.training import session_ranker
from engine.training.fitting import EaseSettings
from engine.training.model import Model, TrainSettings
from engine.weights import BlendWeights

N, MEMBERS, SITTINGS, LENGTH = 60, 12, 130, 10


def karaoke() -> Corpus:
    """A sitting is about one of three thirds of the catalog; a member sings their own songs often."""
    random = np.random.default_rng(3)
    own = random.integers(0, N, (MEMBERS, 9))
    rows, member, day = [], [], []
    for number in range(SITTINGS):
        who, third = random.integers(MEMBERS), random.integers(3)
        of_third = np.flatnonzero(np.arange(N) % 3 == third)
        mine = own[who][own[who] % 3 == third]
        songs = np.unique(np.concatenate([mine, random.choice(of_third, 14)]))
        rows.append(random.permutation(songs)[:LENGTH])
        member.append(np.full(len(rows[-1]), who))
        day.append(np.full(len(rows[-1]), number // 2))
    sizes = [len(sung) for sung in rows]
    events = Events(
        member=np.concatenate(member).astype(np.int32),
        row=np.concatenate(rows).astype(np.int32),
        day=np.concatenate(day).astype(np.float32),
        session=np.repeat(np.arange(SITTINGS), sizes).astype(np.int32),
    )
    ones = np.ones(len(events.row), np.float32)
    return Corpus(
        song_ids=np.arange(N),
        interactions=csr_matrix((ones, (events.member, events.row)), shape=(MEMBERS, N)),
        features=csr_matrix(np.eye(N, dtype=np.float32)),
        popularity=np.bincount(events.row, minlength=N).astype(np.float32),
        trend=np.zeros(N, np.float32),
        recency=np.zeros(N, np.float32),
        artist_code=(np.arange(N) % 15).astype(np.int32),
        events=events,
    )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return karaoke()


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Model:
    settings = TrainSettings(ease=EaseSettings(regularization=50), als_factors=4, tune=False)
    return Model.train(corpus, settings=settings)


def test_the_theme_of_the_sitting_goes_on(model: Model, corpus: Corpus) -> None:
    known = KnownSongs.in_sitting(np.array([0, 3, 6, 9], np.int32))
    total = blend(model, corpus, known, BlendWeights()).total
    assert (np.argsort(-total)[:8] % 3 == 0).all()
    assert not set(np.argsort(-total)[:8].tolist()) & {0, 3, 6, 9}


def test_what_the_member_sang_before_comes_sooner(model: Model, corpus: Corpus) -> None:
    here = np.array([0, 3, 6], np.int32)
    sung = np.array([30, 30, 30, 30, 31], np.int32)
    ago = np.array([3, 10, 17, 24, 3], np.float32)
    new = blend(model, corpus, KnownSongs.in_sitting(here), BlendWeights()).total
    old = KnownSongs.in_sitting(here, sung=sung, sung_days_ago=ago)
    with_past = blend(model, corpus, old, BlendWeights()).total
    assert (with_past > with_past[30]).sum() <= (new > new[30]).sum()


def test_features_of_the_past_are_counted_by_hand(model: Model, corpus: Corpus) -> None:
    assert model.session is not None
    known = KnownSongs.in_sitting(
        np.array([0], np.int32),
        sung=np.array([9, 9, 9], np.int32),
        sung_days_ago=np.array([0, 60, 120], np.float32),
    )
    rows, values = session_ranker.features(model.session.opinions, corpus, known)
    nine = dict(zip(session_ranker.FEATURES, values[rows.tolist().index(9)].tolist(), strict=True))
    assert nine["times"] == 3
    assert nine["faded_times"] == pytest.approx(1 + 1 / 2 + 1 / 4)
    assert nine["rate"] == 1  # in each of three sittings
    assert nine["times_30"] == 1
    assert nine["times_90"] == 2
    assert nine["first_ago"] == 120
    assert nine["gaps"] == 0  # sung again today
    assert nine["sung_so_far"] == 1


def test_the_ranker_survives_the_disk(model: Model, corpus: Corpus, tmp_path: Path) -> None:
    model.save(tmp_path)
    known = KnownSongs.in_sitting(np.array([1, 4, 7], np.int32))
    before = blend(model, corpus, known, BlendWeights()).total
    after = blend(Model.load(tmp_path), corpus, known, BlendWeights()).total
    np.testing.assert_array_equal(before, after)


def test_too_few_sittings_teach_nothing(corpus: Corpus) -> None:
    assert corpus.events is not None
    few = corpus.events.session < 30
    events = Events(
        **{name: getattr(corpus.events, name)[few] for name in ("member", "row", "day", "session")}
    )
    assert session_ranker.train(replace(corpus, events=events), seed=0) is None
    assert session_ranker.train(replace(corpus, events=None), seed=0) is None


def test_opinions_behind_a_list_are_older_than_the_list(corpus: Corpus) -> None:
    log = session_ranker.SittingLog(corpus)
    for first, last in log.windows():
        assert log.day[first - 1] < log.day[first]
        assert first < last


def test_a_pause_of_hours_begins_a_new_sitting_and_each_member_has_his_own() -> None:
    hour = 3600.0
    events = Events.of_log(
        np.array([1, 0, 0, 0, 1]),
        np.array([5, 6, 7, 8, 9], np.int32),
        np.array([1.0, 0.0, 2.0, 5.5, 1.5]) * hour,
    )
    assert events.row.tolist() == [6, 5, 9, 7, 8]  # in time order
    first, other, same_other, same_first, later = events.session.tolist()
    assert first == same_first != other
    assert other == same_other
    assert later not in (first, other)


def test_an_empty_log_has_no_sittings(corpus: Corpus) -> None:
    none = np.empty(0, np.int64)
    events = Events.of_log(none, none.astype(np.int32), none.astype(float))
    assert session_ranker.train(replace(corpus, events=events), seed=0) is None
