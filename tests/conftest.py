"""Fixtures for the whole suite, and the rule that no test leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import translation

from catalog import snapshot
from infrastructure import database
from infrastructure.redis import gate
from profiles import services as profiles
from recommendations.serving import impressions

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> Any:
    """Refuse to connect anywhere but to this machine: a test that needs the world is wrong."""
    if self.family in {socket.AF_INET, socket.AF_INET6}:
        host = address[0]
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
        if not local:
            raise RuntimeError(f"A test tried to reach {host}. Use a fake server on 127.0.0.1.")
    return _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", _loopback_only)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _no_background_writes() -> None:
    """Tests flush by themselves: a thread that wakes up later would find another test's database, or none."""
    impressions.FLUSH_EVERY_S = 86_400.0


@pytest.fixture(autouse=True)
def _process_forgets() -> Iterator[None]:
    """What a process remembers (catalog, favourites, a database that failed) belongs to one test."""
    yield
    snapshot.clear_cache()
    database.guard.reset()
    profiles.clear_cache()
    translation.activate(settings.LANGUAGE_CODE)  # a page in English leaves English behind


def missing_service(name: str) -> None:
    """Skip for want of a service; where all of them must be there, fail."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{name} is not there, but REQUIRE_SERVICES=1.")
    pytest.skip(f"needs {name}")


def missing_tool(name: str) -> None:
    """Skip for want of a program that only checks our files; where CI installed them, fail."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(f"{name} is not installed, but REQUIRE_TOOLS=1.")
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test's own, which it may flush; yields its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing_service("redis-server")
    port = free_port()
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


@pytest.fixture
def shared_redis(own_redis: str, settings) -> Iterator[str]:
    """Django and the stores use a Redis of this test's own."""
    settings.REDIS_URL = own_redis
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": own_redis,
            "OPTIONS": {"SOCKET_TIMEOUT": 1.0, "SOCKET_CONNECT_TIMEOUT": 1.0},
        }
    }
    gate.reset()
    yield own_redis
    gate.reset()


def _wait_for_port(port: int, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on port {port} after {seconds} s")
