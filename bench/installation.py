"""A whole installation on free ports in a temporary folder: servers of its own, which it may kill, and our processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import amqp
import pymysql
import redis

ROOT = Path(__file__).resolve().parents[1]
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
LOOPBACK = "127.0.0.1"


def available() -> bool:
    """Whether this machine has the servers' programs."""
    programs = ("mariadbd", "mariadb-install-db", "redis-server")
    return all(shutil.which(name) for name in programs) and RABBITMQ.exists()


def free_port(address: str = LOOPBACK) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_until(
    true: Callable[[], Any], what: str, *, seconds: float = 60.0, every_s: float = 0.2
) -> Any:
    """Wait for something to become true; fails with its name."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(every_s)
    return value


def listens(port: int, address: str = LOOPBACK) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex((address, port)) == 0


class Process:
    """One process, in a group of its own, with its output in a file."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command, self.log = list(command), log
        self.environment = dict(os.environ if environment is None else environment)
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                process_group=0,
            )
        return self

    @property
    def pid(self) -> int:
        """Of the leader; it must have been started."""
        assert self.popen is not None
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the whole group and wait for its leader."""
        if self.popen is None:
            return
        self.send(number)
        self.popen.wait(60)

    def stop(self, seconds: float = 40.0) -> None:
        """SIGTERM to the leader, as a supervisor does; SIGKILL if it does not end in time."""
        if self.popen is None or not self.running:
            return
        self.popen.terminate()
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Installation:
    """MariaDB, Redis and RabbitMQ of one's own, and the processes of Songs AI on them.

    The servers and the model listen on `address`. On another one than loopback whoever reaches it may use them.
    """

    def __init__(self, folder: Path, *, address: str = LOOPBACK, **settings: str) -> None:
        self.folder, self.address = folder, address
        folder.chmod(0o777)
        self.mysql_port, self.redis_port, self.amqp_port = (free_port(address) for _ in range(3))
        self.web_port = free_port()
        self.processes: dict[str, Process] = {}
        (folder / "metrics").mkdir(exist_ok=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")},
            "SECRET_KEY": uuid.uuid4().hex,
            "DATABASE_URL": f"mysql://root@{address}:{self.mysql_port}/songs",
            "REDIS_URL": f"redis://{address}:{self.redis_port}/0",
            "RABBITMQ_URL": f"amqp://guest:guest@{address}:{self.amqp_port}//",
            "CATALOG_OWNED": "1",
            "DATA_DIR": str(folder / "data"),
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
            "PORT": str(self.web_port),
            "SONGS_AI_ADMIN_PASSWORD": uuid.uuid4().hex,
            "SONGS_AI_CONSUME_QUEUE": "1",
            "LOG_LEVEL": "INFO",
            **settings,
        }

    # --- Servers ----------------------------------------------------------------------------------
    def start_servers(self) -> None:
        self.start_mariadb()
        self.start_redis()
        self.start_rabbitmq()
        wait_until(lambda: listens(self.mysql_port, self.address), "MariaDB")
        with self.mysql(database=None) as cursor:
            cursor.execute("CREATE DATABASE IF NOT EXISTS songs CHARACTER SET utf8mb4")
        wait_until(self.rabbitmq_answers, "RabbitMQ")

    def start_mariadb(self, *options: str) -> None:
        self._start_mariadbd("mariadb", self.folder / "mysql", self.mysql_port, *options)

    def start_replica(self) -> int:
        """A second MariaDB that follows the first, which must write a binary log; returns its port."""
        port = free_port(self.address)
        self._start_mariadbd(
            "replica", self.folder / "replica", port, "--server-id=2", "--read-only"
        )
        wait_until(lambda: listens(port, self.address), "the replica")
        with self.mysql(database=None, port=port) as cursor:
            cursor.execute(
                f"CHANGE MASTER TO MASTER_HOST='{self.address}', MASTER_PORT={self.mysql_port},"
                " MASTER_USER='root', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
            )
            cursor.execute("START SLAVE")
        return port

    def _start_mariadbd(self, name: str, data: Path, port: int, *options: str) -> None:
        if not data.exists():
            subprocess.run(
                [
                    *("mariadb-install-db", "--no-defaults", f"--datadir={data}"),
                    *("--auth-root-authentication-method=normal", "--skip-test-db"),
                    f"--user={_user()}",
                ],
                check=True,
                capture_output=True,
            )
        self._start(
            name,
            [
                *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}"),
                *(f"--bind-address={self.address}", f"--socket={data}.sock"),
                *self._grants(),
                *options,
                *(f"--user={_user()}", "--innodb-buffer-pool-size=256M"),
                *("--default-time-zone=+09:00", "--character-set-server=utf8mb4"),
            ],
        )

    def _grants(self) -> tuple[str, ...]:
        """What lets root in from other hosts; a fresh MariaDB knows it on this one only."""
        if self.address == LOOPBACK:
            return ()
        grants = self.folder / "grants.sql"
        grants.write_text(
            "CREATE USER IF NOT EXISTS root@'%';\nGRANT ALL ON *.* TO root@'%';\n", "utf-8"
        )
        return f"--init-file={grants}", "--skip-name-resolve"

    def start_redis(self) -> None:
        self._start(
            "redis",
            [
                *("redis-server", "--port", str(self.redis_port), "--bind", self.address),
                *("--protected-mode", "no", "--save", "", "--dir", str(self.folder)),
            ],
        )

    def start_rabbitmq(self) -> None:
        home = self.folder / "rabbitmq"
        home.mkdir(exist_ok=True)
        (home / "plugins").write_text("[].\n")
        dist = self.environment.setdefault("_RABBIT_DIST", str(free_port()))
        environment = dict(os.environ) | {
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"songs{self.amqp_port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.address,
            "RABBITMQ_NODE_PORT": str(self.amqp_port),
            "RABBITMQ_DIST_PORT": dist,
            "RABBITMQ_MNESIA_BASE": str(home),
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "none"),
            # guest may come from other hosts too
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1:1 -rabbit loopback_users []",
        }
        self._start("rabbitmq", [str(RABBITMQ)], environment=environment)

    def rabbitmq_answers(self) -> bool:
        try:
            with self.amqp():
                return True
        except (OSError, amqp.AMQPError):
            return False

    def rabbitmqctl(self, *arguments: str, seconds: float = 60.0) -> None:
        """Run a command of the own broker's control program."""
        subprocess.run(
            [
                str(RABBITMQ.with_name("rabbitmqctl")),
                *("-n", f"songs{self.amqp_port}@localhost", *arguments),
            ],
            env=dict(os.environ) | {"HOME": str(self.folder / "rabbitmq")},
            capture_output=True,
            check=True,
            timeout=seconds,
        )

    def _start(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> Process:
        process = Process(command, log=self.folder / f"{name}.log", environment=environment)
        self.processes[name] = process.start()
        return process

    # --- Our processes ----------------------------------------------------------------------------
    def manage(self, *arguments: str, seconds: float = 300.0) -> str:
        """Run a command of manage.py to its end; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def shell(self, code: str) -> str:
        return self.manage("shell", "-v", "0", "-c", code)

    def start(self, name: str, *command: str, **settings: str) -> Process:
        return self._start(name, command, environment=self.environment | settings)

    def start_consumer(
        self,
        name: str = "consumer",
        *,
        processes: int = 2,
        within: Sequence[str] = (),
        **settings: str,
    ) -> Process:
        """within: a command that runs it somewhere else, in a network namespace for instance."""
        command = (sys.executable, "manage.py", "consume", "--processes", str(processes))
        return self.start(name, *within, *command, **settings)

    def start_worker(
        self,
        name: str,
        queue: str,
        *,
        processes: int = 2,
        within: Sequence[str] = (),
        **settings: str,
    ) -> Process:
        return self.start(
            name,
            *within,
            *(sys.executable, "-m", "celery", "-A", "songs_ai", "-q", "--skip-checks", "worker"),
            *("-n", f"{name}@%h", "-Q", queue, "-c", str(processes), "--loglevel", "INFO"),
            **settings,
        )

    def start_beat(self, name: str = "beat") -> Process:
        return self.start(
            name,
            *(sys.executable, "-m", "celery", "-A", "songs_ai", "-q", "--skip-checks", "beat"),
            *("--pidfile=", "--loglevel", "INFO"),
        )

    def start_web(self, *, workers: int = 2) -> Process:
        web = self.start(
            "web",
            *(sys.executable, "-m", "granian", "--interface", "rsgi"),
            *("songs_ai.rsgi:application", "--host", "127.0.0.1", "--port", str(self.web_port)),
            *("--workers", str(workers), "--no-ws"),
        )
        wait_until(lambda: listens(self.web_port), "the web server")
        return web

    def start_model(self, **options: float) -> str:
        """A model as slow as a hosted one, in a process of its own; returns its address."""
        port = free_port(self.address)
        named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        here = (f"--host={self.address}", f"--port={port}")
        self.start("model", sys.executable, "-m", "bench.fake_model", *here, *named)
        wait_until(lambda: listens(port, self.address), "the model")
        return f"http://{self.address}:{port}/v1"

    def restart(self, name: str) -> None:
        """Kill a process with SIGKILL and start it again."""
        self.processes[name].kill()
        self.processes[name].start()

    def stop(self) -> None:
        servers = ("mariadb", "replica", "redis", "rabbitmq")
        for name, process in reversed(self.processes.items()):
            if name not in servers:
                process.stop(5)
                process.kill()
        for name in servers:
            if name in self.processes:
                self.processes[name].kill()

    # --- Looking at them --------------------------------------------------------------------------
    @contextlib.contextmanager
    def mysql(self, database: str | None = "songs", *, port: int | None = None) -> Iterator[Any]:
        """A cursor on the database, or on the replica's if that is its port."""
        connection = pymysql.connect(
            host=self.address,
            port=port or self.mysql_port,
            user="root",
            database=database,
            autocommit=True,
            charset="utf8mb4",
        )
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.mysql() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def amqp(self) -> Iterator[amqp.Channel]:
        connection = amqp.Connection(
            f"{self.address}:{self.amqp_port}",
            "guest",
            "guest",
            confirm_publish=True,
            connect_timeout=3,
        )
        connection.connect()
        try:
            yield connection.channel()
        finally:
            with contextlib.suppress(OSError, amqp.AMQPError):
                connection.close()

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis(host=self.address, port=self.redis_port, socket_timeout=2)

    def depth(self, queue: str) -> int:
        """Messages ready in a queue; unacknowledged ones are not counted."""
        with self.amqp() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def consumers(self, queue: str) -> int:
        """How many consumers of a queue the broker believes to be alive."""
        with self.amqp() as channel:
            return int(channel.queue_declare(queue, passive=True).consumer_count)

    def drain(self, queue: str) -> list[amqp.Message]:
        """Take everything out of a queue; bodies are the bytes that were sent."""
        taken = []
        with self.amqp() as channel:
            channel.auto_decode = False
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                taken.append(message)
        return taken


def _user() -> str:
    return "root" if os.geteuid() == 0 else (os.environ.get("USER") or "nobody")


@contextlib.contextmanager
def installation(*, address: str = LOOPBACK, **settings: str) -> Iterator[Installation]:
    """Servers running, tables and demo there; everything is stopped and removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-"))
    made = Installation(folder, address=address, **settings)
    try:
        made.start_servers()
        made.manage("prepare")
        yield made
    finally:
        made.stop()
        if not os.environ.get("KEEP_FOLDERS"):
            shutil.rmtree(folder, ignore_errors=True)


# --- The backend's side ---------------------------------------------------------------------------
def declare_as_spring(channel: amqp.Channel) -> None:
    """What songs_be declares when it starts (contract §3), written out once more on purpose."""
    channel.exchange_declare("rec.exchange", "direct", durable=True, auto_delete=False)
    channel.exchange_declare("rec.dlx", "direct", durable=True, auto_delete=False)
    _declare(
        channel,
        "rec.recommendation.q",
        "rec.exchange",
        "recommendation.generate",
        {
            "x-dead-letter-exchange": "rec.dlx",
            "x-dead-letter-routing-key": "recommendation.generate.dlq",
        },
    )
    for seconds in (5, 30, 120):
        _declare(
            channel,
            f"rec.recommendation.retry.{seconds}s.q",
            "rec.dlx",
            f"recommendation.generate.retry.{seconds}s",
            {
                "x-message-ttl": seconds * 1000,
                "x-dead-letter-exchange": "rec.exchange",
                "x-dead-letter-routing-key": "recommendation.generate",
            },
        )
    _declare(channel, "rec.recommendation.dlq", "rec.dlx", "recommendation.generate.dlq", {})


def _declare(
    channel: amqp.Channel, queue: str, exchange: str, key: str, arguments: dict[str, Any]
) -> None:
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
    channel.queue_bind(queue, exchange, key)


#: Jackson writes an Instant as decimal seconds with nanoseconds; more digits than a double holds.
_MESSAGE = (
    '{{"jobId":"{job}","memberId":{member},"favoriteSongIds":{favorites},"strategy":"{strategy}",'
    '"topK":{top_k},"locale":{locale},"source":"login","requestedAt":{at}.123456789,'
    '"idempotencyKey":null,"traceId":"{trace}","modelVersion":"v1","attempt":0,"novelty":0.50}}'
)


def spring_body(
    member: int | str,
    *,
    job: uuid.UUID | None = None,
    favorites: list[int] | None = None,
    strategy: str = "fast",
    top_k: int = 20,
    locale: str | None = "ko",
) -> tuple[str, bytes]:
    """(job id, body) of a message as songs_be writes it, with a field that we do not know."""
    job_id = str(job or uuid.uuid4())
    text = _MESSAGE.format(
        job=job_id,
        member=member,
        favorites=json.dumps(favorites),
        strategy=strategy,
        top_k=top_k,
        locale=json.dumps(locale),
        at=int(time.time()),
        trace=uuid.uuid4(),
    )
    return job_id, text.encode()


def publish_as_spring(
    channel: amqp.Channel,
    body: bytes,
    *,
    headers: Mapping[str, Any] | None = None,
    confirm_timeout_s: float | None = None,
) -> None:
    message = amqp.Message(
        body,
        content_type="application/json",
        content_encoding="UTF-8",
        delivery_mode=2,
        priority=0,
        application_headers={
            "__TypeId__": "com.utabox.recommendation.RecommendationMessage",
            **(headers or {}),
        },
    )
    channel.basic_publish(
        message,
        "rec.exchange",
        "recommendation.generate",
        confirm_timeout=confirm_timeout_s,
    )
