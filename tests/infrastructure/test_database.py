"""The guard that spares requests the wait for an unreachable database, and the shared statements."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.utils import timezone

from infrastructure import database
from profiles.models import Block


@pytest.mark.parametrize(
    ("error", "unreachable"),
    [
        (OperationalError(2003, "Can't connect"), True),
        (OperationalError(2013, "Lost connection"), True),
        (OperationalError(1040, "Too many connections"), True),
        (OperationalError(1213, "Deadlock found"), False),
        (OperationalError(1205, "Lock wait timeout"), False),
        (OperationalError("database is locked"), False),
        (OperationalError("unable to open database file"), True),
        (InterfaceError(0, ""), True),
        (ProgrammingError(1146, "no such table"), False),
    ],
)
def test_an_unreachable_server_differs_from_a_query_that_failed(error, unreachable):
    guard = database.DatabaseGuard(lambda: False)
    with pytest.raises(type(error)), guard():
        raise error
    assert guard.is_down is unreachable
    guard.reset()


def test_after_a_failure_no_query_runs_until_the_database_answers():
    there, looked = threading.Event(), threading.Event()

    def answers() -> bool:
        looked.set()
        return there.is_set()

    guard = database.DatabaseGuard(answers, probe_every_s=0.01)
    asked = 0

    def ask() -> None:
        nonlocal asked
        with guard():
            asked += 1
            if not there.is_set():
                raise OperationalError(2003, "refused")

    for _ in range(5):
        with pytest.raises(OperationalError):
            ask()
    assert looked.wait(10)  # a thread of its own probes …
    assert (asked, guard.is_down) == (1, True)  # … and callers do not
    there.set()
    while guard.is_down:
        time.sleep(0.01)
    ask()
    assert asked == 2


@pytest.mark.django_db
def test_the_probe_uses_a_connection_of_its_own(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert database._answers()


@pytest.mark.django_db
def test_rows_are_deleted_in_batches_and_counted(django_assert_num_queries):
    Block.objects.bulk_create(
        Block(member_key=str(n % 2), kind="song", key=str(n), created_at=timezone.now())
        for n in range(10)
    )
    with django_assert_num_queries(7):  # three pages, each selected and deleted, and an empty one
        deleted = database.delete_in_batches(
            Block.objects.filter(member_key="1").order_by("created_at"), size=2
        )
    assert deleted == 5
    assert Block.objects.count() == 5
