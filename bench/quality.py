"""Makes the quality table of the README: every figure comes out of `manage.py evaluate --json`.

usage: SHARED_DATA=… python bench/quality.py [--only NAME]

$SHARED_DATA is the shared data folder; its neighbour tools/to_interactions.py turns a data set into
interactions.csv and songs.csv in a temporary folder. Writes bench/results/quality.json (figures of
every run; runs not made this time stay) and bench/results/quality.md (the table).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
HETREC = ("--protocol", "random", "--min-interactions", "5", "--holdout", "0.2")
MODELS = ("songs_ai", "ease", "als", "rp3", "item_knn", "popularity")
MIXES = ("ease_history_artist", "history", "ease_artist")


@dataclass(frozen=True)
class Run:
    name: str
    data: str
    options: tuple[str, ...]
    tags: bool = True


def runs() -> Iterator[Run]:
    for seed in ("0", "1", "2"):
        yield Run(f"hetrec-{seed}", "hetrec", (*HETREC, "--seed", seed))
        options = (*HETREC, "--seed", seed, "--known", "")
        yield Run(f"hetrec-no-tags-{seed}", "hetrec", options, tags=False)
    session = ("--protocol", "session", "--train-until", "2026-05-15", "--known", "")
    yield Run("utawaku", "utawaku", session)


SOURCES = {"hetrec": "lastfm-hetrec2011", "utawaku": "utawaku-sessions"}


def convert(run: Run, shared: Path, out: Path) -> None:
    tool = shared.parent / "tools" / "to_interactions.py"
    source = shared / SOURCES[run.data]
    subprocess.run([sys.executable, tool, run.data, source, out], check=True)
    if not run.tags:
        _blank_tags(out / "songs.csv")


def _blank_tags(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{**row, "tags": ""} for row in csv.DictReader(file)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def measure(run: Run, shared: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        convert(run, shared, Path(folder))
        command = [sys.executable, ROOT / "manage.py", "evaluate", folder, *run.options, "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(done.stdout)


def table(found: dict[str, Any]) -> str:
    """Markdown: HetRec with and without tags over three seeds, few known items, sittings."""
    parts = [
        _seeds("Last.fm HetRec, tags as content", found, "hetrec"),
        _seeds("Last.fm HetRec, without tags", found, "hetrec-no-tags"),
        _few_known(found),
        _sittings(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _mean(figures: list[dict[str, float]], metric: str) -> float:
    return statistics.mean(one[metric] for one in figures)


def _seeds(title: str, found: dict[str, Any], prefix: str) -> str:
    made = [found[f"{prefix}-{seed}"] for seed in range(3) if f"{prefix}-{seed}" in found]
    if not made:
        return ""
    metrics = ("ndcg@10", "ndcg@20", "recall@20", "coverage@20", "diversity@20")
    lines = [f"| {title} ({len(made)} seeds) | " + " | ".join(metrics) + " |"]
    lines.append("|---|" + "--:|" * len(metrics))
    for model in MODELS:
        cells = (f"{_mean([one['models'][model] for one in made], m):.3f}" for m in metrics)
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _few_known(found: dict[str, Any]) -> str:
    by_known = [found.get(f"hetrec-{seed}", {}).get("by_known_items") for seed in range(3)]
    made = [one for one in by_known if one]
    if not made:
        return ""
    counts = list(made[0])
    title = f"NDCG@10 of members unknown to training ({len(made)} seeds)"
    lines = [f"| {title} | " + " | ".join(f"{count} known" for count in counts) + " |"]
    lines.append("|---|" + "--:|" * len(counts))
    for model in MODELS:
        cells = (f"{_mean([one[count][model] for one in made], 'ndcg@10'):.3f}" for count in counts)
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _sittings(found: dict[str, Any]) -> str:
    if "utawaku" not in found:
        return ""
    figures = found["utawaku"]
    lines = [
        f"| karaoke sittings ({figures['lists']}) | recall@20 | NDCG@20 "
        "| recall@20 without history | NDCG@20 without history |",
        "|---|--:|--:|--:|--:|",
    ]
    for model in (*MODELS, *MIXES):
        both = (figures["models"][model], figures["without_history"][model])
        cells = (f"{part[m]:.3f}" for part in both for m in ("recall@20", "ndcg@20"))
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="runs whose name begins with this")
    only = parser.parse_args().only
    shared = os.environ.get("SHARED_DATA")
    if not shared:
        sys.exit("SHARED_DATA is not set: name the shared data folder")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "quality.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for run in runs():
        if run.name.startswith(only):
            print(f"== {run.name}", file=sys.stderr, flush=True)
            found[run.name] = measure(run, Path(shared))
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (RESULTS / "quality.md").write_text(table(found), "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
