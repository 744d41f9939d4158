"""Kills and freezes the processes and stores of an installation at random, and restarts what died."""

from __future__ import annotations

import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
import pymysql
import redis
import yaml

from bench.installation import ROOT, Installation, wait_until

#: Our processes, by their names in docker-compose.yml.
PROCESSES = ("web", "worker", "nightly", "beat", "consumer")
STORES = ("mariadb", "redis", "rabbitmq")
RESTART_AFTER_S = 1.0
#: A store recovers while everything else wants the same processors.
STORE_BACK_WITHIN_S = 180.0
#: Pages of a broker that has less memory than this watermark are all in use: it takes no message.
NO_MEMORY = ("set_vm_memory_high_watermark", "absolute", "1MB")
USUAL_MEMORY = ("set_vm_memory_high_watermark", "0.4")
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


# --- Processes ------------------------------------------------------------------------------------
def commands(port: int) -> dict[str, list[str]]:
    """The command lines of docker-compose.yml with their default settings, for this machine."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    here = {"python": sys.executable, "0.0.0.0": "127.0.0.1", "8000": str(port)}
    return {
        name: [
            here.get(word, word)
            for word in shlex.split(_DEFAULT.sub(r"\1", services[name]["command"]))
        ]
        for name in PROCESSES
    }


def start_processes(made: Installation) -> None:
    for name, command in commands(made.web_port).items():
        heartbeat = str(made.folder / f"alive-{name}")
        made.start(name, *command, HEARTBEAT_FILE=heartbeat)


class Keeper(threading.Thread):
    """A restart policy: what dies takes its children with it and is started again a second later."""

    def __init__(self, made: Installation) -> None:
        super().__init__(daemon=True, name="keeper")
        self.made = made
        self.stopped = threading.Event()
        self.restarts: Counter[str] = Counter()
        self.up_since = dict.fromkeys(PROCESSES, time.monotonic())
        self._due: dict[str, float] = {}

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            for name in PROCESSES:
                if not self.made.processes[name].running:
                    self._restart_in_time(name)

    def _restart_in_time(self, name: str) -> None:
        process, now = self.made.processes[name], time.monotonic()
        self.up_since[name] = now
        if name not in self._due:
            process.send(signal.SIGKILL)  # a container ends with its first process
            self._due[name] = now + RESTART_AFTER_S
        elif now >= self._due[name]:
            del self._due[name]
            self.restarts[name] += 1
            process.start()

    def up_s(self, name: str) -> float:
        """For how long a process has been there."""
        return time.monotonic() - self.up_since[name]


# --- What is away ---------------------------------------------------------------------------------
class Outages:
    """What is killed or frozen now, and when each thing came back."""

    def __init__(self) -> None:
        self._now: Counter[str] = Counter()
        self._back_at: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, names: Sequence[str]) -> Iterator[None]:
        with self._lock:
            self._now.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._now.subtract(names)
                self._back_at |= dict.fromkeys(names, time.monotonic())

    def away(self, names: Sequence[str], *, within_s: float) -> list[str]:
        """Those of `names` that are away now or were within the last seconds."""
        since = time.monotonic() - within_s
        with self._lock:
            return [n for n in names if self._now[n] > 0 or self._back_at.get(n, 0.0) > since]


# --- Disasters ------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long disasters last, in seconds: shortest and longest."""

    frozen: tuple[float, float]
    down: tuple[float, float]
    #: From the first store's return to the second's.
    between_stores: float
    alarm: float
    between_processes: tuple[float, float]
    between_outages: tuple[float, float]


FULL = Pace(
    frozen=(5, 20),
    down=(1, 12),
    between_stores=55,  # longer than a worker waits for the database
    alarm=20,
    between_processes=(4, 10),
    between_outages=(8, 20),
)
QUICK = Pace(
    frozen=(5, 8),
    down=(1, 5),
    between_stores=20,
    alarm=8,
    between_processes=(2, 5),
    between_outages=(4, 8),
)


@dataclass(frozen=True, kw_only=True)
class Disaster:
    """Something that happens to `names`; over when they are back."""

    what: str
    names: tuple[str, ...]
    happen: Callable[[], None]


