"""Calls the API from several threads while everything is killed, and counts what was answered."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from bench.disasters import STORES, Keeper, Outages
from bench.installation import Installation

THREADS = 4
PAUSE_S = 0.25
#: songs_be's own limit.
READ_TIMEOUT_S = 60.0
#: A web process answers so long after its start, on a busy machine.
WEB_STARTS_WITHIN_S = 30.0
#: A store that is back is used again so long after, on a busy machine.
STORE_NOTICED_WITHIN_S = 10.0


class Callers(threading.Thread):
    """Runs the calling threads; what they met is counted by call and status."""

    def __init__(
        self,
        made: Installation,
        keeper: Keeper,
        outages: Outages,
        *,
        members: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__(daemon=True, name="callers")
        self.made, self.keeper, self.outages, self.members = made, keeper, outages, members
        self.seed = seed
        self.stopped = threading.Event()
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.server_errors: list[str] = []
        #: 503 to who wants a promise that no database can keep.
        self.no_promise = 0
        #: No answer although no web process was killed or frozen.
        self.unanswered: list[str] = []
        self.slowest_s = 0.0
        #: Jobs that were promised with 202.
        self.promised: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._call_on, args=(number,), daemon=True)
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call_on(self, number: int) -> None:
        rng = random.Random(f"{self.seed}-{number}")
        while not self.stopped.wait(PAUSE_S):
            self._call(*self._any_call(rng))

    def _any_call(self, rng: random.Random) -> tuple[str, str, str, dict[str, Any] | None]:
        """(name, method, path, body); six of ten are cached reads."""
        member = str(rng.choice(self.members))
        favorites = rng.sample(range(1, 100), 4)
        calls: list[tuple[str, str, str, dict[str, Any] | None]] = [
            ("cached read", "GET", f"/recommend/cached/{member}", None),
            ("cached read", "POST", "/recommend/cached", {"memberId": member}),
            ("recommend", "POST", "/recommend", {"memberId": member}),
            (
                "favorites/updated",
                "POST",
                "/favorites/updated",
                {"memberId": member, "favorite_song_ids": favorites},
            ),
            ("recommend/jobs", "POST", "/recommend/jobs", {"memberId": member}),
        ]
        return rng.choices(calls, (3, 3, 1.5, 1, 1.5))[0]

    def _call(self, name: str, method: str, path: str, body: dict[str, Any] | None) -> None:
        began = time.monotonic()
        try:
            status, text = call(self.made.web_port, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self._note_silence(name, error, began)
            return
        with self._lock:
            self.counts[name][str(status)] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if status >= 500:
                self._note_server_error(name, status, text, began)
            if status == 202:
                self.promised.append(json.loads(text)["job_id"])

    def _note_server_error(self, name: str, status: int, text: bytes, began: float) -> None:
        took_s = time.monotonic() - began
        away = self.outages.away(STORES, within_s=took_s + STORE_NOTICED_WITHIN_S)
        if (name, status) == ("recommend/jobs", 503) and "mariadb" in away:
            self.no_promise += 1
            return
        self.server_errors.append(
            f"{status} {name} after {took_s:.1f} s (away: {away}): {text[:120]!r}"
        )

    def _note_silence(self, name: str, error: Exception, began: float) -> None:
        """No answer: the web process is dead or frozen, or else that is told."""
        took_s = time.monotonic() - began
        excused = self.outages.away(("web",), within_s=WEB_STARTS_WITHIN_S + took_s)
        starting = self.keeper.up_s("web") < WEB_STARTS_WITHIN_S + took_s
        with self._lock:
            self.counts[name]["no answer"] += 1
            if not (excused or starting):
                self.unanswered.append(f"{name}: {error!r} after {took_s:.1f} s")

    @staticmethod
    def answered(made: Installation) -> bool:
        try:
            return call(made.web_port, "GET", "/health/ready", None)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def figures(self) -> dict[str, dict[str, int]]:
        return {name: dict(sorted(counts.items())) for name, counts in sorted(self.counts.items())}


def call(port: int, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    """Status and body of one call on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READ_TIMEOUT_S)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
