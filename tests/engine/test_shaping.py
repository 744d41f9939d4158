"""Order beyond the score: variety, the member's own mix, caps, signals."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from engine.catalog.catalog import Catalog
from engine.ranking.diversity import cap_of, likeness
from engine.ranking.draft import WINDOW
from engine.ranking.notes import NoteCode
from engine.ranking.recipes import DEFAULT
from engine.ranking.recommend import rank, run
from engine.settings import EngineSettings, ShapingSettings, SituationTable
from engine.training.model import Model
from engine.types import Activity, Context, ImpressionCount, Only, Signal, SignalType
from tests.engine.conftest import ARTISTS, NOW, likes, query, song

BIG = Catalog.build([song(n) for n in range(1, 241)], likes=likes(), now=NOW)
UNTRAINED = Model.untrained(BIG.corpus)


def shaped(**changes: object) -> EngineSettings:
    return EngineSettings(shaping=ShapingSettings(**changes))  # type: ignore[arg-type]


def artists_of(rows: np.ndarray, catalog: Catalog = BIG) -> list[int]:
    return catalog.terms["artist"].leading[rows].tolist()


@settings(max_examples=40, deadline=None)
@given(
    favorites=st.lists(st.integers(1, 240), max_size=30, unique=True),
    cap=st.integers(1, 5),
    count=st.sampled_from([20, 40, 50]),
    seed=st.integers(0, 9),
)
def test_no_artist_exceeds_their_cap_in_any_stretch_from_the_top(favorites, cap, count, seed):
    asked = query(*favorites, count=count, seed=seed)
    chosen = shaped(artist_cap=cap, anime_cap=20)
    draft = run(asked, catalog=BIG, model=UNTRAINED, settings=chosen)
    assert draft.rows is not None
    most = cap_of(draft, "artist", cap)
    # Eight artists: with a cap below 3 the list of 20 cannot be filled within it.
    room = sum(most[:-1])
    for end in range(WINDOW, count + 1, WINDOW):
        for artist, found in Counter(artists_of(draft.rows[:end])).items():
            assert found <= most[artist] * (end // WINDOW) or room < WINDOW


def test_songs_over_a_cap_fill_up_only_when_nothing_else_is_left():
    few = Catalog.build([song(n) for n in range(8, 81, 8)], now=NOW)  # ten songs of one artist
    draft = run(
        query(count=10),
        catalog=few,
        model=Model.untrained(few.corpus),
        settings=shaped(artist_cap=2),
    )
    assert draft.left == 10, "a short list would be worse than one voice"
    draft = run(
        query(count=10),
        catalog=few,
        model=Model.untrained(few.corpus),
        settings=shaped(artist_cap=2),
        recipe=DEFAULT[:-1],
    )
    assert [note.code for note in draft.notes] == [NoteCode.OVER_CAP]


def test_a_loyal_fan_gets_more_of_their_artist():
    fan = query(*range(8, 161, 8))  # twenty songs of one artist
    draft = run(fan, catalog=BIG, model=UNTRAINED, settings=shaped(loyalty=1.0))
    artist = int(BIG.terms["artist"].leading[7])
    # share 1 × loyalty 1 × 20 places × 20 / (20 + 5) likes = 16
    assert cap_of(draft, "artist", 3)[artist] == 16
    assert cap_of(draft, "artist", 3)[-1] == WINDOW, "songs without an artist are not capped"
    strict = run(fan, catalog=BIG, model=UNTRAINED, settings=shaped(loyalty=0.0))
    assert cap_of(strict, "artist", 3)[artist] == 3


def test_calibration_draws_the_list_to_the_members_own_mix():
    # Songs 4, 6, 2 and 10 are 에너지, 잔잔, 강렬 and 강렬.
    asked = query(4, 6, 2, 10)
    mood = BIG.terms["mood"]

    def distance(strength: float) -> float:
        chosen = shaped(calibration=strength, diversity=0, exploration=0, artist_cap=20)
        draft = run(asked, catalog=BIG, model=UNTRAINED, settings=chosen)
        assert draft.rows is not None
        found = mood.counts(draft.rows[:20])
        return float(np.abs(found / found.sum() - draft.taste.mix["mood"]).sum())

    assert distance(1.0) < distance(0.0)


def test_diversity_of_the_query_overrules_the_settings():
    def kinds(diversity: float) -> int:
        asked = query(8, 16, 24, diversity=diversity)
        return len(set(artists_of(rank(asked, catalog=BIG, model=UNTRAINED)[:8])))

    assert kinds(1.0) >= kinds(0.5) >= kinds(0.0)
    assert kinds(1.0) > kinds(0.0)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (1, 0.2),  # 1 / (1 + 4): of one genre, and nothing else is known
        (4, 0.5),
        (12, 0.75),  # 12 / (12 + 4): a copy in everything
        (0, 0.0),
    ],
)
def test_songs_of_little_content_are_no_copies_of_each_other(features: int, expected: float):
    same = np.full((2, features), 1 / np.sqrt(max(features, 1)), np.float32)
    assert likeness(csr_matrix(same))[0, 1] == pytest.approx(expected)


@pytest.mark.parametrize(("count", "explored"), [(5, 0), (10, 1), (20, 2), (50, 5)])
def test_a_tenth_is_exploration(count: int, explored: int):
    draft = run(
        query(1, 2, count=count), catalog=BIG, model=UNTRAINED, settings=shaped(artist_cap=20)
    )
    assert draft.rows is not None
    assert len(draft.explored) == explored
    assert draft.explored <= set(draft.rows[:count].tolist())


def test_a_filter_that_nothing_passes_stays_a_promise():
    asked = query(1, only=Only(artists=frozenset({"아무도 아님"})))
    draft = run(asked, catalog=BIG, model=UNTRAINED, settings=EngineSettings(), recipe=DEFAULT[:1])
    assert draft.left == 0
    assert draft.notes[-1].code is NoteCode.NOTHING_LEFT


def test_without_any_likes_chance_orders_not_the_id():
    bare = Catalog.build([song(n, created_at=None) for n in range(1, 241)], now=NOW)
    model = Model.untrained(bare.corpus)
    first, second = (
        rank(query(seed=seed), catalog=bare, model=model)[:20].tolist() for seed in (1, 2)
    )
    assert first != second
    assert len(set(artists_of(np.array(first), bare))) == len(ARTISTS)


class TestRotation:
    def part_of(self, song_id: int, *signals: Signal) -> float:
        shown = ImpressionCount(song_id=song_id, times=4, last_at=NOW - timedelta(hours=2))
        draft = run(
            query(5, 13, impressions=(shown,), signals=signals),
            catalog=BIG,
            model=UNTRAINED,
            settings=EngineSettings(),
        )
        return float(draft.parts["rotation"][song_id - 1])

    def test_what_was_shown_and_ignored_sinks(self):
        assert self.part_of(21) < -0.5

    def test_what_was_sung_after_it_was_shown_does_not(self):
        assert self.part_of(21, Signal(song_id=21, type=SignalType.SANG, at=NOW)) == 0

    def test_what_was_sung_long_before_and_ignored_since_does(self):
        long_ago = Signal(song_id=21, type=SignalType.SANG, at=NOW - timedelta(days=30))
        assert self.part_of(21, long_ago) < -0.5

    def test_a_skip_takes_nothing_up(self):
        assert self.part_of(21, Signal(song_id=21, type=SignalType.SKIP, at=NOW)) < -0.5

    def test_it_comes_back_as_the_days_go_by(self):
        def part(days: int) -> float:
            shown = ImpressionCount(song_id=21, times=4, last_at=NOW - timedelta(days=days))
            asked = query(5, 13, impressions=(shown,))
            draft = run(asked, catalog=BIG, model=UNTRAINED, settings=EngineSettings())
            return float(draft.parts["rotation"][20])

        assert part(0) == pytest.approx(2 * part(4), rel=0.01)
        assert part(0) < part(4) < part(28) < 0


def test_exploration_prefers_artists_the_member_has_not_heard():
    heard = {"結束バンド", "あいみょん"}
    for seed in range(6):
        draft = run(
            query(4, 12, 5, 13, seed=seed), catalog=BIG, model=UNTRAINED, settings=EngineSettings()
        )
        assert draft.explored
        assert not heard & {BIG.view(row).artist for row in draft.explored}


def test_a_situation_changes_what_comes_first_and_staff_say_how_far():
    def calm_share(strength: float) -> float:
        chosen = EngineSettings(situations=SituationTable(strength=strength))
        asked = query(4, 12, 20, context=Context(activity=Activity.SLEEP))
        rows = rank(asked, catalog=BIG, model=UNTRAINED, settings=chosen)[:10]
        return sum(BIG.view(int(row)).mood in ("잔잔", "감성적") for row in rows) / 10

    assert calm_share(0) < calm_share(3)
    assert calm_share(3) >= 0.9


def test_adventure_moves_the_list_between_known_and_new_artists():
    heard = {"結束バンド", "あいみょん"}

    def known_artists(adventure: float | None) -> int:
        asked = query(4, 12, 5, 13, adventure=adventure)
        rows = rank(asked, catalog=BIG, model=UNTRAINED, settings=shaped(adventure=3.0))[:20]
        return sum(BIG.view(int(row)).artist in heard for row in rows)

    assert known_artists(0.0) > known_artists(1.0)
    assert known_artists(0.5) >= known_artists(1.0)


@pytest.mark.parametrize(("adventure", "explored"), [(0.0, 0), (0.5, 2), (None, 2), (1.0, 4)])
def test_adventure_decides_how_much_is_left_to_chance(adventure: float | None, explored: int):
    asked = query(1, 2, count=20, adventure=adventure)
    draft = run(asked, catalog=BIG, model=UNTRAINED, settings=shaped(artist_cap=20))
    assert len(draft.explored) == explored
