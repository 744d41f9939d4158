"""A published version reaches every process within two seconds, with and without Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4
#: What a process may take to serve the new version (the promise), and what a busy test machine gets on top.
PROMISE_S, SLACK_S = 2.0, 3.0

LISTENER = """
import sys, time, django
django.setup()
from prompts.versions.resolution import resolve
print(resolve("curation", "1").label, flush=True)
deadline = time.time() + 60
while time.time() < deadline:
    if resolve("curation", "1").label == "curation@2":
        print(time.time(), flush=True)
        break
    time.sleep(0.02)
"""

PUBLISHER = """
import time, django
django.setup()
from prompts.versions import drafts, releases, review
from prompts.models import PromptTemplate
from prompts.versions.actor import Actor
from prompts.versions.drafts import Body
template = PromptTemplate.objects.get(slug="curation")
live = template.live_version
body = Body(system_text=live.system_text + " 밝게.", user_text=live.user_text, params=live.params, note="x")
version = drafts.create_draft(template, body, actor=Actor())
review.submit(version, actor=Actor())
template.refresh_from_db()
releases.publish(version, seen_lock=template.lock_version, actor=Actor(reason="시험"))
print(time.time(), flush=True)
"""


def environment(folder: Path, redis_url: str) -> dict[str, str]:
    own = {"DATABASE_URL", "CATALOG_DATABASE_URL", "REDIS_URL", "RABBITMQ_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "songs_ai.settings",
        "DATA_DIR": str(folder),
        "REDIS_URL": redis_url,
        "SECRET_KEY": "for this test",
        "PYTHONPATH": str(ROOT),
        "PROMPTS_POLL_S": "0.5",
    }


def python(code: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def publish_and_watch(env: dict[str, str]) -> list[float]:
    """Seconds from the publish to its effect, per process."""
    migrate = [sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"]
    subprocess.run(migrate, env=env, cwd=ROOT, check=True)
    listeners = [python(LISTENER, env) for _ in range(PROCESSES)]
    assert [_line(listener) for listener in listeners] == ["curation@1"] * PROCESSES
    published = float(_line(python(PUBLISHER, env)))
    return [float(_line(listener)) - published for listener in listeners]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    if process.poll() is not None or said.replace(".", "").isdigit():
        process.wait(timeout=30)
        process.stdout.close()
    return said


@pytest.mark.slow
def test_without_redis_the_database_tells(tmp_path: Path) -> None:
    began = time.monotonic()
    took = publish_and_watch(environment(tmp_path, ""))
    assert max(took) <= PROMISE_S + SLACK_S, took
    assert time.monotonic() - began < 300
