"""What likes and signals say about a member's taste."""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.catalog.catalog import Catalog
from engine.scoring.taste import taste_of
from engine.settings import SignalWeights
from engine.types import Signal, SignalType
from tests.engine.conftest import NOW, likes, query, song

BIG = Catalog.build([song(n) for n in range(1, 241)], likes=likes(), now=NOW)


class TestSignals:
    def weigh(self, *signals: Signal, favorites: tuple[int, ...] = (), **weights: float):
        asked = query(*favorites, signals=signals)
        return taste_of(asked, catalog=BIG, weights=SignalWeights(**weights))

    def test_a_play_says_less_than_a_like(self):
        taste = self.weigh(
            Signal(song_id=1, type=SignalType.LIKE, at=NOW),
            Signal(song_id=2, type=SignalType.PLAY, at=NOW),
        )
        weight = dict(zip(taste.known.rows.tolist(), taste.known.weights.tolist(), strict=True))
        assert weight[0] > weight[1] > 0

    def test_an_old_signal_fades_to_the_floor(self):
        old = Signal(song_id=1, type=SignalType.LIKE, at=NOW - timedelta(days=36_500))
        assert self.weigh(old, floor=0.2).known.weights.tolist() == pytest.approx([0.2])

    @pytest.mark.parametrize(
        ("stars", "liked", "disliked"), [(5, [0], []), (3, [0], []), (2, [], [0]), (1, [], [0])]
    )
    def test_stars_say_yes_nothing_or_no(self, stars: float, liked: list[int], disliked: list[int]):
        taste = self.weigh(Signal(song_id=1, type=SignalType.RATING, value=stars, at=NOW))
        assert taste.known.rows.tolist() == liked
        assert taste.disliked.tolist() == disliked

    def test_the_last_word_counts(self):
        before, after = NOW - timedelta(days=1), NOW
        no_then_yes = self.weigh(
            Signal(song_id=1, type=SignalType.LIKE, at=after),
            Signal(song_id=1, type=SignalType.DISLIKE, at=before),
        )
        assert no_then_yes.disliked.tolist() == []
        assert no_then_yes.owned.tolist() == [0]
        yes_then_no = self.weigh(
            Signal(song_id=1, type=SignalType.LIKE, at=before),
            Signal(song_id=1, type=SignalType.DISLIKE, at=after),
        )
        assert yes_then_no.disliked.tolist() == [0]

    def test_an_unliked_song_rests_and_comes_back(self):
        def rests(days: int) -> list[int]:
            at = NOW - timedelta(days=days)
            return self.weigh(Signal(song_id=1, type=SignalType.UNLIKE, at=at)).resting.tolist()

        assert (rests(1), rests(60)) == ([0], [])

    def test_a_thousand_plays_are_capped(self):
        plays = [Signal(song_id=1, type=SignalType.PLAY, at=NOW) for _ in range(1000)]
        taste = self.weigh(*plays, play=0.15, most_repeats=3)
        assert taste.known.weights.tolist() == pytest.approx([0.45])
        assert taste.known.counts.tolist() == [1000]

    def test_favourites_keep_their_order_and_come_first(self):
        taste = self.weigh(Signal(song_id=9, type=SignalType.SANG, at=NOW), favorites=(5, 3))
        assert BIG.song_ids[taste.known.rows].tolist() == [5, 3, 9]

    def test_songs_of_the_last_hours_are_the_session(self):
        sung = [
            Signal(song_id=n, type=SignalType.SANG, at=NOW - timedelta(hours=hours))
            for n, hours in ((1, 1), (2, 2), (3, 30))
        ]
        assert BIG.song_ids[self.weigh(*sung).known.session].tolist() == [2, 1]
