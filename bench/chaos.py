"""Kills and freezes everything at random while jobs arrive, then checks that none was lost. See docs/operations.md.

    python -m bench.chaos [--seeds 1,2,3] [--jobs 1000] [--minutes 10] [--poison 2] [--quick]

Servers of its own on free ports, our processes by the command lines of docker-compose.yml, a publisher that writes what
songs_be writes, a consumer of the dead-letter queue as songs_be has one, HTTP callers beside them, and
bench/fake_model.py answering fast. The exit code is 1 when a check failed. KEEP_FOLDERS=1 keeps the logs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.chaos_checks import Check, Watch, check_all, unsettled
from bench.disasters import (
    FULL,
    PROCESSES,
    QUICK,
    Disasters,
    Keeper,
    Lane,
    Outages,
    Pace,
    start_processes,
)
from bench.http_callers import Callers
from bench.installation import Installation, declare_as_spring, installation, wait_until
from bench.jobs import populate, say
from bench.machine import stop_on_sigterm
from bench.songs_be import POISON, DeadLetterListener, Publisher, Sent, good

RESULTS = Path(__file__).parent / "results"
#: Members who only call over HTTP, so that a job's member has no answer but the job's.
CALLING_MEMBERS = 300
#: When nothing more ended for so long, nothing will: the longest retry waits 120 s.
STALLED_AFTER_S = 200.0
#: In this time a job of ours that was lost is told from one that has just been queued.
QUIET_AT_LEAST_S = 45.0
WAITS_FOR_NOTHING_S = 10.0
MODEL = {"delay_s": 0.05, "tokens_per_s": 3000.0}


@dataclass(frozen=True, kw_only=True)
class Options:
    jobs: int
    minutes: float
    poison_percent: float
    pace: Pace


def messages(members: Sequence[int], options: Options, rng: random.Random) -> list[Sent]:
    """Good and poisoned messages in random order; every kind of poison is among them."""
    poisoned = round(options.jobs * options.poison_percent / 100)
    kinds = [] if poisoned == 0 else [*POISON] * (poisoned // len(POISON) + 1)
    spoiled = kinds[: max(poisoned, len(POISON))]
    healthy = max(0, options.jobs - len(spoiled))
    sent = [good(member, rng) for member in members[:healthy]]
    sent += [p.message(member) for p, member in zip(spoiled, members[healthy:], strict=False)]
    rng.shuffle(sent)
    return sent


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that runs during one round."""

    made: Installation
    keeper: Keeper
    outages: Outages
    watch: Watch
    callers: Callers
    publisher: Publisher
    listener: DeadLetterListener
    lanes: tuple[Lane, ...]


@contextmanager
def staged(seed: int, options: Options) -> Iterator[Stage]:
    rng = random.Random(seed)
    with installation() as made:
        members = populate(made, options.jobs + len(POISON) + CALLING_MEMBERS)
        callers, others = members[:CALLING_MEMBERS], members[CALLING_MEMBERS:]
        sent = messages(others, options, rng)
        with made.amqp() as channel:
            declare_as_spring(channel)
        made.environment |= {
            "OPENAI_BASE_URL": made.start_model(**MODEL),
            "OPENAI_API_KEY": "sk-bench",
        }
        start_processes(made)
        keeper, outages = Keeper(made), Outages()
        seconds = options.minutes * 60
        # A tenth of the time is left, so that the last disasters meet work too, but no full queue.
        publisher = Publisher(made, sent, per_second=len(sent) / (seconds * 0.9))
        stage = Stage(
            made=made,
            keeper=keeper,
            outages=outages,
            watch=Watch(made, keeper, outages),
            callers=Callers(made, keeper, outages, members=callers, seed=seed),
            publisher=publisher,
            listener=DeadLetterListener(made),
            lanes=lanes(made, outages, options.pace, rng, seconds),
        )
        wait_until(lambda: ready(made), "our processes", seconds=300, every_s=1)
        for thread in (keeper, stage.listener, stage.watch, stage.callers, publisher):
            thread.start()
        try:
            yield stage
        finally:
            stop(stage)


def ready(made: Installation) -> bool:
    died = [name for name in PROCESSES if not made.processes[name].running]
    assert not died, f"ended at once: {died}"
    return Callers.answered(made) and made.consumers("rec.recommendation.q") > 0


def stop(stage: Stage) -> None:
    """Stop what is left; frozen processes are resumed by their lane before it ends."""
    stopping = (
        *stage.lanes,
        stage.callers,
        stage.publisher,
        stage.watch,
        stage.listener,
        stage.keeper,
    )
    for thread in stopping:
        thread.stopped.set()
    for thread in stopping:
        if thread.is_alive():
            thread.join(120)


