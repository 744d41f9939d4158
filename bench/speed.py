"""Measures what members wait for, beside references of the same run: `make bench`, or `python bench/speed.py --quick`.

Starts MariaDB, Redis and our server on free loopback ports, seeds a catalog of the backend's shape, and prints
each figure beside the bare Redis GET of the same bytes, a static answer of the same size from the same server, and a
stand-in for the service this one replaces (bench/stand_in.py), all in turn. Load comes from wrk where it is installed, else from
aiohttp. Machines are noisy: read the ratios. Results go to bench/results/speed.json; a ratio that fell by 30 % against
bench/baseline.json ends the run with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.engine_scale import likes, songs
from bench.installation import Installation, free_port, listens, wait_until
from bench.machine import REFERENCE_PROBE_MS, probe_ms, rests

ROOT = Path(__file__).resolve().parents[1]
RESULTS, BASELINE = ROOT / "bench" / "results", ROOT / "bench" / "baseline.json"
#: What the replaced service was measured at, with 2 000, 20 000 and 100 000 songs; the stand-in must come near.
OLD_COLD_S = {2_000: 0.27, 20_000: 1.2, 100_000: 5.3}
OLD_CACHED_PER_S = (637, 804)
BAND = 0.3
#: A ratio may be worse by so much before the bench says so.
REGRESSION = 0.3
LIKES_PER_MEMBER = 20


def say(text: str) -> None:
    print(text, flush=True)


# --- The world ------------------------------------------------------------------------------------
@contextmanager
def world(n_songs: int) -> Iterator[Installation]:
    """MariaDB and Redis of our own with a shared database of the backend's shape."""
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-bench-"))
    made = Installation(folder, CATALOG_OWNED="0", RABBITMQ_URL="", SONGS_AI_CONSUME_QUEUE="0")
    try:
        made.start_mariadb()
        made.start_redis()
        wait_until(lambda: listens(made.mysql_port), "MariaDB")
        seed(made, n_songs)
        made.manage("migrate", "-v", "0")
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def seed(made: Installation, n_songs: int) -> None:
    """Songs with lyrics, members and likes, as tools for the shared database make them."""
    rng = np.random.default_rng(7)
    members, liked, at_s = likes(n_songs, min(1_000_000, 10 * n_songs), rng)
    lyric = "君の声が夜の底で光になって揺れている忘れないでここにいる" * 20
    with made.mysql(database=None) as cursor:
        cursor.execute("CREATE DATABASE songs CHARACTER SET utf8mb4")
        cursor.execute("USE songs")
        for statement in (ROOT / "bench/shared_schema.sql").read_text("utf-8").split(";"):
            if "CREATE TABLE" in statement:  # the file also holds a few rows
                cursor.execute(statement)
        cursor.execute("SET foreign_key_checks=0, unique_checks=0, autocommit=0")
        _insert(
            cursor,
            "INSERT INTO song (song_id, title_jp, title_kr, title_en, title_yomi, artist, artist_kr, genre, mood, lang,"
            " tj_number, ky_number, created_at, lyrics_original, lyrics_kr, lyrics_yomi) VALUES",
            (
                (s.song_id, s.title_jp, s.title_kr, s.title_en, s.title_yomi, s.artist, s.artist_kr, s.genre,
                 s.mood, s.lang, s.tj_number, s.ky_number, s.created_at.strftime("%F %T") if s.created_at else None,
                 lyric, lyric, lyric)
                for s in songs(n_songs, rng)
            ),
        )  # fmt: skip
        ids = np.unique(members).tolist()
        _insert(
            cursor,
            "INSERT INTO member (member_id, email, password) VALUES",
            ((m, f"m{m}@example.invalid", "x") for m in ids),
        )
        _insert(
            cursor, "INSERT INTO member_role_list (id, role) VALUES", ((m, "USER") for m in ids)
        )
        dates = (time.strftime("%F %T", time.gmtime(at)) for at in at_s.tolist())
        rows = zip(members.tolist(), liked.tolist(), dates, strict=True)
        _insert(cursor, "INSERT INTO song_like (member_id, song_id, created_at) VALUES", rows)
        cursor.execute("COMMIT")


