"""How cost grows with songs, likes, members and callers: `python bench/growth.py`; exponents are fitted and printed.

Each point is measured in processes of its own. Times are CPU seconds, so that other work on the machine hardly counts;
what callers wait for is by the clock. The full run takes half an hour and more, is no part of `make bench`, and writes
bench/results/growth.json after every curve. `--quick` takes small sizes and a few minutes and writes nothing; `--only songs ease` measures
some curves anew, `--only songs --sizes 200000` some points of one.

songs, likes   the engine alone (bench/engine_scale.py): snapshot, one training without tuning, recommendations, searches
ease           EASE alone, below and beyond EASE_MAX_ITEMS, where it stops growing
members        the nightly batch with one nightly worker of two processes and a fake model that answers at once
callers        closed loops of callers nobody asked for before, at the documented server, strategy `fast`
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import linregress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import jobs
from bench.engine_scale import likes, measured, spent
from bench.machine import apart, cpu_s, peak_mib, stop_on_sigterm
from bench.speed import LIKES_PER_MEMBER, RESULTS, post, say, world
from engine.training import fitting
from engine.training.model import TrainSettings

#: Sizes of the full and of the quick run.
SIZES: dict[str, tuple[Sequence[int], Sequence[int]]] = {
    "songs": ((2_000, 6_000, 20_000, 60_000, 200_000), (1_000, 2_000, 4_000)),
    "likes": ((10_000, 100_000, 1_000_000, 10_000_000), (5_000, 10_000, 20_000)),
    "ease": ((2_500, 5_000, 10_000, 20_000, 40_000, 80_000), (500, 1_000, 2_000, 4_000)),
    "members": ((100, 300, 1_000), (20, 60)),
    "callers": ((1, 2, 4, 8, 16, 32, 64), (1, 8, 64)),
}
#: What stays the same while the other grows.
LIKES_BESIDE, SONGS_BESIDE = (200_000, 10_000), (20_000, 2_000)
EASE_LIMIT = (TrainSettings().ease_max_songs, 1_000)
QUERIES = (150, 30)
SONGS_OF_SERVER = 2_000
CALLS = (192, 64)
#: Tuning asks small and large catalogs as many questions, whatever the size; without it the fits themselves show.
_ONE_FIT = TrainSettings(tune=False)

Point = dict[str, float]
Curve = Callable[[Sequence[int], bool], Iterator[Point]]


def fitted(sizes: Sequence[float], costs: Sequence[float]) -> dict[str, float]:
    """cost ≈ a · size^exponent by least squares over logarithms; `last`: the exponent of the last step alone."""
    x, y = np.log(sizes), np.log(np.maximum(costs, 1e-6))
    line = linregress(x, y)
    return {
        "exponent": round(float(line.slope), 2),
        # A cost that is always the same has neither: nothing is left to explain.
        "stderr": round(float(np.nan_to_num(line.stderr)), 2),
        "r2": round(float(np.nan_to_num(line.rvalue)) ** 2, 3),
        "last": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 2),
    }


# --- The engine -----------------------------------------------------------------------------------
def over_songs(sizes: Sequence[int], quick: bool) -> Iterator[Point]:
    return ({"size": size} | _engine(size, LIKES_BESIDE[quick], quick) for size in sizes)


def over_likes(sizes: Sequence[int], quick: bool) -> Iterator[Point]:
    return ({"size": size} | _engine(SONGS_BESIDE[quick], size, quick) for size in sizes)


def _engine(n_songs: int, n_likes: int, quick: bool) -> Point:
    found = measured(n_songs, n_likes, settings=_ONE_FIT, count=QUERIES[quick])
    return {
        "snapshot_cpu_s": round(found["catalog_cpu_s"] + found["search_index_cpu_s"], 2),
        "snapshot_peak_mib": found["build_peak_mib"],
        "training_cpu_s": found["train_cpu_s"],
        "training_peak_mib": found["train_peak_mib"],
        "recommend_p50_ms": found["recommend"]["p50_ms"],
        "recommend_p99_ms": found["recommend"]["p99_ms"],
        "search_p50_ms": found["search"]["search"]["p50_ms"],
        "search_p99_ms": found["search"]["search"]["p99_ms"],
        "serving_rss_mib": found["memory_mib"]["rss"],
    }


# --- EASE and its limit ---------------------------------------------------------------------------
def over_ease(sizes: Sequence[int], quick: bool) -> Iterator[Point]:
    return (apart(eased, size, EASE_LIMIT[quick]) for size in sizes)


def eased(n_songs: int, limit: int) -> Point:
    """EASE fitted on a catalog of that size with its limit: CPU seconds, peak memory, songs it covers."""
    members, liked, _at = likes(n_songs, 10 * n_songs, np.random.default_rng(7))
    shape = (int(members.max()), n_songs)
    matrix = csr_matrix((np.ones(len(liked), np.float32), (members - 1, liked - 1)), shape=shape)
    chosen = TrainSettings()
    ease, took_s = spent(
        lambda: fitting.ease(matrix, chosen.ease, max_songs=limit, keep=chosen.ease_neighbours)
    )
    covered = len(np.unique(ease.indices))
    return {"size": n_songs, "cpu_s": took_s, "peak_mib": round(peak_mib()), "covered": covered}


# --- Members of the nightly batch -----------------------------------------------------------------
def over_members(sizes: Sequence[int], quick: bool) -> Iterator[Point]:
    return map(_nightly, sizes)


def _nightly(members: int) -> Point:
    with jobs.with_model(None, delay_s=0.0, tokens_per_s=100_000) as made:
        jobs.populate(made, members)
        planner = made.start_worker("worker", "songs_ai.default", processes=1)
        worker = made.start_worker("nightly", "songs_ai.nightly")
        time.sleep(8)  # until they take work
        before = cpu_s(planner.pid) + cpu_s(worker.pid)
        run = jobs.run_nightly(made)
        used = cpu_s(planner.pid) + cpu_s(worker.pid) - before
    return {"size": members, "seconds": run["seconds"], "worker_cpu_s": round(used, 1)}


# --- Callers of the documented server -------------------------------------------------------------
def over_callers(sizes: Sequence[int], quick: bool) -> Iterator[Point]:
    with world(SONGS_OF_SERVER) as made:
        web = made.start_web(workers=2)
        _calls(made.web_port, callers=8, first=0, count=CALLS[quick])  # warm
        for turn, callers in enumerate(sizes, start=1):
            before, began = cpu_s(web.pid), time.perf_counter()
            first = turn * 10_000
            times = _calls(made.web_port, callers=callers, first=first, count=CALLS[quick])
            wall_s, used = time.perf_counter() - began, cpu_s(web.pid) - before
            p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
            yield {"size": callers, "per_s": round(len(times) / wall_s, 1),
                   "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1),
                   "cpu_ms_an_answer": round(used / len(times) * 1000, 1)}  # fmt: skip


def _calls(port: int, *, callers: int, first: int, count: int) -> list[float]:
    """Seconds of each answer; every call is for another member with favourites of their own."""

    def one(number: int) -> float:
        liked = [n * 13 % SONGS_OF_SERVER + 1 for n in range(number, number + LIKES_PER_MEMBER)]
        body = {"memberId": str(1_000_000 + number), "favorite_song_ids": liked, "strategy": "fast"}
        began = time.perf_counter()
        post(port, "/recommend", body)
        return time.perf_counter() - began

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(one, range(first, first + count)))


# --- All of it ------------------------------------------------------------------------------------
CURVES: dict[str, Curve] = {
    "songs": over_songs,
    "likes": over_likes,
    "ease": over_ease,
    "members": over_members,
    "callers": over_callers,
}


def exponents(points: list[Point]) -> dict[str, dict[str, float]]:
    """Of every figure of a curve, from its second point on."""
    if len(points) < 2:
        return {}
    sizes = [point["size"] for point in points]
    return {
        name: fitted(sizes, [point[name] for point in points])
        for name in points[0]
        if name != "size"
    }


def measured_points(name: str, sizes: Sequence[int], *, quick: bool) -> list[Point]:
    """The points of a curve, printed as they come."""
    say(f"\n{name}")
    points = []
    for point in CURVES[name](sizes, quick):
        say("  " + "  ".join(f"{key} {value:,}" for key, value in point.items()))
        points.append(point)
    return points


def merged(before: list[Point], now: list[Point]) -> list[Point]:
    """All points by size, the newer ones where both have one."""
    by_size = {point["size"]: point for point in (*before, *now)}
    return [by_size[size] for size in sorted(by_size)]


def curve(name: str, points: list[Point], *, quick: bool) -> dict[str, Any]:
    """Points with their exponents, which are printed."""
    found: dict[str, Any] = {"points": points, "exponents": exponents(points)}
    if name == "ease":
        limit = EASE_LIMIT[quick]
        found["below the limit"] = exponents([p for p in points if p["size"] <= limit])
        found["beyond the limit"] = exponents([p for p in points if p["size"] >= limit])
    for part in found.keys() - {"points"}:
        for key, fit in found[part].items():
            say(f"  {part}: {key:<20} {fit['exponent']:5.2f} ± {fit['stderr']:.2f}"
                f"  R² {fit['r2']:.3f}  last step {fit['last']:5.2f}")  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--sizes", nargs="+", type=int, help="some points of one curve anew")
    options = parser.parse_args()
    stop_on_sigterm()
    path = RESULTS / "growth.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() and not options.quick else {}
    for name in options.only:
        sizes = options.sizes or SIZES[name][options.quick]
        points = measured_points(name, sizes, quick=options.quick)
        if options.sizes:
            points = merged(kept.get(name, {}).get("points", []), points)
        kept[name] = curve(name, points, quick=options.quick)
        if not options.quick:
            path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
