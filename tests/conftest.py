"""Fixtures for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog import queries, snapshot
from profiles import services as profiles


@pytest.fixture(autouse=True)
def _process_forgets() -> Iterator[None]:
    """What a process remembers (catalog, favourites, a database that failed) belongs to one test."""
    yield
    snapshot.forget()
    queries.guard.wake()
    profiles.forget()
