"""Measures cached reads under pressure: a hanging model, members at random, a second process; and the model's own cold path.

`python bench/pressure.py` runs on 2 000 songs in about two minutes and writes bench/results/pressure.json. The server is the
documented one (docs/operations.md). Waiting callers ask `/recommend` for members nobody asked for before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import Installation, free_port, listens, wait_until
from bench.machine import cpu_s, rests
from bench.speed import RESULTS, judged, load, post, say, serve, world

REPEATS = 5
SECONDS = 2.0
#: Cold callers wait this long for the model, so that one load meets them arriving and the next one waiting.
DEADLINE_S = 12.0
#: Connections that read what is cached while others wait.
READERS = 8
MEMBERS = 100_000
SHARE_AT_RANDOM = 0.2
#: What the p99 of cached reads may rise to, times idle, while others wait for a hanging model.
WORST_TAIL = 2.0
FIRST_COLD_MEMBER = 1_000_000


def fake_model(made: Installation, name: str, *options: str) -> dict[str, str]:
    """A model server with its default latency, or a fault; returns the settings that point at it."""
    port = free_port()
    made.start(name, sys.executable, "-m", "bench.fake_model", "--port", str(port), *options)
    wait_until(lambda: listens(port), name)
    return {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-bench"}


def cached_load(port: int, connections: int = READERS, lua: str = "") -> dict[str, float]:
    return load(
        f"http://127.0.0.1:{port}/recommend/cached",
        body='{"memberId": "1"}',
        connections=connections,
        seconds=SECONDS,
        lua=lua,
    )


# --- A model that hangs ---------------------------------------------------------------------------
@contextmanager
def cold_callers(port: int, number: int, first_member: int) -> Iterator[list[dict[str, Any]]]:
    """`number` callers who each ask once, at once, for a new member; yields the list their answers arrive in."""
    answers: list[dict[str, Any]] = []

    def call(member: int) -> None:
        answers.append(json.loads(post(port, "/recommend", {"memberId": str(member)})))

    threads = [threading.Thread(target=call, args=(first_member + n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(60)


def close_circuit(made: Installation) -> None:
    """Let the model be asked again: after a round of hanging calls nobody would wait for it."""
    store = redis.Redis(port=made.redis_port)
    for key in store.scan_iter("songs_ai:*breaker*"):
        store.delete(key)


def while_the_model_hangs(made: Installation) -> dict[str, Any]:
    model = fake_model(made, "hanging", "--fault", "hang")
    port = serve(
        made,
        "documented",
        "songs_ai.rsgi:application",
        workers=2,
        LLM_DEADLINE_S=str(DEADLINE_S),
        LLM_CONCURRENCY="200",  # only the server's own threads bound who may wait
        **model,
    )
    post(port, "/recommend", {"memberId": "1", "count": 100, "strategy": "fast"})
    post(port, "/favorites/updated", {"memberId": "1", "favorite_song_ids": [1, 2, 3]})
    cached_load(port)  # warm
    found: dict[str, Any] = {}
    for waiting in (8, 64):
        loads: list[tuple[float, float, float]] = []
        outcomes: Counter[str] = Counter()
        for turn in range(REPEATS):  # in turn: noise of the machine hits all of them
            idle = cached_load(port)["p99_ms"]
            close_circuit(made)
            first = FIRST_COLD_MEMBER + (waiting * REPEATS + turn) * 100_000
            with cold_callers(port, waiting, first) as answers:
                arriving = cached_load(port)["p99_ms"]
                wait_until(lambda: rests(made.processes["documented"].pid), "callers who only wait")
                answered = len(answers)
                meanwhile = cached_load(port)["p99_ms"]
            loads.append((idle, arriving, meanwhile))
            outcomes.update(answer["degraded"] or "none" for answer in answers)
            outcomes["held through the second load"] += waiting - answered
        idle, arriving, meanwhile = (statistics.median(side) for side in zip(*loads, strict=True))
        found[str(waiting)] = {
            "idle_p99_ms": idle,
            "arriving_p99_ms": arriving,
            "p99_ms": meanwhile,
            "arriving_ratio": arriving / idle,
            "ratio": meanwhile / idle,
            "degraded": outcomes,
        }
        say(f"  {waiting:>2} cold: p99 {meanwhile:.1f} ms while they wait, {arriving:.1f} ms while they arrive, idle {idle:.1f} ms: "
            f"{meanwhile / idle:.2f}× and {arriving / idle:.2f}×; {dict(outcomes)}")  # fmt: skip
    for name in ("documented", "hanging"):
        made.processes[name].stop(10)
    return found


# --- The model at its usual pace ------------------------------------------------------------------
def cold_with_model(made: Installation) -> dict[str, Any]:
    model = fake_model(made, "model")
    port = serve(made, "with-model", "songs_ai.rsgi:application", **model)
    post(port, "/recommend", {"memberId": "1", "strategy": "fast"})
    times, sources = [], []
    for member in range(10, 10 + REPEATS + 2):
        began = time.perf_counter()
        answer = json.loads(post(port, "/recommend", {"memberId": str(member)}))
        times.append(time.perf_counter() - began)
        sources.append(answer["source"])
    with made.mysql() as cursor:
        cursor.execute("SELECT MAX(tokens_input), MAX(tokens_output) FROM prompts_modelcall")
        prompt, output = cursor.fetchone()
    for name in ("with-model", "model"):
        made.processes[name].stop(10)
    figures = {"cold_s": statistics.median(times[2:]), "sources": sources,
               "prompt_tokens": prompt, "output_tokens": output}  # fmt: skip
    say(
        f"  cold with the model: {figures['cold_s']:.2f} s, {prompt} prompt and {output} output tokens at most; {sources}"
    )
    return figures


# --- Members at random; a second process ----------------------------------------------------------
MIX = f"""
request = function()
  local member = 1
  if math.random() < {SHARE_AT_RANDOM} then member = math.random({MEMBERS}) end
  return wrk.format("POST", nil, nil, '{{"memberId": "' .. member .. '"}}')
