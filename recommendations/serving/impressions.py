"""Counts how often members are shown their answer: in memory, written to the database in batches."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter

from django.db import close_old_connections
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS, guard
from profiles import services as profiles

from ..models import Run, StoredAnswer

log = logging.getLogger(__name__)
FLUSH_EVERY_S = 10.0
#: Limit of members counted between two flushes; further ones are not counted, so that memory stays bounded.
MAX_MEMBERS = 50_000


class _Counts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._reads: Counter[str] = Counter()

    def add(self, member_key: str) -> None:
        """Count that a member was shown the answer in force."""
        if self._pid != os.getpid():
            self._start()
        if len(self._reads) < MAX_MEMBERS or member_key in self._reads:
            self._reads[member_key] += 1

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid, self._reads = os.getpid(), Counter()
            threading.Thread(target=self._run, name="impressions", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_EVERY_S)
            try:
                self.flush()
            except DATABASE_FAULTS as error:
                log.warning("Impressions wait for the database: %s", type(error).__name__)
            finally:
                close_old_connections()

    def reset(self) -> None:
        """Drop counts that are not yet written (tests)."""
        self._reads = Counter()

    def flush(self) -> int:
        """Write the counts; returns the number of members. They are kept when the database is down."""
        counted, self._reads = self._reads, Counter()
        if not counted:
            return 0
        try:
            with guard():
                record(counted)
        except DATABASE_FAULTS:
            self._reads.update(counted)
            raise
        return len(counted)


def record(reads: Counter[str]) -> None:
    """Turn "the member was shown the answer n times" into impressions of its songs."""
    answers = StoredAnswer.objects.filter(pk__in=list(reads)).values_list("pk", "run_uuid")
    run_of = dict(answers)
    runs = Run.objects.filter(pk__in=run_of.values()).only("uuid", "groups", "snapshot", "count")
    shown = {run.uuid: run for run in runs}
    profiles.record_impressions(
        [
            profiles.ShownAnswer(
                member_key=member_key,
                run_uuid=run_uuid,
                places=places_of(shown[run_uuid]),
                times=reads[member_key],
            )
            for member_key, run_uuid in run_of.items()
            if run_uuid in shown
        ],
        now=timezone.now(),
    )


def places_of(run: Run) -> list[tuple[int, str, int]]:
    """(song id, list, place from 1): every song once, at its first place; groups before quick picks."""
    places: dict[int, tuple[int, str, int]] = {}
    lists = [(group["label"], group["song_ids"]) for group in run.groups or []]
    lists.append(("candidates", (run.snapshot or {}).get("final", [])[: run.count]))
    for label, song_ids in lists:
        for place, song_id in enumerate(song_ids, 1):
            places.setdefault(song_id, (song_id, label, place))
    return list(places.values())


_counts = _Counts()
count_shown = _counts.add
flush = _counts.flush
reset = _counts.reset
