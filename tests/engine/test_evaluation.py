"""Splits hide what they should, and everybody is asked the same."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from engine.evaluation.baselines import PRODUCT
from engine.evaluation.protocol import evaluate, split_of
from engine.evaluation.questions import EvaluationPlan
from engine.evaluation.world import Dataset
from engine.training.fitting import EaseSettings
from engine.training.model import TrainSettings
from engine.training.train_test_split import (
    Interactions,
    TrainTestSplit,
    random_split,
    session_split,
    sittings,
    temporal_split,
    with_min_partners,
)

DAY = 86_400.0
FAST = TrainSettings(
    ease=EaseSettings(regularization=20),
    als_factors=4,
    als_regularization=1,
    als_rounds=3,
    tune=False,
)


def rows(
    *pairs: tuple[int, int], at: list[float] | None = None, session: list[int] | None = None
) -> Interactions:
    size = len(pairs)
    return Interactions(
        member=np.array([member for member, _ in pairs], np.int64),
        song=np.array([song for _, song in pairs], np.int64),
        at=np.array(at, float) if at else np.full(size, np.nan),
        kind=np.zeros(size, np.int64),
        weight=np.ones(size),
        session=np.array(session, np.int64) if session else np.full(size, -1, np.int64),
    )


def two_tastes(members: int = 60, songs: int = 24) -> Interactions:
    """Members of even number like even songs, the others odd ones; two thirds of them each."""
    random = np.random.default_rng(5)
    pairs = [
        (member, song)
        for member in range(members)
        for song in range(member % 2, songs, 2)
        if random.random() < 0.7
    ]
    return rows(*pairs)


def dataset(data: Interactions, kind: str = "like") -> Dataset:
    songs = int(data.song.max()) + 1
    return Dataset(
        data=data,
        members=[f"m{n}" for n in range(int(data.member.max()) + 1)],
        songs=[f"s{n}" for n in range(songs)],
        kinds=[kind],
        sessions=[f"k{n}" for n in range(int(data.session.max()) + 1)],
        about={f"s{n}": {"title": f"title {n}", "artist": f"artist {n % 5}"} for n in range(songs)},
    )


def pairs_of(data: Interactions) -> set[tuple[int, int]]:
    return set(zip(data.member.tolist(), data.song.tolist(), strict=True))


def test_the_filter_is_repeated_until_stable() -> None:
    # Song 2 has one member and goes; then member 1 has one song and goes; then song 1 has one and goes;
    # then member 0 and song 0 fall too, and only the 2×2 block of members 2, 3 is left.
    data = rows((0, 0), (0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (3, 3), (3, 4))
    assert pairs_of(with_min_partners(data, 2)) == {(2, 3), (2, 4), (3, 3), (3, 4)}


def test_a_filter_of_one_keeps_everything() -> None:
    data = rows((0, 0), (1, 1))
    assert len(with_min_partners(data, 1)) == 2


def test_a_fifth_of_each_members_songs_is_test() -> None:
    data = rows(*itertools.product(range(7), range(10)))
    split = random_split(data, holdout=0.2, seed=3)
    assert np.bincount(split.test.member).tolist() == [2] * 7
    assert not pairs_of(split.train) & pairs_of(split.test)
    assert pairs_of(split.train) | pairs_of(split.test) == pairs_of(data)


def test_a_song_heard_twice_is_on_one_side_only() -> None:
    data = rows(*[(0, song) for song in range(10) for _ in range(3)])
    split = random_split(data, holdout=0.3, seed=0)
    assert len(split.test) == 9
    assert not pairs_of(split.train) & pairs_of(split.test)


def test_the_only_song_of_a_member_stays_in_training() -> None:
    split = random_split(rows((0, 0)), holdout=0.9, seed=0)
    assert len(split.train) == 1


def test_the_same_seed_splits_the_same_way() -> None:
    data = two_tastes()
    first, second, other = (random_split(data, holdout=0.2, seed=seed) for seed in (1, 1, 2))
    assert pairs_of(first.test) == pairs_of(second.test)
    assert pairs_of(first.test) != pairs_of(other.test)


def test_a_temporal_split_asks_about_the_latest_and_new_songs_only() -> None:
    at = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    songs = [0, 1, 2, 3, 4, 5, 6, 7, 0, 9]  # song 0 is heard again in the end
    split = temporal_split(rows(*[(0, song) for song in songs], at=at), holdout=0.3)
    assert split.train.at.tolist() == at[:7]
    assert split.test.song.tolist() == [7, 9]


def test_a_temporal_split_without_any_time_is_refused() -> None:
    with pytest.raises(ValueError, match="timestamp"):
        temporal_split(rows((0, 0), (0, 1)), holdout=0.5)


def sung(*sessions: tuple[int, float, list[int]]) -> Interactions:
    """(member, day, songs) each; one minute per song."""
    pairs, at, session = [], [], []
    for number, (member, day, songs) in enumerate(sessions):
        for place, song in enumerate(songs):
            pairs.append((member, song))
            at.append(day * DAY + 60 * place)
            session.append(number)
    return rows(*pairs, at=at, session=session)


def test_half_a_sitting_is_given_and_the_rest_is_wanted() -> None:
    data = sung(
        (0, 1, [1, 2, 3]),
        (0, 5, [9, 8]),  # too short to be asked about, but past
        (0, 6, [4, 5, 6, 4, 7, 1, 2, 3]),  # seven distinct songs
    )
    split = session_split(data, since=4 * DAY)
    assert len(split.train) == 3
    (sitting,) = sittings(split)
    assert split.test.song[sitting.given].tolist() == [4, 5, 6]
    assert split.test.song[sitting.wanted].tolist() == [7, 1, 2, 3]
    assert split.test.song[sitting.past_in_test].tolist() == [9, 8]


def test_a_sitting_is_not_cut_in_two_and_undated_ones_are_training() -> None:
    data = sung((0, 3.9999, [1, 2, 3, 4, 5, 6]), (0, 9, [1, 2, 3, 4, 5, 6]))
    data.at[data.session == 1] = np.nan
    assert len(session_split(data, since=4 * DAY).test) == 0
    assert len(session_split(data, since=3 * DAY, until=3.5 * DAY).test) == 0


@pytest.fixture(scope="module")
def report():  # type: ignore[no-untyped-def]
    data = dataset(two_tastes())
    plan = EvaluationPlan(ks=(5, 10), min_interactions=3, seed=1, known_counts=(1, 3), train=FAST)
    return evaluate(data, split_of(data, plan), plan, clock=iter(range(10_000)).__next__)


def test_every_model_is_asked_and_the_product_finds_the_taste(report) -> None:  # type: ignore[no-untyped-def]
    models = report.figures["models"]
    assert set(models) == {PRODUCT, "popularity", "item_knn", "rp3", "als", "ease"}
    assert models[PRODUCT]["ndcg@5"] > models["popularity"]["ndcg@5"]
    for name, figures in models.items():
        low, high = report.figures["intervals"][name]["ndcg@5"]
        assert low <= figures["ndcg@5"] <= high


def test_strangers_are_asked_about_by_how_much_is_told(report) -> None:  # type: ignore[no-untyped-def]
    by_known = report.figures["by_known_items"]
    assert set(by_known) == {"1", "3"}
    assert by_known["3"][PRODUCT]["ndcg@5"] > 0.5


def test_figures_can_be_computed_again_from_the_lists(report) -> None:  # type: ignore[no-untyped-def]
    data = dataset(two_tastes())
    plan = EvaluationPlan(ks=(5, 10), min_interactions=3, seed=1)
    split = split_of(data, plan)
    wanted: dict[str, set[str]] = {}
    for member, song in pairs_of(split.test):
        wanted.setdefault(f"m{member}", set()).add(f"s{song}")
    known = pairs_of(split.train)
    hits = dict.fromkeys(wanted, 0)
    for member, _, song, place, model in report.rankings:
        assert (int(member[1:]), int(song[1:])) not in known
        if model == PRODUCT and place <= 5:
            hits[member] += song in wanted[member]
    recalls = [hits[member] / min(5, len(found)) for member, found in wanted.items()]
    assert report.figures["models"][PRODUCT]["recall@5"] == pytest.approx(np.mean(recalls))


def test_sittings_are_asked_with_and_without_the_past() -> None:
    random = np.random.default_rng(2)
    sessions = [
        (day % 5, float(day), (random.permutation(12)[:8] * 2 + day % 2).tolist())
        for day in range(60)
    ]
    data = dataset(sung(*sessions), kind="sang")
    plan = EvaluationPlan(
        protocol="session", ks=(5,), since=50 * DAY, known_counts=(1, 3), train=FAST
    )
    split = split_of(data, plan)
    figures = evaluate(data, split, plan, clock=iter(range(10_000)).__next__).figures
    assert figures["lists"] == 10
    assert figures["lists_with_history"] == 10
    assert {"history", "ease_artist", "ease_history_artist", PRODUCT} <= set(figures["models"])
    assert set(figures["without_history"]) == set(figures["models"])
    assert set(figures["by_known_items"]) == {"1", "3"}
    assert figures["models"][PRODUCT]["recall@5"] > 0.3


def test_songs_that_training_never_saw_are_misses() -> None:
    train = sung(*[(0, float(day), [1, 2, 3, 4, 5, 6, 7]) for day in range(5)])
    test = sung((0, 9.0, [1, 2, 3, 98, 99, 4]))
    data = dataset(Interactions.joined(train, test), kind="sang")
    plan = EvaluationPlan(protocol="session", ks=(20,), known_counts=(), train=FAST)
    figures = evaluate(
        data, TrainTestSplit(train=train, test=test), plan, clock=iter(range(10_000)).__next__
    ).figures
    # given 1, 2, 3; wanted 98, 99, 4: only the last can be found
    assert figures["models"]["ease"]["recall@20"] == pytest.approx(1 / 3)


def test_an_unknown_protocol_is_refused() -> None:
    data = dataset(two_tastes())
    with pytest.raises(ValueError, match="protocol"):
        split_of(data, EvaluationPlan(protocol="leave-one-out"))


@pytest.mark.parametrize("protocol", ["random", "temporal"])
def test_what_was_turned_down_is_not_asked_for(protocol: str) -> None:
    """Songs 0–9 by what was said of them: of each, ten members, so that every part holds some."""
    said = [
        [("like", 1.0)],
        [("play", 1.0)],
        [("skip", 1.0)],  # says no
        [("dislike", 1.0)],  # says no
        [("rating", 5.0)],
        [("rating", 3.0)],
        [("rating", 2.0)],  # says nothing
        [("play", 1.0), ("dislike", 1.0)],  # 0.15 - 1.5
        [("like", 1.0), ("skip", 1.0)],  # 1 - 0.25
        [("hummed", 1.0)],  # no type of ours: a play
    ]
    kinds = ["like", "play", "skip", "dislike", "rating", "hummed"]
    flat = [(m, s, *one) for m in range(10) for s, all_of in enumerate(said) for one in all_of]
    asked = rows(*[(m, s) for m, s, _, _ in flat], at=[float((m + s) % 10) for m, s, _, _ in flat])
    data = replace(
        asked,
        kind=np.array([kinds.index(kind) for _, _, kind, _ in flat]),
        weight=np.array([weight for *_, weight in flat]),
    )
    found = replace(dataset(data), kinds=kinds)
    split = split_of(found, EvaluationPlan(protocol=protocol, holdout=0.5))
    assert set(split.test.song.tolist()) == {0, 1, 4, 5, 8, 9}
    assert set(split.train.song.tolist()) == set(range(10))


def test_a_few_strangers_are_asked_again_and_told_other_songs() -> None:
    data = two_tastes()
    plan = EvaluationPlan(known_counts=(3,), train=FAST)
    figures = evaluate(
        dataset(data), split_of(dataset(data), plan), plan, clock=lambda: 0.0
    ).figures
    assert figures["by_known_items"]["3"][PRODUCT]["lists"] == 10 * 30  # of half of 60 members


def test_baselines_learn_from_rows_that_say_no_and_the_product_does_not() -> None:
    data = two_tastes()
    plan = EvaluationPlan(known_counts=(), train=FAST)
    figures = evaluate(
        dataset(data, "dislike"), split_of(dataset(data), plan), plan, clock=lambda: 0.0
    ).figures
    assert figures["models"]["ease"]["ndcg@10"] > 2 * figures["models"][PRODUCT]["ndcg@10"]
