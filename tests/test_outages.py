"""An outage of the database or the broker is one line in the log, and one more when it is over."""

from __future__ import annotations

import logging
import time

import pytest
from amqp.exceptions import ConnectionForced
from django.db import IntegrityError, OperationalError

from infrastructure.outages import OutageFilter, Outages, is_fault


class Lines(logging.Handler):
    """Keeps what passes its filters, as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def heard(request):
    """(logger, its lines) behind the filter of an installation whose outages end after 0.3 s."""
    log, lines = logging.getLogger(f"outages.{request.node.name}"), Lines()
    lines.addFilter(OutageFilter(Outages(quiet_s=0.3)))
    log.addHandler(lines)
    yield log, lines.lines
    log.removeHandler(lines)


def fail(log: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except type(error):
        log.exception("Database gave error: %r", error)


def test_sixty_tracebacks_are_one_line_and_a_summary(heard) -> None:
    log, lines = heard
    for _ in range(60):
        fail(log, OperationalError(2002, "Can't connect"))
    assert len(lines) == 1
    assert "Can't connect" in lines[0]
    assert "Traceback" not in lines[0]
    deadline = time.monotonic() + 10
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "again 59 times" in lines[1]


def test_an_error_in_the_arguments_counts_as_well(heard) -> None:
    log, lines = heard
    for wait_s in (2, 4, 6):
        log.error("Cannot connect: %s.\n%s", ConnectionRefusedError(111, "refused"), wait_s)
    assert lines == ["Cannot connect: [Errno 111] refused."]


def test_other_errors_are_told_every_time_and_in_full(heard) -> None:
    log, lines = heard
    for _ in range(3):
        fail(log, IntegrityError(1062, "Duplicate entry"))
    log.warning("Job %s will be tried again", "7")
    assert len(lines) == 4
    assert all("Traceback" in line for line in lines[:3])


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OperationalError(), True),
        (ConnectionForced(), True),
        (ConnectionResetError(), True),
        (IntegrityError(), False),
        (KeyError(), False),
    ],
)
def test_what_counts_as_an_outage(error: Exception, fault: bool) -> None:
    assert is_fault(error) is fault