class Disasters:
    """All that can happen to one installation."""

    def __init__(self, made: Installation, pace: Pace, rng: random.Random) -> None:
        self.made, self.pace, self.rng = made, pace, rng

    def to_processes(self) -> list[Disaster]:
        found = []
        for name in PROCESSES:
            found += [
                Disaster(
                    what=f"{name}: SIGKILL", names=(name,), happen=lambda n=name: self._kill(n)
                ),
                Disaster(
                    what=f"{name}: SIGSTOP", names=(name,), happen=lambda n=name: self._freeze(n)
                ),
            ]
            if name != "beat":  # it has no children
                found += [
                    Disaster(
                        what=f"a child of {name}: SIGKILL",
                        names=(name,),
                        happen=lambda n=name: self._kill_child(n),
                    ),
                    Disaster(
                        what=f"a child of {name}: SIGSTOP",
                        names=(name,),
                        happen=lambda n=name: self._freeze_child(n),
                    ),
                ]
        return found

    def to_stores(self) -> list[Disaster]:
        found = []
        for name in STORES:
            found += [
                Disaster(
                    what=f"{name}: SIGKILL",
                    names=(name,),
                    happen=lambda n=name: self._kill_stores(n),
                ),
                Disaster(
                    what=f"{name}: SIGSTOP",
                    names=(name,),
                    happen=lambda n=name: self._freeze_store(n),
                ),
            ]
        for first, second in (("rabbitmq", "mariadb"), ("mariadb", "rabbitmq")):
            found.append(
                Disaster(
                    what=f"{first}, {second} and consumer: SIGKILL; {first} is back first",
                    names=(first, second, "consumer"),
                    happen=lambda a=first, b=second: self._kill_stores(a, b, consumer=True),
                )
            )
        alarm = Disaster(what="rabbitmq: memory alarm", names=("rabbitmq",), happen=self._alarm)
        return [*found, alarm]

    # --- Processes --------------------------------------------------------------------------------
    def _kill(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(self.made.processes[name].pid).kill()
        time.sleep(RESTART_AFTER_S * 2)

    def _freeze(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.made.processes[name].pid)
            self._freeze_all([leader, *leader.children(recursive=True)])

    def _kill_child(self, name: str) -> None:
        for child in self._a_child(name):
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _freeze_child(self, name: str) -> None:
        self._freeze_all(self._a_child(name))

    def _a_child(self, name: str) -> list[psutil.Process]:
        """One child that does the work; none while the process starts."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.made.processes[name].pid).children(recursive=True)
            working = [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]
            return self.rng.sample(working, min(1, len(working)))
        return []

    def _freeze_all(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        time.sleep(self.rng.uniform(*self.pace.frozen))
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    # --- Stores -----------------------------------------------------------------------------------
    def _kill_stores(self, *names: str, consumer: bool = False) -> None:
        for name in names:
            self.made.processes[name].kill()
        if consumer:
            self.made.processes["consumer"].send(signal.SIGKILL)
        time.sleep(self.rng.uniform(*self.pace.down))
        for name in names:
            if name != names[0]:
                time.sleep(self.pace.between_stores)
            self.made.processes[name].start()
            self._wait_for(name)

    def _freeze_store(self, name: str) -> None:
        self.made.processes[name].send(signal.SIGSTOP)
        try:
            time.sleep(self.rng.uniform(*self.pace.frozen))
        finally:
            self.made.processes[name].send(signal.SIGCONT)
        self._wait_for(name)

    def _alarm(self) -> None:
        self.made.rabbitmqctl(*NO_MEMORY)
        time.sleep(self.pace.alarm)
        self.made.rabbitmqctl(*USUAL_MEMORY)

    def _wait_for(self, name: str) -> None:
        wait_until(lambda: answers(self.made, name), f"{name} again", seconds=STORE_BACK_WITHIN_S)


def answers(made: Installation, name: str) -> bool:
    if name == "rabbitmq":
        return made.rabbitmq_answers()
    with suppress(pymysql.MySQLError, redis.RedisError):
        return bool(made.rows("SELECT 1") if name == "mariadb" else made.redis.ping())
    return False


class Lane(threading.Thread):
    """One disaster after the other: all of them in random order, then again until the time is up."""

    def __init__(
        self,
        disasters: Sequence[Disaster],
        *,
        outages: Outages,
        pauses: tuple[float, float],
        seconds: float,
        rng: random.Random,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(daemon=True, name="lane")
        self.disasters, self.outages, self.pauses, self.seconds = (
            disasters,
            outages,
            pauses,
            seconds,
        )
        self.rng, self.say = rng, say
        self.stopped = threading.Event()
        self.happened: list[str] = []
        #: Why the lane ended early: the bench itself is at fault then.
        self.broke = ""

    def run(self) -> None:
        began = time.monotonic()
        try:
            for disaster in self._in_random_order():
                if self.stopped.wait(self.rng.uniform(*self.pauses)):
                    return
                self.say(f"  {time.monotonic() - began:5.0f} s  {disaster.what}")
                self.happened.append(disaster.what)
                with self.outages.of(disaster.names):
                    disaster.happen()
        except (AssertionError, OSError, psutil.Error, subprocess.SubprocessError) as error:
            self.broke = f"{self.happened[-1]}: {error!r}"

    def _in_random_order(self) -> Iterator[Disaster]:
        until = time.monotonic() + self.seconds
        yield from self.rng.sample(self.disasters, len(self.disasters))
        while True:
            for disaster in self.rng.sample(self.disasters, len(self.disasters)):
                if time.monotonic() > until:
                    return
                yield disaster
