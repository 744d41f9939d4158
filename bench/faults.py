"""What a fault costs callers, and what an answer costs the model. See docs/operations.md.

python bench/faults.py stores     MySQL, Redis, the broker: refused and hanging, each for real, on servers of its own
python bench/faults.py model      calls, tokens and seconds of cold answers (--model-url of a fake one), then a model that hangs
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import Installation, installation, listens, wait_until
from bench.machine import stop_on_sigterm

RESULTS = Path(__file__).parent / "results"
#: Of another member than the one who meets the fault: cached reads, ten a second.
BYSTANDER, BYSTANDER_PAUSE_S = "11", 0.1
WORKERS = 4
#: Time in which every process has noticed that a store is back.
NOTICED_S = 6.0


def say(text: str) -> None:
    print(text, flush=True)


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any], float]:
    """Status, parsed answer and milliseconds of one call on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text), round((time.perf_counter() - began) * 1000, 1)
    finally:
        connection.close()


def post(made: Installation, path: str, **body: Any) -> tuple[int, dict[str, Any], float]:
    return call(made.web_port, "POST", path, body)


# --- Stores ---------------------------------------------------------------------------------------
#: What is called during a fault: name, path, body. Members differ, so that nobody is helped by the call before.
CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("cached read", "/recommend/cached", {"memberId": "1"}),
    ("recommend, stored", "/recommend", {"memberId": "1"}),
    ("recommend, ids sent", "/recommend", {"memberId": "2", "favorite_song_ids": [1, 2, 3]}),
    ("recommend, new", "/recommend", {"memberId": "3"}),
    ("favorites/updated", "/favorites/updated", {"memberId": "4", "favorite_song_ids": [5, 6]}),
    ("recommend, again", "/recommend", {"memberId": "5"}),
)
WARM = ("warm/active", "/warm/active?limit=3", {})


class Bystander:
    """Somebody else, who reads what is cached, all the time."""

    def __init__(self, port: int) -> None:
        self.port, self.ms, self.wrong = port, [], 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while not self._over.wait(BYSTANDER_PAUSE_S):
            status, _, ms = call(self.port, "GET", f"/recommend/cached/{BYSTANDER}")
            self.ms.append(ms)
            self.wrong += status != 200

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, Any]:
        return {
            "reads": len(self.ms),
            "not_200": self.wrong,
            "median_ms": round(statistics.median(self.ms), 1),
            "worst_ms": max(self.ms),
        }


def measured(made: Installation, calls: Any) -> dict[str, Any]:
    """Status, degradation and milliseconds of each call, and what a bystander met meanwhile."""
    told: dict[str, Any] = {}
    with Bystander(made.web_port) as bystander:
        time.sleep(0.5)
        for name, path, body in calls:
            status, answer, ms = post(made, path, **body)
            told[name] = {"status": status, "degraded": answer.get("degraded"), "ms": ms}
        time.sleep(0.5)
    return told | {"bystander": bystander.figures()}


@contextmanager
def without(made: Installation, name: str, fault: signal.Signals, port: int) -> Iterator[None]:
    """A server killed (connections are refused) or stopped dead (they are taken and never answered)."""
    process = made.processes[name]
    process.kill(fault) if fault is signal.SIGKILL else _signal_group(process, fault)
    try:
        yield
    finally:
        if fault is signal.SIGKILL:
            process.start()
        else:
            _signal_group(process, signal.SIGCONT)
        ready = made.rabbitmq_answers if name == "rabbitmq" else lambda: listens(port)
        wait_until(ready, name)


def _signal_group(process: Any, number: signal.Signals) -> None:
    os.killpg(process.popen.pid, number)


def healthy(made: Installation) -> bool:
    status, answer, _ = call(made.web_port, "GET", "/health/ready")
    return status == 200 and answer["status"] == "ok"


