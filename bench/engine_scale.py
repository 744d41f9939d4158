"""Measures the engine alone: build time, training, memory, and how long recommend and search take.

    python -m bench.engine_scale --songs 100000 --likes 1000000

Everything is synthetic and seeded. Times of requests are CPU time of one thread: what a core can do,
whoever else uses the machine; those of building and training are CPU time of all threads. Building, training and serving
have a process each: the third one maps what the others saved, as a web process does. Figures go to bench/results/engine.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bench.machine import REFERENCE_PROBE_MS, apart, memory_mib, peak_mib, probe_ms
from engine.catalog.catalog import Catalog
from engine.catalog.search.index import SearchIndex
from engine.catalog.search.query import find_songs, resolve_names
from engine.catalog.text import initials
from engine.ranking.recommend import recommend
from engine.training.model import Model, TrainSettings
from engine.types import Query, SongView

RESULTS = Path(__file__).parent / "results"
Made = TypeVar("Made")
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
GENRES = (
    "J-pop",
    "팝",
    "록",
    "J-pop, 록",
    "발라드",
    "J-pop 댄스팝",
    "J-pop  서정 팝",
    "힙합",
    "재즈",
    "",
)
MOODS = ("에너지", "감성적", "강렬", "잔잔", "신나는", "서정적", "")
SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후"
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわ"
KANJI = "夜雨光影花星月海空風雪夏春秋冬朝夢恋愛心声歌道時君涙笑翼旅森火水鳥猫街窓扉鏡糸色音"


def songs(count: int, rng: np.random.Generator) -> Iterator[SongView]:
    """Zipf-popular artists, each with a home genre and mood."""
    artists = [word(rng, KANJI + KANA, 2, 5) for _ in range(max(count // 12, 10))]
    artists_kr = [word(rng, SYLLABLES, 3, 6) for _ in artists]
    anime = [word(rng, SYLLABLES, 3, 8) for _ in range(max(count // 60, 5))]
    home = rng.integers(0, [[len(GENRES)], [len(MOODS)]], (2, len(artists)))
    by = np.minimum(rng.zipf(1.3, count) - 1, len(artists) - 1)
    by = np.where(rng.random(count) < 0.5, rng.integers(0, len(artists), count), by)
    for number in range(count):
        artist = int(by[number])
        kana = word(rng, KANA, 3, 9)
        yield SongView(
            song_id=number + 1,
            title_jp=word(rng, KANJI + KANA, 2, 8),
            title_kr=word(rng, SYLLABLES, 2, 8),
            title_en=word(rng, "abcdefghijklmnoprstuvwy", 4, 12) if number % 3 else "",
            title_yomi=kana,
            title_yomi_kr=word(rng, SYLLABLES, 3, 9),
            artist=artists[artist],
            artist_kr=artists_kr[artist],
            tj_number=number + 1000 if number % 10 else None,
            ky_number=number + 40_000 if number % 3 else None,
            genre=GENRES[home[0, artist]] if rng.random() < 0.8 else str(rng.choice(GENRES)),
            mood=MOODS[home[1, artist]] if rng.random() < 0.6 else str(rng.choice(MOODS)),
            anime=anime[int(rng.integers(len(anime)))] if number % 4 == 0 else "",
            lang="ja",
            created_at=NOW - timedelta(days=float(rng.exponential(900))),
        )


def word(rng: np.random.Generator, letters: str, least: int, most: int) -> str:
    places = rng.integers(0, len(letters), int(rng.integers(least, most + 1)))
    return "".join(letters[place] for place in places)


def likes(songs_count: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Members with neighbourhoods: most likes lie near a member's own places in the catalog."""
    members = rng.integers(0, max(count // 50, 1), count)
    centre = (members * 7919 + rng.integers(0, 3, count) * 104_729) % songs_count
    near = (centre + rng.normal(0, songs_count / 400, count).astype(int)) % songs_count
    popular = np.minimum(rng.zipf(1.2, count) - 1, songs_count - 1)
    chosen = np.where(rng.random(count) < 0.35, popular, near)
    at_s = NOW.timestamp() - rng.exponential(200, count) * 86_400
    return members + 1, chosen + 1, at_s


# --- Building, training, serving: a process each --------------------------------------------------
def built(folder: Path, n_songs: int, n_likes: int) -> dict[str, Any]:
    """Save catalog and search index of that size; CPU seconds and peak memory."""
    rng = np.random.default_rng(7)
    views = list(songs(n_songs, rng))
    liked = likes(n_songs, n_likes, rng)
    catalog, catalog_s = spent(lambda: Catalog.build(views, likes=liked, now=NOW))
    index, search_s = spent(lambda: SearchIndex.build(catalog))
    catalog.save(folder / "catalog")
    index.save(folder / "search")
    return {
        "catalog_cpu_s": catalog_s,
        "search_index_cpu_s": search_s,
        "build_peak_mib": round(peak_mib()),
        "disk_mib": round(sum(file.stat().st_size for file in folder.rglob("*.npy")) / 2**20, 1),
    }


def trained(folder: Path, settings: TrainSettings) -> dict[str, Any]:
    """Train on the saved catalog and save the model; seconds, CPU seconds and peak memory."""
    corpus = Catalog.load(folder / "catalog").corpus
    began = time.perf_counter()
    model, cpu_s = spent(lambda: Model.train(corpus, settings=settings))
    wall_s = round(time.perf_counter() - began, 1)
    model.save(folder / "model")
    return {
        "train_s": wall_s,
        "train_cpu_s": cpu_s,
        "train_peak_mib": round(peak_mib()),
        "coverage": model.coverage(),
    }


def served(folder: Path, count: int) -> dict[str, Any]:
    """Recommend and search with what was saved, and nothing else in memory."""
    rng = np.random.default_rng(11)
    catalog = Catalog.load(folder / "catalog")
    index = SearchIndex.load(folder / "search", catalog)
    has_model = (folder / "model").exists()
    model = Model.load(folder / "model") if has_model else Model.untrained(catalog.corpus)
    found = measure_recommend(catalog, model, count, rng)
    return found | {"search": measure_search(index, count, rng), "memory_mib": memory_mib()}


def spent(work: Callable[[], Made]) -> tuple[Made, float]:
    """What `work` made, and the CPU seconds of all threads it took."""
    began = time.process_time()
    made = work()
    return made, round(time.process_time() - began, 2)


def percentiles(times_s: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(times_s) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def queries(catalog: Catalog, count: int, rng: np.random.Generator) -> Iterator[Query]:
    """Real rows of likes: members of every size, and some without any like."""
    matrix = catalog.corpus.interactions
    for number, member in enumerate(rng.integers(0, matrix.shape[0], count).tolist()):
        liked = matrix.indices[matrix.indptr[member] : matrix.indptr[member + 1]]
        known = liked[: 0 if number % 20 == 0 else int(rng.integers(1, 60))]
        ids = tuple(catalog.song_ids[known].tolist())
        yield Query(member_key=str(member), favorite_ids=ids, now=NOW, seed=number)


def measure_recommend(
    catalog: Catalog, model: Model, count: int, rng: np.random.Generator
) -> dict[str, Any]:
    """CPU time of recommending 20 of all, and of its steps.

    `at_reference` is the same at the pace of a quiet machine: each time divided by that of the fixed work right before
    it, since a processor that is shared with others counts their waits as ours.
    """
    gc.collect()
    gc.freeze()  # as a serving process does when it is warm
    took: list[float] = []
    paced: list[float] = []
    steps: dict[str, list[float]] = {}
    for number, query in enumerate(queries(catalog, count + 5, rng)):
        pace = min(probe_ms(2, time.thread_time)) / REFERENCE_PROBE_MS
        started = time.thread_time()
        slate = recommend(query, catalog=catalog, model=model, clock=time.thread_time)
        if number >= 5:  # the first ones pay for what is cached
            took.append(time.thread_time() - started)
            paced.append(took[-1] / pace)
            for step in slate.trace:
                steps.setdefault(step.name, []).append(step.ms / 1000)
    return {
        "recommend": percentiles(took) | {"at_reference": percentiles(paced)},
        "steps": {name: percentiles(times) for name, times in steps.items()},
    }


def measure_search(index: SearchIndex, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Titles and artists as typed: whole, cut short, with a slip, by initials."""
    catalog = index.catalog
    took: dict[str, list[float]] = {"search": [], "slip": [], "initials": [], "resolve": []}
    for row in rng.integers(0, catalog.n, count).tolist():
        view = catalog.view(row)
        slip = view.title_kr[:-1] + "뷁" if len(view.title_kr) > 2 else view.title_kr
        typed = str(rng.choice([view.title_jp, view.title_kr, view.artist_kr, view.title_yomi]))
        took["search"].append(lasting(lambda q=typed: find_songs(index, q)))
        took["slip"].append(lasting(lambda q=slip: find_songs(index, q)))
        shortened = initials(view.title_kr)[:5]
        took["initials"].append(lasting(lambda q=shortened: find_songs(index, q)))
        took["resolve"].append(
            lasting(lambda v=view: resolve_names(index, [Named(v.title_kr, v.artist)]))
        )
    return {name: percentiles(times) for name, times in took.items()}


class Named(NamedTuple):
    title: str
    artist: str
    genre: str = ""


def lasting(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def measured(
    n_songs: int, n_likes: int, *, settings: TrainSettings | None, count: int
) -> dict[str, Any]:
    """All figures of one size; settings=None: without a trained model."""
    with TemporaryDirectory(prefix="songs-ai-scale-") as name:
        folder = Path(name)
        found = {"songs": n_songs, "likes": n_likes} | apart(built, folder, n_songs, n_likes)
        if settings is not None:
            found |= apart(trained, folder, settings)
        return found | apart(served, folder, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--likes", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--untrained", action="store_true", help="leave out the training (minutes)")
    options = parser.parse_args()
    probes = probe_ms()
    settings = None if options.untrained else TrainSettings()
    found = measured(options.songs, options.likes, settings=settings, count=options.queries)
    found["machine_ms"] = round(statistics.median(probes + probe_ms()), 2)
    print(json.dumps(found, indent=1))
    if settings is not None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "engine.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
