"""Writes the tables of figures from bench/results: `python bench/figures.py`. A test holds pages and results equal.

docs/figures.md has every row, README.md the eight that matter most, docs/operations.md what one more process or host adds.
Each row names the command that made it. A figure whose file is not there has no row.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures.md"
OPERATIONS = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->"
BASELINES = ("popularity", "item_knn", "rp3", "als", "ease")
#: What is measured, what came out, what stands beside it in the same run.
Row = tuple[str, str, str]
#: Result file, the command that writes it, the rows it gives.
Sources = tuple[tuple[str, str, Callable[[dict[str, Any]], Iterator[Row]]], ...]


# --- Quality --------------------------------------------------------------------------------------
def quality(found: dict[str, Any]) -> Iterator[Row]:
    seeds = [
        run["models"]
        for name, run in found.items()
        if name.startswith("hetrec-") and "no" not in name
    ]
    plain = [run["models"] for name, run in found.items() if name.startswith("hetrec-no-tags-")]
    yield _beside_best(f"Last.fm HetRec, NDCG@10 (tags; {len(seeds)} seeds)", seeds, "ndcg@10")
    yield _beside_best("… NDCG@20", seeds, "ndcg@20")
    yield _beside_best("… NDCG@10 without tags", plain, "ndcg@10")
    yield (
        "… coverage@20",
        f"{_mean(seeds, 'songs_ai', 'coverage@20'):.2f}",
        "share of all songs that are recommended to somebody",
    )
    sittings = found["utawaku"]["models"]
    mix = sittings["ease_history_artist"]
    for metric in ("recall@20", "ndcg@20"):
        yield (
            f"Second half of {found['utawaku']['lists']} karaoke sittings, {metric}",
            f"{sittings['songs_ai'][metric]:.3f}",
            f"EASE + own history + artist {mix[metric]:.3f}, EASE {sittings['ease'][metric]:.3f}",
        )


def _mean(runs: list[dict[str, Any]], model: str, metric: str) -> float:
    return statistics.mean(run[model][metric] for run in runs)


def _beside_best(what: str, runs: list[dict[str, Any]], metric: str) -> Row:
    best = max(BASELINES, key=lambda name: _mean(runs, name, metric))
    ours, theirs = _mean(runs, "songs_ai", metric), _mean(runs, best, metric)
    return what, f"{ours:.3f}", f"best single model ({best}) {theirs:.3f}: +{ours / theirs - 1:.0%}"


# --- The queue and the batches --------------------------------------------------------------------
def survive(found: dict[str, Any]) -> Iterator[Row]:
    yield (
        f"{found['jobs']:,} queued jobs while consumer, workers, Redis, MariaDB and RabbitMQ are killed",
        f"{found['succeeded'] + found['failed_with_code']:,} ended, {found['missing_or_open']} missing",
        f"{found['with_two_results']} with two results, {found['left_in_queue']} left in the queue",
    )


def nightly(found: dict[str, Any]) -> Iterator[Row]:
    first, killed = found["first"], found["killed_halfway"]
    second = found["second_after_training_with_5_percent_changed"]
    yield (
        f"Nightly regeneration of {first['planned']:,} members, two worker processes, with the model",
        f"{first['seconds']:.0f} s",
        f"{first['model_calls']:,} model calls; the replaced service: 9 h",
    )
    yield (
        "… again after a training, 5 % of the members changed",
        f"{second['model_calls']} model calls",
        f"{found['third_with_nothing_changed']['model_calls']} when nothing changed; killed halfway: "
        f"{killed['repeated']} calls repeated, {killed['in_flight_at_most']} were in flight at most",
    )


def drain(found: dict[str, Any]) -> Iterator[Row]:
    yield (
        f"p99 of 20 `/recommend` a second while {found['members']:,} members are regenerated",
        f"{found['ratio']:.1f} × idle",
        f"{found['drained_per_second']:.1f} members a second meanwhile",
    )


def throughput(found: dict[str, Any]) -> Iterator[Row]:
    yield (
        "Queued jobs a second, without the model",
        f"{found['per_second']:.0f}",
        f"{found['processes']} worker processes",
    )


def rush(found: dict[str, Any]) -> Iterator[Row]:
    for number, door in enumerate(("backend's queue", "POST /recommend/jobs")):
        with_rule, without = found[door]["rule"], found[door]["baseline"]
        what = (
            f"{found['jobs']} jobs at once, with the model, {found['processes']} worker processes: "
        )
        yield (
            (what if number == 0 else "… ") + door,
            f"last result after {with_rule['last_s']:.0f} s",
            f"without the rule for a rush {without['last_s']:.0f} s; {with_rule['local']} local at first, "
            f"all by the model after {with_rule['all_by_model_s']:.0f} s; load of the machine {with_rule['load']:.0f}",
        )


def sync(found: dict[str, Any]) -> Iterator[Row]:
    looks = found["looks"]
    yield (
        f"Finding changed likes among {found['likes']:,}",
        f"{looks['nothing changed']['seconds']:.1f} s when nothing changed",
        f"{looks['300 unliked']['seconds']:.1f} s after 300 unlikes",
    )


def hosts(found: dict[str, Any]) -> Iterator[Row]:
    both, cut = found["throughput"], found["cut"]
    one, two, rates = both["one_host"], both["two_hosts"], cut["per_second"]
    yield (
        "Queued jobs on two worker hosts, waiting for the model",
        f"{both['ratio']:.2f} × one host",
        f"least of {len(both['ratios'])} {min(both['ratios']):.2f}; {two['per_second']:.1f} and {one['per_second']:.1f} a second with {both['processes_a_host']} processes a host, "
        f"which use {two['hosts_cores']:.1f} of {both['cores']} processors",
    )
    yield (
        f"… one of them cut off for {cut['plugged_in_at_s'] - cut['cut_off_at_s']} s: "
        f"{cut['jobs']:,} jobs, each with one outcome",
        f"{cut['missing_or_open']} missing, {cut['with_two_results']} with two results",
        f"{rates['before']:.1f} a second before, {rates['while one is cut off']:.1f} meanwhile, "
        f"{rates['after it came back']:.1f} after; its jobs ended elsewhere within {cut['those_jobs_ended_after_s']:.0f} s",
    )


# --- Speed ----------------------------------------------------------------------------------------
def speed(found: dict[str, Any]) -> Iterator[Row]:
    cached = found["cached"]
    most = max(cached["ours, L1 hit"], key=int)
    ours, static, old = (
        cached[name][most] for name in ("ours, L1 hit", "static answer", "stand-in")
    )
    yield (
        f"Cached reads a second, {most} connections, one process, {cached['bytes'] / 1000:.0f} KB",
        f"{ours['per_s']:,.0f}",
        f"{ours['per_s'] / static['per_s']:.2f} of a static answer; {ours['per_s'] / old['per_s']:.0f} × the "
        f"stand-in{_unless(cached['valid'])}",
    )
    yield (
        "… p99",
        f"{ours['p99_ms']:.0f} ms",
        f"stand-in {old['p99_ms']:.0f} ms: {old['p99_ms'] / ours['p99_ms']:.1f} × ours{_unless(cached['valid'])}",
    )
    for name in ("ours, L2 hit", "ours, 304", "ours, 404"):
        yield (
            f"… {name.removeprefix('ours, ')}",
            f"{cached[name][most]['per_s']:,.0f} a second",
            "same run",
        )
    for songs, cold in found["cold"].items():
        yield (
            f"Cold answer without the model, {int(songs):,} songs, p50 / p99",
            f"{cold['ours_s'] * 1000:.0f} / {cold['ours_p99_s'] * 1000:.0f} ms",
            f"stand-in {cold['stand_in_s'] * 1000:,.0f} ms: {cold['ratio']:.0f} ×{_unless(cold['valid'])}; "
            f"process {cold['rss_mib']:.0f} MiB",
        )


def _unless(valid: bool) -> str:
    return "" if valid else " (invalid: the stand-in is not within 30 % of the replaced service)"


def pressure(found: dict[str, Any]) -> Iterator[Row]:
    processes, model = found["processes"], found["model"]
    yield (
        "Cached reads per second of server CPU, two processes",
        f"{processes['cpu ratio']:.2f} of one",
        f"by the clock {processes['wall ratio']:.2f} on {processes['cores']} cores that also make the load",
    )
    yield (
        "Cold answer with the model",
        f"{model['cold_s']:.1f} s",
        f"at most {model['prompt_tokens']:,} prompt and {model['output_tokens']} output tokens; replaced service 31.8 s, 7,700, 2,140",
    )
    for waiting, one in found["hanging"].items():
        yield (
            f"Cached p99 while {waiting} cold requests wait for a hanging model",
            f"{one['ratio']:.1f} × idle",
            f"{one['p99_ms']:.0f} ms, idle {one['idle_p99_ms']:.0f} ms; while they arrive all at once "
            f"{one['arriving_p99_ms']:.0f} ms",
        )


def changes(found: dict[str, Any]) -> Iterator[Row]:
    yield (
        f"A new song shows in every process, {found['songs']:,} songs",
        f"{found['median_s']:.0f} s",
        f"{found['in_build_median_s']:.0f} s while the whole is being built behind another change",
    )


# --- The engine at scale --------------------------------------------------------------------------
def engine(found: dict[str, Any]) -> Iterator[Row]:
    took = found["recommend"]
    yield (
        f"A recommendation of 20 from scratch, {found['songs']:,} songs, {found['likes']:,} likes: CPU of one core, p50 / p99",
        f"{took['p50_ms']:.0f} / {took['p99_ms']:.0f} ms",
        f"{took['at_reference']['p50_ms']:.0f} / {took['at_reference']['p99_ms']:.0f} ms at the pace of a quiet machine; {_machine(found)}",
    )
    yield (
        "… training in full, with tuning",
        f"{found['train_s'] / 60:.1f} min",
        f"{found['train_cpu_s']:,.0f} s of CPU; at most {found['train_peak_mib']:,} MiB",
    )
    yield (
        "… memory of a process that serves it",
        f"{found['memory_mib']['rss']:.0f} MiB",
        f"{found['memory_mib']['uss']:.0f} MiB of its own, the rest is shared by the processes of a host",
    )


def growth(found: dict[str, Any]) -> Iterator[Row]:
    """Exponents: 1 = as fast as the size, 0 = not at all."""
    for name, told in (("songs", "songs"), ("likes", "likes")):
        if name in found:
            fits = found[name]["exponents"]
            first, last = found[name]["points"][0], found[name]["points"][-1]
            yield (
                f"Cost against {told}, {first['size']:,} to {last['size']:,}: exponents",
                f"recommendation {_power(fits['recommend_p50_ms'])}, search {_power(fits['search_p50_ms'])}",
                f"snapshot {_power(fits['snapshot_cpu_s'])}, training without tuning {_power(fits['training_cpu_s'])}, "
                f"memory of training {_power(fits['training_peak_mib'])}, of serving {_power(fits['serving_rss_mib'])}",
            )
    if "ease" in found:
        below, beyond = found["ease"]["below the limit"], found["ease"]["beyond the limit"]
        yield (
            "EASE beyond `EASE_MAX_ITEMS`: exponents of time and memory",
            f"{_power(beyond['cpu_s'])} and {_power(beyond['peak_mib'])}",
            f"below the limit {_power(below['cpu_s'])} and {_power(below['peak_mib'])}",
        )
    if "members" in found:
        fits, points = found["members"]["exponents"], found["members"]["points"]
        first, last = points[0], points[-1]
        yield (
            f"Nightly batch against members, {first['size']:,} to {last['size']:,}: exponent of CPU",
            _power(fits["worker_cpu_s"]),
            f"{last['worker_cpu_s'] / last['size'] * 1000:.0f} ms of CPU a member",
        )
    if "callers" in found:
        points = found["callers"]["points"]
        one, last = points[0], points[-1]
        yield (
            f"Cold answers a second, {one['size']} and {last['size']} callers, two processes",
            f"{one['per_s']:.0f} and {last['per_s']:.0f}",
            f"CPU an answer {one['cpu_ms_an_answer']:.0f} and {last['cpu_ms_an_answer']:.0f} ms; "
            f"p99 {one['p99_ms']:,.0f} and {last['p99_ms']:,.0f} ms",
        )


def _power(fit: dict[str, float]) -> str:
    return f"{fit['exponent']:.2f} ± {fit['stderr']:.2f}"


def startup(found: dict[str, Any]) -> Iterator[Row]:
    for songs in sorted(found, key=int):
        first, later = found[songs]["starts"]["first"], found[songs]["starts"]["later"]
        one, three = found[songs]["memory_mib"]["one"], found[songs]["memory_mib"]["three"]
        yield (
            f"Start of a web process to a cached read / a recommendation, {int(songs):,} songs",
            f"{later['cached_s']:.1f} / {later['recommended_s']:.1f} s",
            f"first start of a host, which builds the snapshot: {first['cached_s']:.1f} / {first['recommended_s']:.1f} s; "
            f"{_machine(found[songs])}",
        )
        yield (
            f"… memory of a web process, {int(songs):,} songs, untrained",
            f"{one['rss']:.0f} MiB",
            f"each of three: PSS {statistics.mean(held['pss'] for held in three):.0f} MiB",
        )


def _machine(found: dict[str, Any]) -> str:
    return f"fixed work {found['machine_ms']:.1f} ms in the same run, 4.0 on a quiet machine of the reference"


# --- The studio -----------------------------------------------------------------------------------
def studio(found: dict[str, Any]) -> Iterator[Row]:
    for database, one in found.items():
        pages = {name: page for name, page in one["pages"].items() if name != "stock list"}
        slowest = max(pages, key=lambda name: pages[name]["ratio"])
        yield (
            f"Slowest studio page at {one['runs']:,} runs ({database})",
            f"{pages[slowest]['ratio']:.1f} × the stock admin's list",
            f"“{slowest}”; at most {max(page['queries'] for page in pages.values())} queries a page",
        )
        yield (
            f"Publish until effective in four processes, p99 ({database})",
            f"{one['publish']['p99_s']:.1f} s",
            f"resolve and render: p99 {one['resolve']['p99_ms']:.2f} ms, no query",
        )


SOURCES: Sources = (
    ("quality", "SHARED_DATA=… python bench/quality.py", quality),
    ("speed", "python bench/speed.py", speed),
    ("pressure", "python bench/pressure.py", pressure),
    ("changes", "python bench/changes.py", changes),
    ("startup", "python bench/startup.py", startup),
    ("engine", "python -m bench.engine_scale", engine),
    ("growth", "python bench/growth.py", growth),
    ("jobs-survive", "python bench/jobs.py survive", survive),
    ("jobs-throughput", "python bench/jobs.py throughput", throughput),
    ("jobs-nightly", "python bench/jobs.py nightly", nightly),
    ("jobs-drain", "python bench/jobs.py drain", drain),
    ("jobs-rush", "python bench/jobs.py rush", rush),
    ("jobs-sync", "python bench/jobs.py sync", sync),
    ("hosts", "python bench/hosts.py", hosts),
    ("studio", "python bench/studio.py", studio),
)


# --- What one more of something adds (docs/operations.md) -----------------------------------------
def one_more_process(found: dict[str, Any]) -> Iterator[Row]:
    one, two = found["processes"]["1"], found["processes"]["2"]
    yield (
        "a web process",
        f"{two['per_cpu_s'] / one['per_cpu_s']:.2f} × the cached reads per second of processor",
        f"{two['per_cpu_s']:,.0f} a second with two, {one['per_cpu_s']:,.0f} with one",
    )


def answers_of_a_process(found: dict[str, Any]) -> Iterator[Row]:
    for songs, cold in found["cold"].items():
        yield (
            f"… with {int(songs):,} songs",
            f"{1 / cold['ours_s']:.0f} answers a second without the model, asked one by one",
            f"p99 {cold['ours_p99_s'] * 1000:.0f} ms, {cold['rss_mib']:.0f} MiB",
        )


def one_more_host(found: dict[str, Any]) -> Iterator[Row]:
    both, cut = found["throughput"], found["cut"]
    two, kept = both["two_hosts"], cut["redis_bytes"]
    yield (
        "a worker host",
        f"{both['ratio']:.2f} × the jobs of one",
        f"{two['per_second'] / (2 * both['processes_a_host']):.2f} a second and process, "
        f"{two['hosts_cores'] / two['per_second']:.2f} s of processor each",
    )
    yield (
        "… that is cut off",
        f"missed after {cut['broker_noticed_after_s']:.0f} s",
        f"its {cut['at_work_on_the_cut_off_host']} jobs ended elsewhere within {cut['those_jobs_ended_after_s']:.0f} s; "
        f"back on the network it took jobs again after {cut['host_began_a_job_again_after_s']:.0f} s",
    )
    yield (
        "a million members in Redis",
        f"{kept['a_member'] * 1e6 / 2**30:.0f} GiB",
        f"{kept['a_member'] / 1024:.0f} KiB each; {kept['a_job'] / 1024:.0f} KiB for a job of the last 24 h",
    )


def nightly_worker(found: dict[str, Any]) -> Iterator[Row]:
    first = found["first"]
    yield (
        "two processes of a nightly worker",
        f"{first['planned'] / first['seconds']:.1f} members a second with the model",
        f"{first['model_calls'] / first['seconds']:.0f} calls a second",
    )


def reads_of_likes(found: dict[str, Any]) -> Iterator[Row]:
    looks = found["looks"]
    yield (
        f"looking for changes among {found['likes']:,} likes, every minute",
        f"{looks['nothing changed']['seconds']:.1f} s of the catalog's database",
        f"{looks['300 unliked']['seconds']:.1f} s after 300 unlikes",
    )


SCALE: Sources = (
    ("pressure", "python bench/pressure.py", one_more_process),
    ("speed", "python bench/speed.py", answers_of_a_process),
    ("hosts", "python bench/hosts.py", one_more_host),
    ("jobs-nightly", "python bench/jobs.py nightly", nightly_worker),
    ("jobs-sync", "python bench/jobs.py sync", reads_of_likes),
)


#: How the README's rows begin: what each promise of the product comes to, beside a baseline.
IN_README = (
    "Last.fm HetRec, NDCG@10 (tags",
    "Second half of 269 karaoke sittings, recall@20",
    "Cached reads a second",
    "Cold answer without the model, 100,000 songs",
    "Cold answer with the model",
    "Cached p99 while 64 cold requests",
    "1,000 queued jobs while",
    "Nightly regeneration of 1,000 members",
)


# --- Writing --------------------------------------------------------------------------------------
def table(
    sources: Sources = SOURCES,
    head: Row = ("what", "Songs AI", "beside it"),
    starts: tuple[str, ...] = ("",),
) -> str:
    """Markdown rows whose first cell begins with one of `starts`. Two cores shared with the load: read the ratios."""
    lines = [f"| {' | '.join(head)} | made by |", "|---|---|---|---|"]
    for name, command, rows in sources:
        path = RESULTS / f"{name}.json"
        if path.exists():
            for cells in rows(json.loads(path.read_text("utf-8"))):
                if cells[0].startswith(starts):
                    lines.append(f"| {' | '.join(cells)} | `{command}` |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """The table of each page that holds one."""
    return {
        README: table(starts=IN_README),
        FIGURES: table(),
        OPERATIONS: table(SCALE, ("one more", "adds or takes", "beside it")),
    }


def rendered(page: Path, figures: str) -> str:
    """The page's text with `figures` between its two marks."""
    before, _begin, rest = page.read_text("utf-8").partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}{figures}{END}{after}"


if __name__ == "__main__":
    for page, figures in pages().items():
        page.write_text(rendered(page, figures), "utf-8")