def staleness(made: Installation) -> dict[str, Any]:
    """How long after `favorites/updated` some process still served the answer of before."""
    seen = []
    for member in range(20, 30):
        post(made, "/recommend", memberId=str(member))
        for _ in range(40):
            call(made.web_port, "GET", f"/recommend/cached/{member}")
        liked = call(made.web_port, "GET", f"/recommend/cached/{member}")[1]["candidates"][0]
        post(
            made,
            "/favorites/updated",
            memberId=str(member),
            action="add_favorite",
            song_data={"song_id": liked["song_id"]},
        )
        began = last_old = time.perf_counter()
        while time.perf_counter() - began < 2:
            asked = time.perf_counter()
            answer = call(made.web_port, "GET", f"/recommend/cached/{member}")[1]
            if liked["song_id"] not in answer["favorite_song_ids"]:
                last_old = asked
        seen.append(round((last_old - began) * 1000, 1))
    return {"processes": WORKERS, "worst_ms": max(seen), "median_ms": statistics.median(seen)}


def stores(options: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with installation() as made:
        made.start_web(workers=WORKERS)
        wait_until(lambda: post(made, "/recommend", memberId="1")[0] == 200, "a first answer")
        for _ in range(8 * WORKERS):  # every process is warm
            call(made.web_port, "POST", "/recommend", {"memberId": "1", "adventure": 0.5})
        post(made, "/recommend", memberId=BYSTANDER)
        figures["nothing"] = measured(made, [*CALLS, WARM])
        figures["an old answer after favorites/updated"] = staleness(made)
        faults = [
            ("mariadb", made.mysql_port, CALLS),
            ("rabbitmq", made.amqp_port, [*CALLS, WARM]),
            ("redis", made.redis_port, CALLS),  # last: no scheduler is here to fill it again
        ]
        for name, port, calls in faults:
            for how, fault in (("refused", signal.SIGKILL), ("hanging", signal.SIGSTOP)):
                wait_until(lambda: healthy(made), "everything well again", seconds=90)
                time.sleep(NOTICED_S)
                say(f"{name} {how} …")
                with without(made, name, fault, port):
                    figures[f"{name} {how}"] = measured(made, calls)
    return figures


# --- The model ------------------------------------------------------------------------------------
def cold_answers(made: Installation, members: range) -> dict[str, Any]:
    """Seconds and sources of cold answers, and what they cost by our ledger."""
    before = made.rows("SELECT COALESCE(MAX(id), 0) FROM prompts_modelcall")[0][0]
    answers = [post(made, "/recommend", memberId=str(member)) for member in members]
    rows = made.rows(
        "SELECT COUNT(*), COALESCE(SUM(tokens_input), 0), COALESCE(SUM(tokens_output), 0)"
        f" FROM prompts_modelcall WHERE id > {before} GROUP BY run_uuid"
    )
    return {
        "answers": len(answers),
        "by": sorted({f"{a['source']}, {a['degraded'] or 'whole'}" for _, a, _ in answers}),
        "median_s": round(statistics.median(ms for *_, ms in answers) / 1000, 2),
        "worst_s": round(max(ms for *_, ms in answers) / 1000, 2),
        "most_calls": max((int(calls) for calls, _, _ in rows), default=0),
        "most_input_tokens": max((int(tokens) for _, tokens, _ in rows), default=0),
        "most_output_tokens": max((int(tokens) for _, _, tokens in rows), default=0),
    }


@contextmanager
def never_answers() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def model(options: argparse.Namespace) -> dict[str, Any]:
    figures = {"answering": _with_model(options.model_url)}
    with never_answers() as url:
        figures["hanging"] = _with_model(url)
    return figures


def _with_model(url: str) -> dict[str, Any]:
    with installation(OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-bench") as made:
        made.start_web(workers=1)
        wait_until(
            lambda: post(made, "/recommend", memberId="1", strategy="fast")[0] == 200, "an answer"
        )
        time.sleep(3)  # the model's client is imported in the background
        return cold_answers(made, range(2, 12))


SCENARIOS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "stores": stores,
    "model": model,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--model-url", default="http://127.0.0.1:18900/v1")
    options = parser.parse_args()
    stop_on_sigterm()
    say(f"{options.scenario} …")
    figures = SCENARIOS[options.scenario](options)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    say(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"faults-{options.scenario}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
