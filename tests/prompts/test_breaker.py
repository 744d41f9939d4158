"""When a server may be asked, and how many at once: in memory and through Redis alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django_redis import get_redis_connection

from infrastructure.redis import gate
from prompts.llm.breaker import (
    MAX_OPEN_S,
    Breaker,
    BreakerState,
    CallReport,
    admit,
    advance,
    report_of,
)
from prompts.models import CallOutcome

FAILED, WELL = CallReport(failed=True, why="http_5xx 500"), CallReport(failed=False)
LASTING = CallReport(failed=True, lasting=True, why="http_4xx 401")


def after(
    *reports: CallReport, state: BreakerState | None = None, now: float = 1_000.0
) -> BreakerState:
    state = state or BreakerState()
    for report in reports:
        state = advance(state, report, now)
    return state


def test_five_failures_in_a_row_open_it() -> None:
    assert after(*[FAILED] * 4).is_closed
    opened = after(*[FAILED] * 5)
    assert not opened.is_closed
    assert not admit(opened, 1_029.0)[0]
    assert admit(opened, 1_030.0)[0]


def test_half_of_ten_failing_opens_it_though_never_in_a_row() -> None:
    assert after(*[WELL, FAILED] * 4).is_closed  # 8 calls say too little
    assert not after(*[WELL, FAILED] * 5).is_closed


def test_failures_older_than_a_minute_are_forgotten() -> None:
    state = after(*[WELL, FAILED] * 4)
    later = after(WELL, FAILED, state=state, now=1_070.0)
    assert later.is_closed
    assert sum(bucket[1] for bucket in later.window) == 2


def test_one_probe_at_a_time_decides() -> None:
    opened = after(*[FAILED] * 5)
    allowed, probing = admit(opened, 1_030.0)
    assert allowed
    assert not admit(probing, 1_031.0)[0]  # the probe is under way
    assert after(WELL, state=probing, now=1_032.0).is_closed
    reopened = after(FAILED, state=probing, now=1_032.0)
    assert reopened.open_until == 1_032.0 + 60  # doubled


def test_the_wait_doubles_to_ten_minutes_and_no_further() -> None:
    state, now = after(*[FAILED] * 5), 1_000.0
    for _ in range(8):
        now = state.open_until
        state = after(FAILED, state=admit(state, now)[1], now=now)
    assert state.open_until - now == MAX_OPEN_S


def test_a_wrong_key_opens_it_at_once_and_for_long() -> None:
    state = after(LASTING)
    assert state.open_until == 1_000.0 + MAX_OPEN_S


@pytest.mark.parametrize(
    ("outcome", "status", "report"),
    [
        (CallOutcome.TIMEOUT, None, (True, False)),
        (CallOutcome.HTTP_5XX, 503, (True, False)),
        (CallOutcome.RATE_LIMITED, 429, (True, False)),
        (CallOutcome.QUOTA, 429, (True, True)),
        (CallOutcome.HTTP_4XX, 401, (True, True)),
        (CallOutcome.HTTP_4XX, 404, (True, True)),
        (CallOutcome.HTTP_4XX, 400, (False, False)),  # our request was wrong, not the server
        (CallOutcome.OK, 200, (False, False)),
    ],
)
def test_what_speaks_against_a_server(
    outcome: CallOutcome, status: int | None, report: tuple[bool, bool]
) -> None:
    found = report_of(outcome, status)
    assert (found.failed, found.lasting) == report


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def two(request: pytest.FixtureRequest, clock: Clock) -> Iterator[tuple[Breaker, Breaker]]:
    """Two processes' breakers: one and the same object in memory, two objects over Redis."""
    if request.param == "memory":
        one = Breaker(clock=clock)
        yield one, one
    else:
        request.getfixturevalue("shared_redis")
        yield Breaker(clock=clock), Breaker(clock=clock)


def test_what_one_process_saw_holds_for_the_other(
    two: tuple[Breaker, Breaker], clock: Clock
) -> None:
    here, there = two
    for _ in range(5):
        here.record("7", FAILED)
    assert not there.admits("7")
    assert there.admits("8")
    clock.now += 30
    assert there.admits("7")  # the probe
    assert not here.admits("7")
    there.record("7", WELL)
    assert here.admits("7")


def test_staff_can_close_it(two: tuple[Breaker, Breaker]) -> None:
    here, there = two
    here.record("7", LASTING)
    there.close("7")
    assert there.admits("7")


def test_places_are_counted_across_processes_and_end_with_their_lease(
    two: tuple[Breaker, Breaker], clock: Clock
) -> None:
    here, there = two
    first = here.take_place("7", places=2, seconds=5)
    assert first
    assert there.take_place("7", places=2, seconds=5)
    assert not here.take_place("7", places=2, seconds=5)
    here.free_place("7", first)
    assert there.take_place("7", places=2, seconds=5)
    clock.now += 7  # the holders died: five seconds and one of grace are over
    assert here.take_place("7", places=2, seconds=5)


@pytest.mark.services
def test_without_an_answer_from_redis_this_process_counts_for_itself(shared_redis: str) -> None:
    here = Breaker()
    get_redis_connection("default").shutdown(nosave=True)
    for _ in range(5):
        here.record("7", FAILED)
    assert not here.admits("7")
    assert here.take_place("7", places=1, seconds=5)
    assert not here.take_place("7", places=1, seconds=5)
    assert not gate.up
