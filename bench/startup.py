"""How long a web process takes to its first answers, what it imports and what it holds: `python bench/startup.py`.

With 2 000 and 100 000 songs in a MariaDB of its own. The first start of a host reads the database and builds the snapshot;
later ones map it. Results go to bench/results/startup.json (several minutes); `--songs 2000` measures one size anew.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import Installation, wait_until
from bench.machine import memory_mib, probe_ms, stop_on_sigterm
from bench.speed import RESULTS, ROOT, post, say, world

SONGS = (2_000, 100_000)
#: Later starts of a host, of which the median is told.
STARTS = 3
#: Enough answers for every process to have given some.
ANSWERS = 60
NOBODY = 999_999_999
IMPORTS = 5
HEAVIEST = 8
_IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| (\s*)(\S+)")


# --- To the first answers -------------------------------------------------------------------------
def first_answers(made: Installation, member: int) -> dict[str, float]:
    """Seconds from the start of the server to a cached read and to a member's recommendation, asked for in turn."""
    began = time.perf_counter()
    made.start_web(workers=1)
    wait_until(lambda: answers_cached_reads(made.web_port), "a cached read", every_s=0.02)
    cached_s = time.perf_counter() - began
    post(made.web_port, "/recommend", {"memberId": str(member), "strategy": "fast"})
    recommended_s = time.perf_counter() - began
    made.processes["web"].stop(10)
    return {"cached_s": round(cached_s, 2), "recommended_s": round(recommended_s, 2)}


def answers_cached_reads(port: int) -> bool:
    """A member nobody recommended anything to: a 404 of ours."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/recommend/cached/{NOBODY}", timeout=10)
    except urllib.error.HTTPError as error:
        return error.code == 404
    except OSError:
        return False
    return True


def starts(made: Installation) -> dict[str, dict[str, float]]:
    shutil.rmtree(made.environment["DATA_DIR"], ignore_errors=True)
    first, *later = (first_answers(made, member) for member in range(1, STARTS + 2))
    medians = {name: statistics.median(one[name] for one in later) for name in first}
    return {"first": first, "later": medians}


# --- Memory ---------------------------------------------------------------------------------------
def memory(made: Installation) -> dict[str, Any]:
    """MiB of one worker process after recommendations, and of each of three that share the mapped files."""
    return {"one": held(made, workers=1)[0], "three": held(made, workers=3)}


def held(made: Installation, *, workers: int) -> list[dict[str, float]]:
    """Memory of each worker process after it recommended."""
    web = made.start_web(workers=workers)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: recommended(made.web_port, n), range(ANSWERS)))
    # The workers are the largest: the server also keeps a process that watches over them.
    children = [memory_mib(child.pid) for child in psutil.Process(web.pid).children(recursive=True)]
    web.stop(10)
    return sorted(children, key=lambda one: -one["rss"])[:workers]


def recommended(port: int, number: int) -> None:
    liked = list(range(number + 1, number + 20))
    body = {"memberId": str(1_000_000 + number), "favorite_song_ids": liked, "strategy": "fast"}
    post(port, "/recommend", body)


# --- Imports --------------------------------------------------------------------------------------
def imports(made: Installation) -> dict[str, Any]:
    """Seconds to import songs_ai.rsgi, and the packages that take most of them themselves."""
    runs = [imported(made) for _ in range(IMPORTS)]
    middle = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    heaviest = {name: round(us / 1e6, 3) for name, us in middle[1].most_common(HEAVIEST)}
    return {"seconds": round(middle[0], 2), "modules": middle[2], "heaviest_s": heaviest}


def imported(made: Installation) -> tuple[float, Counter[str], int]:
    """Seconds in all, microseconds by package, number of modules."""
    # Without the threads that load the rest behind: what they import would be counted here and there.
    code = "import threading; threading.Thread.start = lambda thread: None; import songs_ai.rsgi"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=ROOT,
        env=made.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    packages: Counter[str] = Counter()
    lines = [found for found in map(_IMPORT_LINE.match, done.stderr.splitlines()) if found]
    for line in lines:
        packages[line[4].partition(".")[0]] += int(line[1])
    whole = next(int(line[2]) for line in lines if line[4] == "songs_ai.rsgi")
    return whole / 1e6, packages, len(lines)


def measure(n_songs: int) -> dict[str, Any]:
    say(f"\n{n_songs:,} songs: seeding …")
    with world(n_songs) as made:
        found: dict[str, Any] = {"starts": starts(made), "memory_mib": memory(made)}
        found["imports"] = imports(made)
    say(json.dumps(found, indent=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--songs", nargs="+", type=int, default=SONGS)
    options = parser.parse_args()
    stop_on_sigterm()
    path = RESULTS / "startup.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for n_songs in options.songs:
        machine = {"machine_ms": round(statistics.median(probe_ms()), 2)}
        found[str(n_songs)] = machine | measure(n_songs)
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
