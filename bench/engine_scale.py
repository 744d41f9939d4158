"""Measures the engine alone: build time, memory, and how long recommend and search take.

    python -m bench.engine_scale --songs 100000 --likes 1000000

Everything is synthetic and seeded. Times of requests are CPU time of one thread: what a core can do,
whoever else uses the machine.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from engine.catalog import Catalog
from engine.model import Model
from engine.recommend import recommend
from engine.search import SearchIndex
from engine.text import initials
from engine.types import Query, SongView

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


def timed(name: str, work: Callable[[], object]) -> object:
    started = time.perf_counter()
    made = work()
    print(f"{name:<28} {time.perf_counter() - started:8.2f} s   peak RSS {rss_mib():6.0f} MiB")
    return made


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def percentiles(name: str, times_s: list[float]) -> None:
    p50, p90, p99 = np.percentile(np.array(times_s) * 1000, [50, 90, 99])
    print(f"{name:<28} p50 {p50:7.2f}  p90 {p90:7.2f}  p99 {p99:7.2f} ms  (n={len(times_s)})")


def queries(catalog: Catalog, count: int, rng: np.random.Generator) -> Iterator[Query]:
    """Real rows of likes: members of every size, and some without any like."""
    matrix = catalog.corpus.interactions
    for number, member in enumerate(rng.integers(0, matrix.shape[0], count).tolist()):
        liked = matrix.indices[matrix.indptr[member] : matrix.indptr[member + 1]]
        known = liked[: 0 if number % 20 == 0 else int(rng.integers(1, 60))]
        ids = tuple(catalog.song_ids[known].tolist())
        yield Query(member_key=str(member), favorite_ids=ids, now=NOW, seed=number)


def measure_recommend(catalog: Catalog, model: Model, count: int, rng: np.random.Generator) -> None:
    took, steps = [], {}
    for number, query in enumerate(queries(catalog, count + 5, rng)):
        started = time.thread_time()
        slate = recommend(query, catalog=catalog, model=model, clock=time.thread_time)
        if number >= 5:  # the first ones pay for what is cached
            took.append(time.thread_time() - started)
            for step in slate.trace:
                steps.setdefault(step.name, []).append(step.ms)
    percentiles("recommend 20 of all", took)
    for name, ms in steps.items():
        print(f"    {name:<24} p50 {np.median(ms):7.2f}  p99 {np.percentile(ms, 99):7.2f} ms")


def measure_search(index: SearchIndex, count: int, rng: np.random.Generator) -> None:
    """Titles and artists as typed: whole, cut short, with a slip, by initials."""
    catalog = index.catalog
    took = {"search": [], "search with a slip": [], "search initials": [], "resolve": []}
    for row in rng.integers(0, catalog.n, count).tolist():
        view = catalog.view(row)
        slip = view.title_kr[:-1] + "뷁" if len(view.title_kr) > 2 else view.title_kr
        typed = str(rng.choice([view.title_jp, view.title_kr, view.artist_kr, view.title_yomi]))
        took["search"].append(lasting(lambda q=typed: index.search(q)))
        took["search with a slip"].append(lasting(lambda q=slip: index.search(q)))
        shortened = initials(view.title_kr)[:5]
        took["search initials"].append(lasting(lambda q=shortened: index.search(q)))
        took["resolve"].append(lasting(lambda v=view: index.resolve([Named(v.title_kr, v.artist)])))
    for name, times in took.items():
        percentiles(name, times)


class Named(NamedTuple):
    title: str
    artist: str
    genre: str = ""


def lasting(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--likes", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--train", action="store_true", help="train a model first (minutes)")
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    views = timed("make songs", lambda: list(songs(options.songs, rng)))
    liked = likes(options.songs, options.likes, rng)
    catalog = timed("build catalog", lambda: Catalog.build(views, likes=liked, now=NOW))
    model = Model.untrained(catalog.corpus)
    if options.train:
        model = timed("train model", lambda: Model.train(catalog.corpus))
    with TemporaryDirectory() as folder:
        # As a serving process has it: mapped from disk.
        timed("save catalog", lambda: catalog.save(Path(folder) / "catalog"))
        index = timed("build search index", lambda: SearchIndex.build(catalog))
        index.save(Path(folder) / "search")
        for part in ("catalog", "search"):
            size = sum(file.stat().st_size for file in (Path(folder) / part).iterdir())
            print(f"{part + ' on disk':<28} {size / 2**20:8.1f} MiB")
        catalog = Catalog.load(Path(folder) / "catalog")
        index = SearchIndex.load(Path(folder) / "search", catalog)
        measure_recommend(catalog, model, options.queries, rng)
        measure_search(index, options.queries, rng)


if __name__ == "__main__":
    main()
