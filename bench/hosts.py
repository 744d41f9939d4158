"""Two worker hosts on one RabbitMQ, one Redis and one MariaDB: what the second adds, and what one that is cut off costs.

python bench/hosts.py              both of these
python bench/hosts.py throughput   one host and two, in turn
python bench/hosts.py cut          one of two loses its network in the middle of the work, and comes back

A host is a network namespace with a name of its own, linked to the stores by a bridge; on it runs what docs/operations.md
says to start on a worker host. The model is bench/fake_model.py, as slow as a hosted one, so that a job is mostly
waiting: both hosts share this machine's processors. Needs root and iproute2; exit code 2 says that they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.installation import (
    Installation,
    declare_as_spring,
    publish_as_spring,
    spring_body,
    wait_until,
)
from bench.jobs import RESULTS, count, populate, say, verdict, with_model

QUEUE = "rec.recommendation.q"
#: 198.18.0.0/15 is set aside for measurements (RFC 2544): no real network is hidden by ours.
SUBNET = f"198.18.{os.getpid() % 256}"
STORES = f"{SUBNET}.1"
BRIDGE = f"songs{os.getpid()}"
#: The longer deadline keeps a host bound by waiting for the model: on a machine that is busy with other work some calls
#: would miss the usual 3.4 s, and their jobs would be quicker for it.
SETTINGS = {"SONGS_AI_CONSUME_QUEUE": "1", "LLM_DEADLINE_S": "15"}
#: Length of the stretches that a cut is told in.
STRETCH_S = 10
#: Jobs a host has done before it counts as running.
WARM_JOBS = 4
NOTE_LIKES_AS_SEEN = "from recommendations.jobs import like_changes; like_changes.look().note()"


class NoNamespaces(Exception):
    """This machine gives us no network namespaces."""


# --- The network ----------------------------------------------------------------------------------
def ip(*arguments: str) -> None:
    """Run iproute2's `ip`. Raises NoNamespaces with its words."""
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoNamespaces(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")


@contextmanager
def bridge() -> Iterator[None]:
    """The network that hosts and stores meet on; the stores' address is on this machine itself."""
    if os.geteuid() != 0:
        raise NoNamespaces("network namespaces need root")
    if shutil.which("ip") is None:
        raise NoNamespaces("`ip` is missing: install iproute2")
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{STORES}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield
    finally:
        with suppress(NoNamespaces):
            ip("link", "delete", BRIDGE)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A worker host: its network, its name, and what runs on it."""

    made: Installation
    name: str
    number: int
    processes: int

    @property
    def namespace(self) -> str:
        return f"{BRIDGE}-{self.name}"

    @property
    def plug(self) -> str:
        """The bridge's end of this host's cable."""
        return f"{BRIDGE}p{self.number}"

    def connect(self) -> None:
        within = ("-n", self.namespace)
        ip("netns", "add", self.namespace)
        ip("link", "add", self.plug, "type", "veth", "peer", "eth0", "netns", self.namespace)
        ip("link", "set", self.plug, "master", BRIDGE, "up")
        ip(*within, "address", "add", f"{SUBNET}.{10 + self.number}/24", "dev", "eth0")
        ip(*within, "link", "set", "lo", "up")
        ip(*within, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Kill what still runs here, then take the network away."""
        for name in (self._consumer, self._worker):
            if name in self.made.processes:
                self.made.processes[name].kill()
        for what in (("link", "delete", self.plug), ("netns", "delete", self.namespace)):
            with suppress(NoNamespaces):
                ip(*what)

    def unplug(self) -> None:
        """Pull the cable: nothing is refused, nothing arrives."""
        ip("link", "set", self.plug, "down")

    def plug_in(self) -> None:
        ip("link", "set", self.plug, "up")

    def start(self) -> None:
        """Start what a worker host runs, with a folder and a name of its own."""
        folder = self.made.folder / self.name
        (folder / "metrics").mkdir(parents=True, exist_ok=True)
        settings = {"DATA_DIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
        rename = ("unshare", "--uts", "sh", "-c", f'hostname {self.name} && exec "$@"', "sh")
        within = ("ip", "netns", "exec", self.namespace, *rename)
        made = self.made
        made.start_worker(self._worker, "songs_ai.default", processes=1, within=within, **settings)
        made.start_consumer(self._consumer, processes=self.processes, within=within, **settings)

    def works(self) -> None:
        """Wait until jobs come out of this host."""
        before = self.done()
        wait_until(lambda: self.done() >= before + WARM_JOBS, f"{self.name}'s first jobs")

    def pause(self) -> None:
        """Stop taking the backend's jobs; what is at work is finished."""
        self.made.processes[self._consumer].stop()

    def resume(self) -> None:
        self.made.processes[self._consumer].start()
        self.works()

    @property
    def _consumer(self) -> str:
        return f"{self.name}-consumer"

    @property
    def _worker(self) -> str:
        return f"{self.name}-worker"

    def stop(self) -> None:
        for name in (self._consumer, self._worker):
            self.made.processes[name].stop()

    def done(self) -> int:
        return count(self.made, f"state = 'succeeded' AND {self.worked}")

    @property
    def worked(self) -> str:
        """Condition on a job: it was this host that took it last."""
        return f"worker LIKE '{self.name}|%'"

    def cpu_s(self) -> float:
        """Seconds of processor that this host's processes have used so far."""
        used = 0.0
        for name in (self._consumer, self._worker):
            process = self.made.processes.get(name)
            if process is None or process.popen is None or not process.running:
                continue
            leader = psutil.Process(process.popen.pid)
            for one in (leader, *leader.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    used += times.user + times.system
        return used


@contextmanager
def two_hosts(options: argparse.Namespace) -> Iterator[tuple[Installation, Host, Host]]:
    """Stores and model on the bridge, and two hosts connected to them on which nothing runs yet."""
    with bridge(), with_model(address=STORES, settings=SETTINGS) as made:
        first, second = (
            Host(made=made, name=f"host-{name}", number=number, processes=options.processes)
            for number, name in enumerate("ab", start=1)
        )
        try:
            first.connect()
            second.connect()
            yield made, first, second
        finally:
            first.remove()
            second.remove()


def start(hosts: tuple[Host, Host]) -> None:
    """Start both, and wait until both work."""
    for host in hosts:
        host.start()
    for host in hosts:
        host.works()


# --- What was done --------------------------------------------------------------------------------
def queue_jobs(made: Installation, number: int) -> dict[str, bytes]:
    """Put a job for each of `number` members into the backend's queue; returns bodies by job."""
    members = populate(made, number)
    made.shell(NOTE_LIKES_AS_SEEN)  # else the hosts would refresh these members besides
    jobs = dict(spring_body(member, strategy="default") for member in members)
    with made.amqp() as channel:
        declare_as_spring(channel)
        for body in jobs.values():
            publish_as_spring(channel, body)
    return jobs


def moment(made: Installation) -> datetime:
    """Now, by the clock that jobs are stamped with."""
    return made.rows("SELECT NOW(6)")[0][0]  # type: ignore[no-any-return]


def rate(made: Installation, since: datetime, until: datetime) -> float:
    """Jobs that succeeded per second."""
    done = count(
        made, f"state = 'succeeded' AND finished_at >= '{since}' AND finished_at < '{until}'"
    )
    return done / (until - since).total_seconds()


# --- One host and two -----------------------------------------------------------------------------
def throughput(options: argparse.Namespace) -> dict[str, Any]:
    with two_hosts(options) as (made, first, second):
        queue_jobs(made, options.jobs)
        hosts = (first, second)
        alone, together = [], []
        start(hosts)
        for round_ in range(options.rounds):
            together.append(measured(made, hosts, options.seconds))
            paused = hosts[round_ % 2]
            paused.pause()
            alone.append(measured(made, hosts, options.seconds))
            paused.resume()
            say(f"  {round_ + 1}: one {alone[-1]}, two {together[-1]}")
        assert made.depth(QUEUE) > 0, "the queue ran dry: more --jobs"
        ratios = [b["per_second"] / a["per_second"] for a, b in zip(alone, together, strict=True)]
        return {
            "processes_a_host": options.processes,
            "cores": os.cpu_count(),
            "one_host": medians(alone),
            "two_hosts": medians(together),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "ratio": round(statistics.median(ratios), 2),
            "answered_by_the_model": answered_by_the_model(made),
        }


def measured(made: Installation, hosts: tuple[Host, Host], seconds: float) -> dict[str, float]:
    """Jobs a second, and processors at work for them and on the whole machine."""
    since, began, cpu_s, idle_s = moment(made), time.monotonic(), used(hosts), idle()
    time.sleep(seconds)
    until, took_s = moment(made), time.monotonic() - began
    return {
        "per_second": round(rate(made, since, until), 2),
        "hosts_cores": round((used(hosts) - cpu_s) / took_s, 2),
        "machine_cores": round((os.cpu_count() or 1) - (idle() - idle_s) / took_s, 2),
    }


def used(hosts: tuple[Host, Host]) -> float:
    return sum(host.cpu_s() for host in hosts)


def idle() -> float:
    times = psutil.cpu_times()
    return times.idle + times.iowait


def medians(windows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(window[name] for window in windows) for name in windows[0]}


def answered_by_the_model(made: Installation) -> float:
    """Share of the jobs that succeeded whose answer the model had a part in."""
    rows = dict(made.rows("SELECT source, COUNT(*) FROM recommendations_run GROUP BY source"))
    return round(rows.get("model", 0) / max(1, sum(rows.values())), 3)


# --- A host that is cut off -----------------------------------------------------------------------
def cut(options: argparse.Namespace) -> dict[str, Any]:
    with two_hosts(options) as (made, first, second):
        jobs = queue_jobs(made, options.jobs)
        made.start_beat()
        start((first, second))
        began = moment(made)
        time.sleep(options.before_s)
        unplugged, held, noticed_s = _cut_off(made, second, options.away_s)
        plugged_in, back_s = _reconnected(made, second)
        working = moment(made)
        time.sleep(options.before_s)
        after = moment(made)
        assert made.depth(QUEUE) > 0, "the queue ran dry: more --jobs"
        wait_until(lambda: _all_ended(made, jobs), "all jobs", seconds=600, every_s=1)
        time.sleep(30)  # what Redis owes within 30 s, and what the cut-off host may still send
        first.stop()
        second.stop()
        return {
            "processes_a_host": options.processes,
            "per_second": {
                "before": round(rate(made, began, unplugged), 2),
                "while one is cut off": round(rate(made, unplugged, plugged_in), 2),
                "after it came back": round(rate(made, working, after), 2),
            },
            "stretches": stretches(made, began, after),
            "cut_off_at_s": round((unplugged - began).total_seconds()),
            "plugged_in_at_s": round((plugged_in - began).total_seconds()),
            "at_work_on_the_cut_off_host": len(held),
            "broker_noticed_after_s": round(noticed_s, 1),
            "those_jobs_ended_after_s": round(_ended_after_s(made, held, unplugged), 1),
            "host_consumed_again_after_s": round(back_s, 1),
            "host_began_a_job_again_after_s": round(_began_again_s(made, second, plugged_in), 1),
            "computed_twice": _computed_twice(made),
            "redis_bytes": redis_bytes(made, jobs),
            "answered_by_the_model": answered_by_the_model(made),
        } | verdict(made, jobs, {}, [])


def _cut_off(made: Installation, host: Host, seconds: float) -> tuple[datetime, list[str], float]:
    """Cut a host off; returns when, the jobs that were at work there, and when the broker noticed."""
    unplugged, began = moment(made), time.monotonic()
    host.unplug()
    held = [
        job
        for (job,) in made.rows(
            f"SELECT uuid FROM recommendations_job WHERE state = 'running' AND {host.worked}"
        )
    ]
    wait_until(lambda: made.consumers(QUEUE) == 1, "the broker to notice", seconds=seconds)
    noticed_s = time.monotonic() - began
    time.sleep(max(0.0, seconds - noticed_s))
    return unplugged, held, noticed_s


def _reconnected(made: Installation, host: Host) -> tuple[datetime, float]:
    """Connect a host again; returns when, and after how long it consumes."""
    plugged_in, began = moment(made), time.monotonic()
    host.plug_in()
    wait_until(lambda: made.consumers(QUEUE) == 2, f"{host.name} to come back", seconds=180)
    return plugged_in, time.monotonic() - began


def _all_ended(made: Installation, jobs: dict[str, bytes]) -> bool:
    return count(made, "state IN ('succeeded', 'failed')") >= len(jobs)


def stretches(made: Installation, since: datetime, until: datetime) -> list[dict[str, int]]:
    """Jobs that succeeded in every STRETCH_S seconds, by the host that ended them."""
    rows = made.rows(
        f"SELECT FLOOR(TIMESTAMPDIFF(SECOND, '{since}', finished_at) / {STRETCH_S}) AS stretch,"
        " SUBSTRING_INDEX(worker, '|', 1), COUNT(*) FROM recommendations_job"
        f" WHERE state = 'succeeded' AND finished_at >= '{since}' GROUP BY 1, 2"
    )
    whole = int((until - since).total_seconds()) // STRETCH_S
    told: list[dict[str, int]] = [{} for _ in range(whole)]
    for stretch, host, done in rows:
        if stretch < whole:
            told[int(stretch)][host] = done
    return told


def _ended_after_s(made: Installation, jobs: list[str], since: datetime) -> float:
    """Seconds until the last of `jobs` had ended."""
    if not jobs:
        return 0.0
    named = ", ".join(f"'{job}'" for job in jobs)
    last = made.rows(f"SELECT MAX(finished_at) FROM recommendations_job WHERE uuid IN ({named})")
    return (last[0][0] - since).total_seconds()  # type: ignore[no-any-return]


def _began_again_s(made: Installation, host: Host, since: datetime) -> float:
    """Seconds until the host took a job after `since`."""
    first = made.rows(
        "SELECT MIN(started_at) FROM recommendations_jobrun"
        f" WHERE {host.worked} AND started_at > '{since}'"
    )
    return (first[0][0] - since).total_seconds()  # type: ignore[no-any-return]


def _computed_twice(made: Installation) -> int:
    """Jobs whose answer was computed more than once; only one of them became the outcome."""
    again = "SELECT job_uuid FROM recommendations_run WHERE job_uuid IS NOT NULL GROUP BY job_uuid HAVING COUNT(*) > 1"
    return int(made.rows(f"SELECT COUNT(*) FROM ({again}) AS again")[0][0])


def redis_bytes(made: Installation, jobs: dict[str, bytes]) -> dict[str, int]:
    """What Redis holds for a member, and for a job while its keys live; medians."""
    members = [json.loads(body)["memberId"] for body in jobs.values()]
    of_member = ("recommend:{}", "songs_ai:meta:{}", "preference:{}", "latest:recommendation:{}")
    of_job = ("job:status:{}", "job:result:{}")
    return {
        "a_member": _median_bytes(made, [[name.format(n) for name in of_member] for n in members]),
        "a_job": _median_bytes(made, [[name.format(job) for name in of_job] for job in jobs]),
    }


def _median_bytes(made: Installation, records: list[list[str]]) -> int:
    redis = made.redis
    return round(
        statistics.median(sum(redis.memory_usage(key) or 0 for key in keys) for keys in records)
    )


# --- The command ----------------------------------------------------------------------------------
SCENARIOS = {"throughput": throughput, "cut": cut}


def keep(scenario: str, figures: dict[str, Any]) -> None:
    """Write a scenario's figures beside the other's."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "hosts.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept[scenario] = figures
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _stopped(*_: object) -> None:
    """Remove everything on the way out, undisturbed by a second signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("stopped")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, help="default: both")
    parser.add_argument("--processes", type=int, default=4, help="of the consumer of each host")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="of one measurement")
    parser.add_argument("--before-s", type=float, default=40.0, help="measured before and after")
    parser.add_argument("--away-s", type=float, default=60.0, help="how long the host is cut off")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stopped)
    for scenario in [options.scenario] if options.scenario else SCENARIOS:
        say(f"{scenario} …")
        try:
            figures = SCENARIOS[scenario](options)
        except NoNamespaces as error:
            print(f"Two hosts can't be set up here: {error}", file=sys.stderr)
            return 2
        say(json.dumps(figures, indent=2, ensure_ascii=False))
        keep(scenario, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