end
"""


def fill(made: Installation) -> None:
    """The first member's answer for 5 000 of 100 000 members: the rest of the mix are 404s, as after a cut-over."""
    store = redis.Redis(port=made.redis_port)
    body = store.get("recommend:1")
    assert isinstance(body, bytes)
    pipe = store.pipeline(transaction=False)
    for member in range(2, MEMBERS, MEMBERS // 5_000):
        pipe.set(f"recommend:{member}", body)
    pipe.set("songs_ai:sentinel", "bench")
    pipe.execute()


def per_cpu_s(
    made: Installation, name: str, measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Rate by the clock and by seconds of the server's CPU."""
    server = made.processes[name].pid
    before, began = cpu_s(server), time.perf_counter()
    rate = measure()["per_s"]
    answered = rate * SECONDS
    spent = cpu_s(server) - before
    return {
        "per_s": rate,
        "per_cpu_s": answered / spent,
        "wall_s": time.perf_counter() - began,
    }


def processes(made: Installation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    runs: dict[str, list[dict[str, float]]] = {"1": [], "2": [], "mix": []}
    ports = {n: serve(made, f"of-{n}", "songs_ai.rsgi:application", workers=n) for n in (1, 2)}
    post(ports[1], "/recommend", {"memberId": "1", "count": 100})
    fill(made)
    for n, port in ports.items():
        cached_load(port, 64)
        cached_load(port, 64, MIX)
        say(f"  {n} process(es) warm")
    for _ in range(REPEATS):
        for n, port in ports.items():
            runs[str(n)].append(per_cpu_s(made, f"of-{n}", lambda port=port: cached_load(port, 64)))
        runs["mix"].append(per_cpu_s(made, "of-1", lambda: cached_load(ports[1], 64, MIX)))
    for name, figures in runs.items():
        found[name] = {key: statistics.median(run[key] for run in figures) for key in figures[0]}
    found["cpu ratio"] = found["2"]["per_cpu_s"] / found["1"]["per_cpu_s"]
    found["wall ratio"] = found["2"]["per_s"] / found["1"]["per_s"]
    found["cores"] = psutil.cpu_count()
    say(f"  per second of CPU: 1 process {found['1']['per_cpu_s']:,.0f}, 2 processes {found['2']['per_cpu_s']:,.0f}: "
        f"{found['cpu ratio']:.2f}; by the clock {found['wall ratio']:.2f} on {found['cores']} cores")  # fmt: skip
    say(f"  {SHARE_AT_RANDOM:.0%} random of {MEMBERS:,} members: {found['mix']['per_s']:,.0f} / s, "
        f"{found['mix']['per_s'] / found['1']['per_s']:.2f} of one member's rate")  # fmt: skip
    for n in ports:
        made.processes[f"of-{n}"].stop(10)
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """The figures that must not get worse, higher is better. Tails are too noisy for it: they have a limit."""
    per_cpu_s = {name: found["processes"][name]["per_cpu_s"] for name in ("1", "mix")}
    return {
        "two processes: rate per CPU second over one": found["processes"]["cpu ratio"],
        "random members: rate per CPU second over one member": per_cpu_s["mix"] / per_cpu_s["1"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--keep", action="store_true", help="keep this run's ratios as the baseline"
    )
    options = parser.parse_args()
    with world(2_000) as made:
        say("A second process; members at random")
        found: dict[str, Any] = {"processes": processes(made)}
        say("Cold with the fake model at its default latency")
        found["model"] = cold_with_model(made)
        say(f"Cached reads at {READERS} connections while cold requests wait for a hanging model")
        found["hanging"] = while_the_model_hangs(made)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pressure.json").write_text(json.dumps(found, indent=1), "utf-8")
    worse = judged(ratios(found), as_baseline=options.keep)
    for waiting, figures in found["hanging"].items():
        if figures["ratio"] > WORST_TAIL:
            say(
                f"OVER the limit of {WORST_TAIL}×: p99 with {waiting} waiting, {figures['ratio']:.1f}×"
            )
            worse = 1
    return worse


if __name__ == "__main__":
    sys.exit(main())