def _insert(cursor: Any, head: str, rows: Iterator[tuple[Any, ...]] | Any) -> None:
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == 1_000:
            _flush(cursor, head, batch)
            batch = []
    if batch:
        _flush(cursor, head, batch)


def _flush(cursor: Any, head: str, batch: list[tuple[Any, ...]]) -> None:
    marks = "(" + ",".join(["%s"] * len(batch[0])) + ")"
    cursor.executemany(f"{head} {marks}", batch)


def serve(made: Installation, name: str, target: str, *, workers: int = 1, **settings: str) -> int:
    """Our server's command line with one worker, on a free port; returns the port."""
    port = free_port()
    interface = ("rsgi",) if ".rsgi:" in target else ("wsgi", "--blocking-threads", "64")
    made.start(
        name,
        *(sys.executable, "-m", "granian", target, "--interface", *interface),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--no-ws"),
        **settings,
    )
    wait_until(lambda: listens(port), name)
    return port


def serve_stand_in(made: Installation) -> int:
    port = free_port()
    made.start(
        "stand-in",
        *(sys.executable, "-m", "uvicorn", "bench.stand_in:app", "--port", str(port)),
        *("--log-level", "warning"),
        MYSQL_PORT=str(made.mysql_port),
        MYSQL_DATABASE="songs",
    )
    wait_until(lambda: listens(port), "the stand-in")
    return port


# --- Load -----------------------------------------------------------------------------------------
def load(
    url: str,
    *,
    body: str = "",
    headers: dict[str, str] | None = None,
    connections: int,
    seconds: float,
    lua: str = "",
) -> dict[str, float]:
    """Requests a second and p50/p99 in ms of one closed loop; lua: wrk's script, when bodies differ."""
    if lua or shutil.which("wrk"):
        return _with_wrk(url, body, headers or {}, connections, seconds, lua)
    return asyncio.run(_with_aiohttp(url, body, headers or {}, connections, seconds))


def _with_wrk(
    url: str,
    body: str,
    headers: dict[str, str],
    connections: int,
    seconds: float,
    lua: str,
) -> dict[str, float]:
    lines = [f'wrk.headers["{name}"] = {json.dumps(value)}' for name, value in headers.items()]
    if body:
        lines += [
            'wrk.method = "POST"',
            f"wrk.body = {json.dumps(body)}",
            'wrk.headers["Content-Type"] = "application/json"',
        ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join((*lines, lua)))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "--latency",
            "-s",
            script.name,
            url,
        ]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    at = {p: _ms(re.search(rf"^\s+{p}%\s+(\S+)", text, re.M)[1]) for p in (50, 99)}  # type: ignore[index]
    return {"per_s": rate, "p50_ms": at[50], "p99_ms": at[99]}


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1_000, "m": 60_000}[unit]


async def _with_aiohttp(
    url: str, body: str, headers: dict[str, str], connections: int, seconds: float
) -> dict[str, float]:
    times: list[float] = []
    until = time.perf_counter() + seconds
    headers = headers | ({"Content-Type": "application/json"} if body else {})

    async def one(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            method = session.post if body else session.get
            async with method(url, data=body or None, headers=headers) as response:
                await response.read()
            times.append((time.perf_counter() - began) * 1000)

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        await asyncio.gather(*(one(session) for _ in range(connections)))
    p50, p99 = np.percentile(times, [50, 99])
    return {"per_s": len(times) / seconds, "p50_ms": float(p50), "p99_ms": float(p99)}


def bare_redis(made: Installation, *, connections: int, seconds: float) -> dict[str, float]:
    """GET of the same bytes by redis-benchmark, one client thread."""
    count = str(int(4_000 * seconds))
    command = ["redis-benchmark", "-p", str(made.redis_port), "-c", str(connections), "-n", count, "--csv",
               "GET", "recommend:1"]  # fmt: skip
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
        -1
    ]
    values = [value.strip('"') for value in line.split('","')]
    return {"per_s": float(values[1]), "p50_ms": float(values[4]), "p99_ms": float(values[6])}


