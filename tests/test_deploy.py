"""deploy/: the configuration of the neighbours that watch and front us, checked with their own tools."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from django.test import Client

from tests.conftest import missing_tool

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "songs-ai.json").read_text("utf-8"))
#: What a metric's kind puts behind its name.
PARTS = {"histogram": ("_bucket", "_sum", "_count")}
#: The names that an outside Prometheus already scrapes (contract of the service).
AGREED_NAMES = (
    "songs_ai_recommendations_total",
    "songs_ai_recommendation_duration_seconds",
    "songs_ai_ai_analysis_success_rate",
    "songs_ai_cache_hit_rate",
    "cpu_usage_percent",
    "memory_usage_bytes",
    "disk_io_operations_total",
    "network_bytes_total",
)


def check(*command: str, folder: Path = PROMETHEUS) -> None:
    """Run a tool; skipped where it is not installed."""
    if shutil.which(command[0]) is None:
        missing_tool(command[0])
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))
    from_rules = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return from_rules + panels


def test_prometheus_accepts_its_configuration() -> None:
    check("promtool", "check", "config", "prometheus.yml")


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    check("promtool", "test", "rules", "rules_test.yml")


def test_alertmanager_accepts_its_configuration() -> None:
    check("amtool", "check-config", "alertmanager.yml")


def test_nginx_accepts_the_sample(tmp_path: Path) -> None:
    """With a certificate made for this test, in a folder of its own."""
    key, certificate = tmp_path / "songs-ai.key", tmp_path / "songs-ai.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=songs-ai"
    check(*request.split(), "-keyout", str(key), "-out", str(certificate))
    site = (DEPLOY / "nginx.conf").read_text("utf-8").replace("/etc/ssl/", f"{tmp_path}/")
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {site} }}"
    (tmp_path / "nginx.conf").write_text(whole, "utf-8")
    check("nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))


def test_the_dashboard_shows_every_agreed_figure() -> None:
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    assert [name for name in AGREED_NAMES if name not in shown] == []


def test_panels_have_titles_and_ids_of_their_own() -> None:
    assert all(panel["title"] for panel in DASHBOARD["panels"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_recorded_figures_that_are_used_are_recorded() -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))
    recorded = {
        rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule
    }
    used = {name for text in expressions() for name in re.findall(r"songs_ai:[a-z0-9_:]+", text)}
    assert used <= recorded


def names_of(exposition: str) -> set[str]:
    """Every name that /metrics can show, also those nothing was counted under yet."""
    names = set()
    for line in exposition.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            names |= {name + part for part in PARTS.get(kind, ("",))}
    return names


def test_every_figure_that_is_asked_for_is_exported(client: Client) -> None:
    """An alert on a name that nobody exports never fires."""
    words = {
        word
        for text in expressions()
        for word in re.findall(
            r"(?<![\w:{])[a-z_]+(?:_total|_bucket|_sum|_count|_rate|_percent|_bytes)\b", text
        )
    }
    assert len(words) > 10
    assert words - names_of(client.get("/metrics").content.decode("utf-8")) == set()
