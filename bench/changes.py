"""How long a changed catalog takes to show in every process: `python bench/changes.py --songs 100000`.

A MariaDB of its own in the backend's shape, the documented server with two worker processes. A song is added; every
process is asked for songs like it until all know it. At once another one is added, which falls into the build of
the whole catalog behind the first.
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

from bench.installation import Installation, wait_until
from bench.speed import RESULTS, post, say, world

#: Answers in a row that know the song: with two processes taking turns, both do.
IN_A_ROW = 12
#: The whole is built twice behind two changes.
PAUSE_S = 90


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


def shown_after_s(made: Installation, song_id: int) -> float:
    """Add a song; seconds until every process knows it."""
    add_song(made, song_id)
    began = time.monotonic()
    wait_until(
        lambda: all(knows(made.web_port, song_id) for _ in range(IN_A_ROW)),
        "the new song",
        seconds=180,
    )
    return round(time.monotonic() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=3)
    options = parser.parse_args()
    say(f"Seeding {options.songs:,} songs …")
    alone, in_build = [], []
    with world(options.songs) as made:
        made.start_web(workers=2)
        post(made.web_port, "/recommend", {"memberId": "1", "strategy": "fast"})
        for number in range(options.changes):
            alone.append(shown_after_s(made, options.songs + 1 + 2 * number))
            in_build.append(shown_after_s(made, options.songs + 2 + 2 * number))
            say(
                f"  a new song shows in both processes after {alone[-1]} s, the next one after {in_build[-1]} s"
            )
            time.sleep(PAUSE_S)
    found = {
        "songs": options.songs,
        "seconds": alone,
        "median_s": statistics.median(alone),
        "in_build_seconds": in_build,
        "in_build_median_s": statistics.median(in_build),
    }
    (RESULTS / "changes.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
