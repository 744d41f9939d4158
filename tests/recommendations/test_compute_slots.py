"""Few requests of a process compute at a time, on few database connections."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from bench.fake_model import FakeModel, Seen, good_answer
from recommendations import services
from recommendations.serving.compute_slots import (
    SLOTS,
    ComputeSlots,
    ConnectionLimit,
    compute_slot,
)
from recommendations.serving.request import Request

from .conftest import World


def free(slots: ComputeSlots) -> int:
    return slots._free._value


def most_at_once(slots: ComputeSlots, *, threads: int) -> int:
    """How many of the threads worked at the same time at most."""
    lock, at_once, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal at_once, most
        with slots():
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.005)
            with lock:
                at_once -= 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return most


def test_no_more_than_a_few_work_at_a_time() -> None:
    slots = ComputeSlots(2)
    assert most_at_once(slots, threads=12) == 2
    assert free(slots) == 2


def test_waiting_ends_when_all_slots_are_stuck() -> None:
    """Slow ones that hold all slots don't hold up the others for good, and no slot is given back twice."""
    slots = ComputeSlots(2, stuck_after_s=0.01)
    done = threading.Event()

    def slow() -> None:
        with slots():
            done.wait(10)

    threads = [threading.Thread(target=slow) for _ in range(2)]
    for thread in threads:
        thread.start()
    while free(slots):
        time.sleep(0.001)
    with slots():
        assert free(slots) == 0
    done.set()
    for thread in threads:
        thread.join()
    assert free(slots) == 2


def test_waiting_goes_on_while_slots_are_given_back() -> None:
    """A long queue is no reason to work all at once."""
    # The clock stands still: as if a slot had just been given back, whenever a thread looks.
    slots = ComputeSlots(1, stuck_after_s=0.001, clock=lambda: 0.0)
    assert most_at_once(slots, threads=10) == 1


@pytest.mark.django_db
def test_a_request_that_waits_for_the_model_holds_no_slot(world: World, model: FakeModel) -> None:
    observed: list[int] = []

    def answer(seen: Seen) -> str:
        observed.append(free(compute_slot))
        return good_answer(seen)

    model.answer = answer
    assert services.recommend(Request(member_key=world.alice)).source == "model"
    assert set(observed) == {SLOTS}
    assert free(compute_slot) == SLOTS


@pytest.mark.parametrize("more", [False, True])
def test_connections_beyond_the_limit_are_closed(more: bool) -> None:
    closed: list[bool] = []
    limit = ConnectionLimit(2, release=lambda: closed.append(True))
    others = [connection.copy() for _ in range(3 if more else 2)]
    for other in others:
        other.connection = object()  # open
        limit.note(other)
    limit.enforce()
    assert bool(closed) is more
    others[0].connection = None  # closed: counts no more
    closed.clear()
    limit.enforce()
    assert not closed