def post(port: int, path: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: bytes = response.read()
        return answer


# --- What is measured -----------------------------------------------------------------------------
Case = Callable[[int], dict[str, float]]


def in_turn(cases: dict[str, Case], connections: int, repeats: int) -> dict[str, dict[str, float]]:
    """Medians over repeats by case, with the spread of the rate. Cases take turns: noise hits all of them."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, measure in cases.items():
            runs[name].append(measure(connections))
    return {name: _summed_up(found) for name, found in runs.items()}


def _summed_up(runs: list[dict[str, float]]) -> dict[str, float]:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    rates = [run["per_s"] for run in runs]
    spread = (max(rates) - min(rates)) / medians["per_s"] if medians["per_s"] else 0
    return medians | {"spread": spread}


def cached_reads(
    made: Installation,
    *,
    seconds: float,
    repeats: int,
    connections: tuple[int, ...],
    other: str | None = None,
) -> dict[str, Any]:
    """Rates and latencies of cached reads by case and connections. other: address of a service to compare with."""
    ours = serve(made, "ours", "songs_ai.rsgi:application")
    no_l1 = serve(made, "ours-l2", "songs_ai.rsgi:application", L1_TTL_S="0")
    post(ours, "/recommend", {"memberId": "1", "count": 100, "strategy": "default"})
    stored = redis.Redis(port=made.redis_port).get("recommend:1")
    assert isinstance(stored, bytes)
    static = serve(made, "static", "bench.static_app:application", STATIC_BYTES=str(len(stored)))
    stand_in = serve_stand_in(made)
    body = '{"memberId": "1"}'
    tag = urllib.request.urlopen(f"http://127.0.0.1:{ours}/recommend/cached/1").headers["ETag"]
    cases: dict[str, Case] = {
        "bare Redis GET": lambda c: bare_redis(made, connections=c, seconds=seconds),
        "static answer": lambda c: load(
            f"http://127.0.0.1:{static}/", body=body, connections=c, seconds=seconds
        ),
        "stand-in": lambda c: load(
            f"http://127.0.0.1:{stand_in}/recommend/cached",
            body=body,
            connections=c,
            seconds=seconds,
        ),
        "ours, L1 hit": lambda c: load(
            f"http://127.0.0.1:{ours}/recommend/cached", body=body, connections=c, seconds=seconds
        ),
        "ours, L2 hit": lambda c: load(
            f"http://127.0.0.1:{no_l1}/recommend/cached", body=body, connections=c, seconds=seconds
        ),
        "ours, 304": lambda c: load(
            f"http://127.0.0.1:{ours}/recommend/cached/1",
            headers={"If-None-Match": tag},
            connections=c,
            seconds=seconds,
        ),
        "ours, 404": lambda c: load(
            f"http://127.0.0.1:{ours}/recommend/cached",
            body='{"memberId": "999999999"}',
            connections=c,
            seconds=seconds,
        ),
    }
    if other:
        cases[other] = lambda c: load(
            f"{other.rstrip('/')}/recommend/cached", body=body, connections=c, seconds=seconds
        )
    redis.Redis(port=made.redis_port).set("songs_ai:sentinel", "bench")
    say(
        f"\nCached reads, {len(stored) / 1000:.1f} KB, one worker process each (per second / p99 ms)"
    )
    found: dict[str, Any] = {"bytes": len(stored)}
    slowness = statistics.median(probe_ms()) / REFERENCE_PROBE_MS
    for measure in cases.values():
        measure(8)  # warm
    measured = {c: in_turn(cases, c, repeats) for c in connections}
    for name in cases:
        found[name] = {c: measured[c][name] for c in connections}
        line = "   ".join(
            f"{c:>3}: {v['per_s']:>8,.0f} / {v['p99_ms']:6.1f} (±{v['spread'] / 2:.0%})"
            for c, v in found[name].items()
        )
        say(f"  {name:<16} {line}")
    per_s = found["stand-in"][max(connections)]["per_s"]
    low, high = (limit / slowness for limit in OLD_CACHED_PER_S)
    found["valid"] = low * (1 - BAND) <= per_s <= high * (1 + BAND)
    if not found["valid"]:
        say(
            f"  (ratios to the stand-in invalid: {per_s:.0f} a second where {low:.0f} to {high:.0f} were expected)"
        )
    for name in ("ours", "ours-l2", "static", "stand-in"):
        made.processes[name].stop(10)
    return found


def near(measured: float, expected: float) -> bool:
    """Whether the stand-in is within BAND of the replaced service."""
    return abs(measured / expected - 1) <= BAND


def cold(made: Installation, n_songs: int, *, members: int, slowness: float) -> dict[str, Any]:
    """Seconds of one recommendation nobody asked for before, ours without the model and the stand-in's."""
    ours = serve(made, "ours-cold", "songs_ai.rsgi:application")
    stand_in = serve_stand_in(made)
    first = time.perf_counter()
    post(ours, "/recommend", {"memberId": "1", "strategy": "fast"})
    first_s = time.perf_counter() - first
    wait_until(
        lambda: rests(made.processes["ours-cold"].pid), "what a start loads behind its first answer"
    )
    favorites = [
        [n * 13 % n_songs + 1 for n in range(m, m + LIKES_PER_MEMBER)] for m in range(members + 3)
    ]
    times = []
    for number, ids in enumerate(favorites):
        began = time.perf_counter()
        post(
            ours,
            "/recommend",
            {"memberId": str(10 + number), "favorite_song_ids": ids, "strategy": "fast"},
        )
        times.append(time.perf_counter() - began)
    theirs = []
    for ids in favorites[:3]:
        began = time.perf_counter()
        post(stand_in, "/recommend", {"memberId": "1", "favorite_song_ids": ids})
        theirs.append(time.perf_counter() - began)
    rss = _rss_mib(made, "ours-cold")
    for name in ("ours-cold", "stand-in"):
        made.processes[name].stop(10)
    warm = times[3:]
    figures: dict[str, Any] = {"ours_s": statistics.median(warm), "ours_p99_s": float(np.percentile(warm, 99)),
               "stand_in_s": statistics.median(theirs), "first_s": first_s, "rss_mib": rss}  # fmt: skip
    figures["ratio"] = figures["stand_in_s"] / figures["ours_s"]
    figures["parts_ms"] = parts_ms(made, members)
    figures["valid"] = near(figures["stand_in_s"], OLD_COLD_S[n_songs] * slowness)
    say(f"  {n_songs:>7,} songs: ours {figures['ours_s'] * 1000:6.1f} ms (p99 {figures['ours_p99_s'] * 1000:.1f}), "
        f"stand-in {figures['stand_in_s'] * 1000:7.0f} ms: {figures['ratio']:5.0f}×"
        f"{'' if figures['valid'] else '  (ratio invalid: the stand-in is not within 30 % of the old service)'}; "
        f"first answer {first_s:.1f} s, process {rss:.0f} MiB")  # fmt: skip
    say(
        "          "
        + ", ".join(f"{part} {ms:.1f}" for part, ms in figures["parts_ms"].items())
        + " ms"
    )
    return figures


def parts_ms(made: Installation, runs: int) -> dict[str, float]:
    """Median milliseconds by part of the latest runs, as their trace keeps them."""
    with made.mysql() as cursor:
        cursor.execute(
            "SELECT timings FROM recommendations_run ORDER BY created_at DESC LIMIT %s", (runs,)
        )
        timings = [json.loads(kept) for (kept,) in cursor.fetchall()]
    names = dict.fromkeys(name for kept in timings for name in kept)
    return {name: statistics.median(kept.get(name, 0.0) for kept in timings) for name in names}


def _rss_mib(made: Installation, name: str) -> float:
    """Memory of the largest process of a server (its worker)."""
    pid = str(made.processes[name].pid)
    listing = subprocess.run(["ps", "-o", "rss=", "--pid", pid, "--ppid", pid],
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    return max(int(kib) for kib in listing.split()) / 1024


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """The figures that must not get worse, higher is better."""
    made: dict[str, float] = {}
    if cached := found.get("cached"):
        most = max(cached["ours, L1 hit"], key=int)
        ours, theirs = cached["ours, L1 hit"][most], cached["stand-in"][most]
        made["cached: rate over stand-in"] = ours["per_s"] / theirs["per_s"]
        made["cached: rate over static"] = ours["per_s"] / cached["static answer"][most]["per_s"]
        made["cached: stand-in p99 over ours"] = theirs["p99_ms"] / ours["p99_ms"]
    for n_songs, figures in found.get("cold", {}).items():
        made[f"cold, {n_songs} songs: over stand-in"] = figures["ratio"]
    return made


def compared(made: dict[str, float]) -> list[str]:
    """Ratios that fell by more than REGRESSION against the kept baseline."""
    if not BASELINE.exists():
        return []
    kept = json.loads(BASELINE.read_text("utf-8"))
    return [
        f"{name}: {value:.2f}, was {kept[name]:.2f}"
        for name, value in made.items()
        if name in kept and value < kept[name] * (1 - REGRESSION)
    ]


def keep(made: dict[str, float]) -> None:
    """Make these ratios the baseline; those of the other benchmark stay."""
    kept = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else {}
    BASELINE.write_text(json.dumps(kept | made, indent=1) + "\n", "utf-8")


def judged(made: dict[str, float], *, as_baseline: bool) -> int:
    """Print the ratios; 1 when one of them got worse than the baseline allows, else 0."""
    say("\nRatios")
    for name, value in made.items():
        say(f"  {name:<40} {value:8.2f}")
    if as_baseline:
        keep(made)
    worse = compared(made)
    for line in worse:
        say(f"WORSE by more than {REGRESSION:.0%}: {line}")
    return 1 if worse else 0


def answers(url: str) -> bool:
    """Whether a service has a cached answer for the member that is asked for, and says what it is."""
    request = urllib.request.Request(
        f"{url.rstrip('/')}/recommend/cached",
        b'{"memberId": "1"}',
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            say(f"{url} answers member 1 with {len(response.read()) / 1000:.1f} KB")
            return True
    except OSError as error:
        say(f"{url} has no cached answer for member 1: {error}")
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--quick", action="store_true", help="2 000 songs, short rounds: under two minutes"
    )
    parser.add_argument(
        "--against",
        metavar="URL",
        help="measure cached reads of another service with the same API in turn with ours (member 1)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep this run's ratios as the baseline"
    )
    parser.add_argument(
        "--only",
        choices=("cached", "cold"),
        help="measure one half; the other keeps its last figures",
    )
    options = parser.parse_args()
    if options.against and not answers(options.against):
        return 2
    sizes = (2_000,) if options.quick or options.only == "cached" else tuple(OLD_COLD_S)
    seconds, repeats = (2.0, 3) if options.quick else (4.0, 5)
    connections = (1, 64) if options.quick else (1, 8, 64)
    noise = probe_ms()
    say(
        f"Machine: fixed work {statistics.median(noise):.1f} ms, spread {(max(noise) - min(noise)) / statistics.median(noise):.0%}"
    )
    driver = "mysqlclient" if find_spec("MySQLdb") else "PyMySQL"
    say(f"MySQL driver: {driver}")
    found: dict[str, Any] = {"machine_ms": statistics.median(noise), "driver": driver, "cold": {}}
    for n_songs in sizes:
        say(f"\nSeeding {n_songs:,} songs …")
        with world(n_songs) as made:
            if n_songs == sizes[0] and options.only != "cold":
                found["cached"] = cached_reads(
                    made,
                    seconds=seconds,
                    repeats=repeats,
                    connections=connections,
                    other=options.against,
                )
            if options.only == "cached":
                continue
            # Probed right before: the machine's mood changes within minutes.
            slowness = statistics.median(probe_ms()) / REFERENCE_PROBE_MS
            found["cold"][n_songs] = cold(
                made, n_songs, members=10 if options.quick else 40, slowness=slowness
            )
    if options.only:
        found = json.loads((RESULTS / "speed.json").read_text("utf-8")) | {
            name: value for name, value in found.items() if value
        }
    found["ratios"] = ratios(found)
    if not (options.quick or options.against):  # those are looks, not the record
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed.json").write_text(json.dumps(found, indent=1), "utf-8")
    if options.against:
        most = max(connections)
        ours, other = (found["cached"][name][most] for name in ("ours, L1 hit", options.against))
        say(f"\nOurs over {options.against}: rate {ours['per_s'] / other['per_s']:.1f}×, "
            f"p99 {other['p99_ms'] / ours['p99_ms']:.1f}× better at {most} connections")  # fmt: skip
    return judged(found["ratios"], as_baseline=options.keep)


if __name__ == "__main__":
    sys.exit(main())
