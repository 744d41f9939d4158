"""Few requests of a process compute at a time, on few database connections."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from bench.fake_model import FakeModel
from recommendations import services
from recommendations.serving import compute_slots, llm_curation
from recommendations.serving.compute_slots import keep_few_connections, turn
from recommendations.serving.request import Request

from .conftest import World


def free_turns() -> int:
    """How many turns nobody has."""
    return turn._free._value


def test_no_more_than_a_few_work_at_a_time() -> None:
    lock, at_once, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal at_once, most
        with turn():
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.005)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == compute_slots.TURNS
    assert free_turns() == compute_slots.TURNS


def test_courtesy_ends_when_all_turns_are_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow ones that keep all turns don't hold up the others for good, and no turn is given back twice."""
    monkeypatch.setattr(compute_slots, "PATIENCE_S", 0.01)
    done = threading.Event()

    def slow() -> None:
        with turn():
            done.wait(10)

    threads = [threading.Thread(target=slow) for _ in range(compute_slots.TURNS)]
    for thread in threads:
        thread.start()
    while free_turns():
        time.sleep(0.001)
    with turn():
        assert free_turns() == 0
    done.set()
    for thread in threads:
        thread.join()
    assert free_turns() == compute_slots.TURNS


def test_courtesy_lasts_while_turns_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue is no reason to work all at once."""
    monkeypatch.setattr(compute_slots, "PATIENCE_S", 0.001)
    one_by_one = compute_slots.Turns(1)
    # As if a turn had just ended, whenever somebody looks.
    monkeypatch.setattr(compute_slots.time, "monotonic", lambda: 5.0)
    one_by_one._moved_at = 5.0
    at_once, most = [0], [0]

    def work() -> None:
        with one_by_one():
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            time.sleep(0.005)
            at_once[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_who_waits_for_the_model_holds_no_turn(
    world: World, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    asked = llm_curation.ask_model

    def ask(*args: object, **kwargs: object) -> object:
        seen.append(free_turns())
        return asked(*args, **kwargs)

    monkeypatch.setattr(llm_curation, "ask_model", ask)
    answer = services.recommend(Request(member_key=world.alice))
    assert answer.source == "model"
    assert seen == [compute_slots.TURNS]
    assert free_turns() == compute_slots.TURNS


@pytest.mark.django_db
@pytest.mark.parametrize("more_than_kept", [False, True])
def test_connections_beyond_those_kept_are_closed(
    monkeypatch: pytest.MonkeyPatch, more_than_kept: bool
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(compute_slots, "let_connections_go", lambda: closed.append(True))
    monkeypatch.setattr(compute_slots, "KEPT_CONNECTIONS", 2)
    monkeypatch.setattr(compute_slots, "_seen", type(compute_slots._seen)())
    others = [connection.copy() for _ in range(3 if more_than_kept else 2)]
    try:
        for other in others:
            other.connect()
        keep_few_connections()
        assert bool(closed) is more_than_kept
        others[0].connection = None  # closed: counts no more (SQLite in memory ignores close())
        closed.clear()
        keep_few_connections()
        assert not closed
    finally:
        for other in others:
            other.close()
