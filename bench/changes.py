"""How long a changed catalog takes to show in every process: `python bench/changes.py --songs 100000`.

A MariaDB of its own in the backend's shape, the documented server with two worker processes. A song is added; every
process is asked for songs like it until all know it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.speed import RESULTS, post, say, world
from tests.services.installation import Installation, wait_until

#: Answers in a row that know the song: with two processes taking turns, both do.
IN_A_ROW = 12


def knows(port: int, song_id: int) -> bool:
    address = f"http://127.0.0.1:{port}/songs/{song_id}/similar"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def add_song(made: Installation, song_id: int) -> None:
    with made.mysql() as cursor:
        cursor.execute(
            "INSERT INTO song (song_id, title_jp, title_kr, artist, genre, mood, created_at)"
            " VALUES (%s, '新しい歌', '새로운 노래', '新人', '록', '에너지', NOW())",
            (song_id,),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=3)
    options = parser.parse_args()
    say(f"Seeding {options.songs:,} songs …")
    took = []
    with world(options.songs) as made:
        made.start_web(workers=2)
        post(made.web_port, "/recommend", {"memberId": "1", "strategy": "fast"})
        for number in range(options.changes):
            song_id = options.songs + 1 + number
            add_song(made, song_id)
            began = time.monotonic()
            wait_until(
                lambda: all(knows(made.web_port, song_id) for _ in range(IN_A_ROW)),  # noqa: B023
                "the new song",
                seconds=120,
            )
            took.append(round(time.monotonic() - began, 1))
            say(f"  a new song shows in both processes after {took[-1]} s")
            time.sleep(30)  # the whole is built behind it
    found = {"songs": options.songs, "seconds": took, "median_s": statistics.median(took)}
    (RESULTS / "changes.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
