"""The exponents of bench/growth.py are what they claim to be."""

from __future__ import annotations

import pytest

from bench.growth import fitted


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_cost_that_is_a_power_of_the_size_is_found_again(power: float) -> None:
    sizes = [2_000, 6_000, 20_000, 60_000]
    found = fitted(sizes, [3 * size**power for size in sizes])
    assert (found["exponent"], found["last"]) == (power, power)
    assert found["stderr"] == pytest.approx(0, abs=0.01)


def test_a_cost_that_stops_growing_shows_in_the_last_step() -> None:
    found = fitted([1_000, 10_000, 100_000], [1, 100, 100])
    assert found["last"] == 0
    assert found["r2"] < 0.8
