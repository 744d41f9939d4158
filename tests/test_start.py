"""A web process answers cached reads before it has loaded what they do not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Under the tests' settings (`pytest` is loaded) nothing is loaded in the background meanwhile.
FIRST_READ = """
import json, sys
import pytest
from songs_ai.wsgi import application
from django.core.management import call_command
call_command("migrate", "recommendations", verbosity=0, skip_checks=True)
asked = {"PATH_INFO": "/recommend/cached/1", "REQUEST_METHOD": "GET", "REMOTE_ADDR": "127.0.0.1"}
said = []
application(asked, lambda status, headers: said.append(status))
print(json.dumps([said, sorted(sys.modules)]))
"""


def test_the_admin_and_the_models_client_are_not_loaded_for_the_first_cached_read() -> None:
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_READ],
        cwd=ROOT,
        env=environment | {"OPENAI_API_KEY": "sk-test", "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
    )
    said, modules = json.loads(done.stdout)
    assert said == ["404 Not Found"]
    pages = [name for name in modules if name.endswith(".admin") and "." in name]
    assert set(pages) <= {"django.contrib.admin", "songs_ai.admin"}
    assert not {"openai", "songs_ai.urls"} & set(modules)
