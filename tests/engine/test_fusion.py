"""Two orders become one."""

from __future__ import annotations

import pytest

from engine.ranking.fusion import fuse


def test_no_weight_keeps_the_baseline() -> None:
    assert fuse([5, 6, 7], [7, 6, 5], model_weight=0.0) == (5, 6, 7)


def test_full_weight_puts_the_picks_first_and_the_rest_behind_in_its_order() -> None:
    assert fuse([1, 2, 3, 4], [4, 2], model_weight=1.0) == (4, 2, 1, 3)


@pytest.mark.parametrize(
    ("baseline", "picks", "expected"),
    [
        # 1/60+1/62, 1/61+1/60, 1/62+1/61: the middle one is first and second, so it wins
        ([1, 2, 3], [2, 3, 1], (2, 1, 3)),
        # agreement changes nothing
        ([1, 2, 3], [1, 2, 3], (1, 2, 3)),
        # what is not in the baseline is ignored
        ([1, 2], [9, 2], (1, 2)),
    ],
)
def test_half_weight_joins_both(
    baseline: list[int], picks: list[int], expected: tuple[int, ...]
) -> None:
    assert fuse(baseline, picks, model_weight=0.5) == expected


def test_no_song_is_lost_or_invented() -> None:
    assert sorted(fuse(range(40), [39, 5, 7], model_weight=0.5)) == list(range(40))
