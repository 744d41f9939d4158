"""Brings many members' answers up to date: at 03:00 everybody's, after a change of likes just theirs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from .. import services
from ..models import ScheduleRun
from ..models.runs import Source, Trigger
from ..serving.request import Request
from ..serving.stored_answers import answer_store

log = logging.getLogger(__name__)
#: Members per job: enough to keep the model busy, few enough that a killed worker repeats little.
BATCH = 50
#: Two calls side by side make one answer.
CALLS_PER_MEMBER = 2


@dataclass(kw_only=True)
class Tally:
    """What became of the members of a batch."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return dict(self.counts) | ({"errors": self.errors[:20]} if self.errors else {})


def refreshed(member_keys: Sequence[str]) -> Tally:
    """Refresh members side by side; each is stored on its own, and one member's failure stops nobody.

    Up to MODEL_CALLS_IN_FLIGHT calls to the model run at a time.
    """
    threads = min(settings.MODEL_CALLS_IN_FLIGHT // CALLS_PER_MEMBER, len(member_keys))
    tally = Tally()
    for member_key, how, error in _side_by_side(member_keys, threads=threads):
        tally.counts[how] += 1
        if error:
            tally.errors.append(f"{member_key}: {error}")
    return tally


def _side_by_side(member_keys: Sequence[str], *, threads: int) -> Iterator[tuple[str, str, str]]:
    if threads <= 1:
        yield from map(_refresh_safely, member_keys)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(_refresh_in_thread, member_keys)


def _refresh_in_thread(member_key: str) -> tuple[str, str, str]:
    try:
        return _refresh_safely(member_key)
    finally:
        connections.close_all()  # the thread is the batch's, its connections would outlive it


def _refresh_safely(member_key: str) -> tuple[str, str, str]:
    """(member, how it went, error); the boundary of one member's work within a batch."""
    try:
        return member_key, refresh(member_key), ""
    except Exception as error:
        log.exception("A member's refresh failed")
        return member_key, "failed", type(error).__name__


def refresh(member_key: str, *, anew: bool = False) -> str:
    """Bring one member's answer up to date: "model", "local" or, when it still held, "renewed".

    Unchanged members cost no call to the model: their answer gets its full life again, and is made
    anew locally when the engine or the catalog changed. anew: ask the model whatever is stored.
    """
    request = Request(member_key=member_key, trigger=Trigger.SCHEDULE, refresh=anew)
    answer = services.recommend(request)
    if answer.source != Source.CACHE:
        return str(answer.source)
    answer_store.renew(member_key, now=timezone.now())
    return "renewed"


# --- The run as a whole ---------------------------------------------------------------------------
def planned_upto(run: ScheduleRun | None) -> int:
    """The last member that was handed out, 0 at the beginning."""
    return int(run.summary.get("planned_upto", 0)) if run is not None else 0


def note_planned(run: ScheduleRun | None, *, upto: int) -> None:
    if run is not None:
        run.summary = run.summary | {"planned_upto": upto}
        run.save(update_fields=["summary"])
