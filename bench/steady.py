"""Whether a web process stays flat over many varied requests: `python bench/steady.py --requests 20000`.

Servers of its own, the demo's catalog and members, one web process on default settings. Cached reads, cold answers for
ever new users, changes of favourites, feedback, searches, explanations and bodies that can't be read follow each other
at random. Memory (RSS), open descriptors and connections to MariaDB and Redis are noted at ten points.

The first half warms caches up to their bounds; it fails when the last point holds more than 10 % over the middle one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import LOOPBACK, Installation

RESULT = Path(__file__).resolve().parent / "results" / "steady.json"
POINTS = 10
CALLERS = 8
TOLERANCE = 1.10
#: Of a hundred requests: most are cached reads, as in production.
MIX = (
    *(("cached", 60), ("missing", 6), ("favorites", 3), ("recommend", 4), ("new user", 2)),
    *(("feedback", 8), ("search", 10), ("broken", 7)),
)


def event(rng: random.Random, member: str) -> dict[str, Any]:
    song_id, kind = rng.randint(1, 600), rng.choice(("play", "skip", "sang"))
    return {
        "event_id": f"{rng.getrandbits(60)}",
        "memberId": member,
        "song_id": song_id,
        "type": kind,
    }


def request(rng: random.Random, members: list[int]) -> tuple[str, str, bytes]:
    """One request: method, path, body."""
    member = str(rng.choice(members))
    kind = rng.choices([name for name, _ in MIX], [weight for _, weight in MIX])[0]
    bodies: dict[str, tuple[str, Any]] = {
        "cached": ("/recommend/cached", {"memberId": member}),
        "missing": ("/recommend/cached", {"memberId": f"nobody-{rng.random()}"}),
        "recommend": ("/recommend", {"memberId": member, "context": {"mood": "잔잔"}}),
        "new user": ("/recommend", {"user_id": f"u{rng.getrandbits(60)}", "count": 10}),
        "favorites": (
            "/favorites/updated",
            {"user_id": f"f{rng.randint(1, 50)}", "favorite_song_ids": [rng.randint(1, 600)]},
        ),
        "feedback": ("/feedback", {"events": [event(rng, member)]}),
    }
    if kind == "search":
        return "GET", f"/songs/search?q={rng.choice(('lemon', 'yoasobi', 'aimyon', 'xyz'))}", b""
    if kind == "broken":
        return "POST", "/recommend", rng.randbytes(rng.randint(1, 400))
    path, body = bodies[kind]
    return "POST", path, json.dumps(body).encode()


def call_many(port: int, requests: list[tuple[str, str, bytes]]) -> dict[int, int]:
    """Send them one after another over one connection; counts by status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    counts: dict[int, int] = {}
    for method, path, body in requests:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        counts[answer.status] = counts.get(answer.status, 0) + 1
    connection.close()
    return counts


def point(made: Installation, server: psutil.Process) -> dict[str, float]:
    """What the granian worker holds, and who is connected."""
    worker = max(server.children(recursive=True), key=lambda child: child.memory_info().rss)
    connected = len(made.rows("SHOW PROCESSLIST"))
    clients = int(made.redis.info("clients")["connected_clients"])
    return {
        "rss_mib": round(worker.memory_info().rss / 2**20, 1),
        "descriptors": worker.num_fds(),
        "mariadb_connections": connected,
        "redis_connections": clients,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, points, statuses = random.Random(options.seed), [], {}
    with tempfile.TemporaryDirectory(prefix="songs-ai-steady-") as folder:
        made = Installation(Path(folder))
        try:
            made.start_servers()
            made.manage("prepare")
            members = [row[0] for row in made.rows("SELECT member_id FROM member LIMIT 60")]
            server = psutil.Process(made.start_web(workers=1).pid)
            warm = [
                ("POST", "/recommend", json.dumps({"memberId": str(member)}).encode())
                for member in members
            ]
            call_many(made.web_port, warm)
            for number in range(1, POINTS + 1):
                each = options.requests // POINTS // CALLERS
                batches = [[request(rng, members) for _ in range(each)] for _ in range(CALLERS)]
                with ThreadPoolExecutor(CALLERS) as pool:
                    for counts in pool.map(lambda batch: call_many(made.web_port, batch), batches):
                        for status, count in counts.items():
                            statuses[status] = statuses.get(status, 0) + count
                points.append({"requests": number * each * CALLERS} | point(made, server))
                print(points[-1], flush=True)
        finally:
            made.stop()
    middle, last = points[POINTS // 2 - 1], points[-1]
    grown = [
        name for name in middle if name != "requests" and last[name] > middle[name] * TOLERANCE
    ]
    RESULT.write_text(
        json.dumps({"points": points, "statuses": statuses, "grown": grown}, indent=1) + "\n"
    )
    print("statuses", dict(sorted(statuses.items())), "grown:", grown or "nothing")
    return 1 if grown or any(status >= 500 for status in statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