def lanes(
    made: Installation, outages: Outages, pace: Pace, rng: random.Random, seconds: float
) -> tuple[Lane, ...]:
    """Processes and stores suffer at the same time, each kind one disaster after the other."""

    def lane(kind: str, pauses: tuple[float, float]) -> Lane:
        own = random.Random(rng.random())
        disasters = Disasters(made, pace, own)
        found = disasters.to_stores() if kind == "stores" else disasters.to_processes()
        return Lane(
            found,
            outages=outages,
            pauses=pauses,
            seconds=seconds,
            rng=own,
            say=say,
        )

    return lane("stores", pace.between_outages), lane("processes", pace.between_processes)


# --- One round ------------------------------------------------------------------------------------
def play(seed: int, options: Options) -> dict[str, Any]:
    """One round; returns its figures, `failed` among them."""
    say(f"seed {seed}: {options.jobs} jobs in {options.minutes:g} minutes …")
    began = time.monotonic()
    with staged(seed, options) as stage:
        for lane in stage.lanes:
            lane.start()
        for lane in stage.lanes:
            lane.join()
            assert not lane.broke, f"the bench failed: {lane.broke}"
        stage.callers.stopped.set()
        say(f"  everything is back; {stage.publisher.done} published. Waiting for the rest …")
        settled_s = settle(stage)
        checks = check_all(
            stage.made, stage.publisher.sent, stage.listener, stage.watch, stage.callers
        )
        failed = report(checks, stage)
        return {
            "seed": seed,
            "failed": failed,
            "checks": {check.name: check.figures() for check in checks},
            "http": stage.callers.figures(),
            "restarts": dict(stage.keeper.restarts),
            "disasters": sum(len(lane.happened) for lane in stage.lanes),
            "settled_s": round(settled_s, 1),
            "seconds": round(time.monotonic() - began, 1),
        }


def settle(stage: Stage) -> float:
    """Wait until everything has an outcome, or nothing moves any more; returns the seconds."""
    began = moved = time.monotonic()
    before = (-1, -1)
    while time.monotonic() - moved < STALLED_AFTER_S:
        open_ = unsettled(stage.made, stage.publisher.sent, stage.listener)
        quiet = time.monotonic() - began > QUIET_AT_LEAST_S
        if quiet and open_ == 0 and not stage.watch.waiting_longer_than(WAITS_FOR_NOTHING_S):
            break
        if (stage.publisher.done, open_) != before:
            before, moved = (stage.publisher.done, open_), time.monotonic()
        time.sleep(1)
    return time.monotonic() - began


def report(checks: Sequence[Check], stage: Stage) -> int:
    """Print the verdict; returns how many checks failed."""
    for check in checks:
        say(check.line())
        for example in check.examples():
            say(f"           {example}")
    say(f"  restarts {dict(stage.keeper.restarts)}, logs in {stage.made.folder}")
    for name, figures in stage.callers.figures().items():
        say(f"  {name}: {figures}")
    return sum(check.failed for check in checks)


# --- The command ----------------------------------------------------------------------------------
def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", "--seed", default="1", help="rounds to play, as in 1,2,3")
    parser.add_argument("--jobs", type=int, default=0, help="1000, quick 120")
    parser.add_argument("--minutes", type=float, default=0.0, help="10, quick 2")
    parser.add_argument("--poison", type=float, default=2.0, help="percent; 0 sends none")
    parser.add_argument("--quick", action="store_true", help="fewer jobs, shorter disasters")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    stop_on_sigterm()
    options = Options(
        jobs=given.jobs or (120 if given.quick else 1_000),
        minutes=given.minutes or (2 if given.quick else 10),
        poison_percent=given.poison,
        pace=QUICK if given.quick else FULL,
    )
    rounds = [play(int(seed), options) for seed in given.seeds.split(",")]
    for figures in rounds:
        verdict = f"{figures['failed']} checks FAILED" if figures["failed"] else "nothing lost"
        say(f"seed {figures['seed']}: {verdict}, {figures['disasters']} disasters")
    if not given.quick:
        (RESULTS / "chaos.json").write_text(
            json.dumps(rounds, indent=2, ensure_ascii=False) + "\n", "utf-8"
        )
    sys.exit(1 if any(figures["failed"] for figures in rounds) else 0)


if __name__ == "__main__":
    main()
