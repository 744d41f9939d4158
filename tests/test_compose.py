"""docker-compose.yml, Dockerfile and .env.example, proved as far as it goes without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from songs_ai.settings import env
from tests.conftest import missing_service

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "songs-ai"]
KEPT_RUNNING = [name for name in OURS if name != "setup"]
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
        missing_service("docker-compose")
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
