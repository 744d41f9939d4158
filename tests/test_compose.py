"""docker-compose.yml, Dockerfile and .env.example, proved as far as it goes without a container engine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql
import pytest
import yaml

from songs_ai.settings import env
from tests.conftest import free_port, missing_service, missing_tool

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "songs-ai"]
KEPT_RUNNING = [name for name in OURS if name != "setup"]
#: Far more than a quiet machine needs: five processes start at once and each imports SciPy.
HEALTHY_WITHIN_S = 180
#: ${NAME}, ${NAME:-default}, ${NAME:?message}, with a doubled $ standing for itself.
VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\})")


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """Do to a value of the file what docker-compose does."""
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        given = variables.get(match["name"], "")
        return given or (match["text"] if match["kind"] == "-" else "") or ""

    return VARIABLE.sub(replace, value)


# --- The files ------------------------------------------------------------------------------------
def docker_compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("docker-compose")
    if binary is None:
        missing_tool("docker-compose")
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [str(binary), "-f", str(ROOT / "docker-compose.yml"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_docker_compose_accepts_the_file() -> None:
    done = docker_compose("--profile", "flower", "config", SECRET_KEY="x")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    assert set(config["services"]) == set(SERVICES)
    # What we interpolate ourselves below is what docker-compose makes of it.
    ours = interpolate(SERVICES["web"]["environment"], {"SECRET_KEY": "x"})
    assert config["services"]["web"]["environment"] == ours


def test_without_a_secret_key_nothing_starts_and_the_remedy_is_named() -> None:
    done = docker_compose("config")
    assert done.returncode != 0
    assert "Put it into .env" in done.stderr


def test_no_top_level_name_for_the_older_docker_compose() -> None:
    assert "name" not in COMPOSE


def test_no_registry_host_is_named() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert [
        image for image in images if re.search(r"[.:]", image.partition("/")[0]) and "/" in image
    ] == []


def test_every_service_that_stays_has_a_health_check() -> None:
    assert [
        name
        for name, service in SERVICES.items()
        if name != "setup" and "healthcheck" not in service
    ] == []


@pytest.mark.parametrize("name", KEPT_RUNNING)
def test_our_processes_wait_for_healthy_stores_and_for_the_tables(name: str) -> None:
    conditions = {on: what["condition"] for on, what in SERVICES[name]["depends_on"].items()}
    stores = dict.fromkeys(("mysql", "redis", "rabbitmq"), "service_healthy")
    assert conditions == stores | {"setup": "service_completed_successfully"}


def test_ports_are_published_on_this_host_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_networks_own_subnet_is_the_one_let_in_without_a_key() -> None:
    subnet = COMPOSE["networks"]["songs-ai"]["ipam"]["config"][0]["subnet"]
    environment = interpolate(SERVICES["web"]["environment"], {})
    assert environment["SONGS_AI_TRUSTED_NETWORKS"] == subnet
    assert subnet in environment["SONGS_AI_METRICS_NETWORKS"].split(",")


def test_the_alias_is_one_that_django_answers_to() -> None:
    assert SERVICES["web"]["networks"]["songs-ai"]["aliases"] == ["songs-ai"]


def test_every_setting_reaches_the_containers() -> None:
    missing = set(env.declared) - set(SERVICES["web"]["environment"])
    assert not missing, f"add to x-environment in docker-compose.yml: {sorted(missing)}"
    assert all(SERVICES[name]["environment"] == SERVICES["web"]["environment"] for name in OURS)


def test_nothing_runs_as_root() -> None:
    assert re.search(r"^USER songs-ai$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)


def test_env_example_is_what_the_settings_say() -> None:
    """In a process of its own: under pytest a few defaults differ."""
    unset = dict.fromkeys(env.declared, "")
    written = subprocess.run(
        [sys.executable, "-m", "songs_ai.env_example"],
        env=os.environ | unset,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert (ROOT / ".env.example").read_text("utf-8") == written, (
        "run: python -m songs_ai.env_example > .env.example"
    )


def test_every_variable_of_docker_compose_stands_in_env_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    wanted = {match["name"] for match in VARIABLE.finditer(text) if match["name"]}
    known = set(
        re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text("utf-8"), re.M)
    )
    assert wanted <= known


# --- The processes --------------------------------------------------------------------------------
@dataclass(kw_only=True)
class Installation:
    """What stands in for the containers: own database, own virtual host, own folder."""

    folder: Path
    variables: dict[str, str]
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def localised(self, text: str, service: str) -> str:
        for there, here in (
            ("/var/lib/songs-ai", str(self.folder / "data")),
            ("/tmp/songs-ai-alive", str(self.folder / f"{service}-alive")),
            ("0.0.0.0", "127.0.0.1"),
            ("8000", str(self.port)),
        ):
            text = text.replace(there, here)
        return text

    def environment(self, service: str) -> dict[str, str]:
        given = interpolate(SERVICES[service]["environment"], self.variables)
        ours = {name: self.localised(value, service) for name, value in given.items()}
        # `python` must be the one that runs the tests, whatever else is installed.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "OPENBLAS_NUM_THREADS": "1"} | ours

    def command(self, service: str) -> list[str]:
        command = interpolate(SERVICES[service]["command"], self.variables)
        words = shlex.split(command) if isinstance(command, str) else command
        return [self.localised(word, service) for word in words]

    def start(self, service: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{service}.log").open("wb") as log:
            self.processes[service] = subprocess.Popen(
                self.command(service),
                env=self.environment(service),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return self.processes[service]

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text("utf-8", "replace")[-3000:]

    def healthy(self, service: str) -> bool:
        kind, *words = interpolate(SERVICES[service]["healthcheck"]["test"], self.variables)
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(
            [self.localised(word, service) for word in command],
            env=self.environment(service),
            cwd=ROOT,
            capture_output=True,
            timeout=30,
            check=False,
        )
        return done.returncode == 0

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


@pytest.fixture(scope="module")
def own_database() -> Iterator[str]:
    name = f"compose_{uuid4().hex[:8]}"
    try:
        server = pymysql.connect(host="127.0.0.1", port=3306, user="root", password="")
    except pymysql.MySQLError:
        missing_service("MariaDB with root and no password on 127.0.0.1:3306")
    with server, server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        yield f"mysql://root@127.0.0.1:3306/{name}"
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def own_vhost() -> Iterator[str]:
    """A virtual host of this test's own, so that its consumer takes nobody's jobs."""
    control = shutil.which("rabbitmqctl")
    name = f"compose_{uuid4().hex[:8]}"

    def run(*words: str) -> int:
        return subprocess.run(
            [str(control), "-q", *words], capture_output=True, check=False
        ).returncode

    if control is None or run("add_vhost", name):
        missing_service("RabbitMQ on this machine")
    run("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"amqp://guest:guest@127.0.0.1:5672/{name}"
    run("delete_vhost", name)


@pytest.fixture(scope="module")
def installation(
    own_database: str, own_vhost: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    binary = shutil.which("redis-server")
    if binary is None:
        missing_service("redis-server")
    redis_port = free_port()
    made = Installation(
        folder=tmp_path_factory.mktemp("compose"),
        port=free_port(),
        variables={
            "SECRET_KEY": "only for this test",
            "DATABASE_URL": own_database,
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "RABBITMQ_URL": own_vhost,
        },
    )
    (made.folder / "data").mkdir()
    redis = [str(binary), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen([*redis, "--dir", str(made.folder)], stdout=subprocess.DEVNULL) as server:
        try:
            setup = made.start("setup")
            assert setup.wait(timeout=120) == 0, made.log("setup")
            for name in KEPT_RUNNING:
                made.start(name)
            yield made
        finally:
            made.stop()
            server.terminate()


@pytest.mark.services
@pytest.mark.parametrize("name", KEPT_RUNNING)
def test_the_command_runs_until_its_health_check_passes(
    installation: Installation, name: str
) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while not installation.healthy(name):
        code = installation.processes[name].poll()
        assert code is None, f"{name} ended with {code}: {installation.log(name)}"
        assert time.monotonic() < deadline, f"{name} stays unhealthy: {installation.log(name)}"
        time.sleep(0.5)
    assert installation.processes[name].poll() is None


@pytest.mark.services
def test_every_process_ends_when_told_to(installation: Installation) -> None:
    """`docker-compose stop` sends SIGTERM and kills after stop_grace_period."""
    for process in installation.processes.values():
        if process.poll() is None:
            process.terminate()
    for name in KEPT_RUNNING:
        assert installation.processes[name].wait(timeout=40) in {0, -15, 143}, installation.log(
            name
        )
