"""Brings many members' answers up to date: all of them at 03:00, single ones after their likes changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone

from catalog import queries

from .. import services
from ..models import Job, ScheduleRun
from ..models.runs import Source, Trigger
from ..serving.stored_answers import answer_store
from . import queue
from .kinds import DEFAULT_QUEUE, NIGHTLY_QUEUE, JobKind

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
    """Refresh members side by side; each is stored on its own, and one member's failure does not stop the others.

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
    request = replace(services.member_request(member_key, trigger=Trigger.SCHEDULE), refresh=anew)
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


def fan_out(job: Job) -> dict[str, Any]:
    """Hand out all active members page by page; a planner that died continues after its last page."""
    planned, after = 0, planned_upto(job.schedule_run)
    while members := queries.active_member_ids(after=after, limit=BATCH):
        after = members[-1]
        with transaction.atomic():
            # The run's row first: its jobs lock it for sharing, and a worker that begins one waits for it.
            note_planned(job.schedule_run, upto=after)
            hand_out(job, [str(n) for n in members], queue_name=NIGHTLY_QUEUE)
        planned += len(members)
    return {"planned": planned}


def warm_up(job: Job) -> dict[str, Any]:
    """Hand out the members who used the app last, `limit` of them."""
    found = queries.recently_active_member_ids(int(job.arguments.get("limit", 500)))
    return {"members": hand_out(job, [str(n) for n in found], queue_name=DEFAULT_QUEUE)}


def hand_out(job: Job, member_keys: list[str], *, queue_name: str) -> int:
    """Enqueue the refresh of many members in batches, as parts of the same run of the schedule."""
    for start in range(0, len(member_keys), BATCH):
        batch = member_keys[start : start + BATCH]
        row = {"queue": queue_name, "source": job.source, "schedule_run": job.schedule_run}
        queue.enqueue(JobKind.REFRESH_MEMBERS, row=row, member_keys=batch)
    return len(member_keys)
