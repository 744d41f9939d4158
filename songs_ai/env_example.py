"""Writes `.env.example` from the settings: python -m songs_ai.env_example > .env.example"""

from __future__ import annotations

import sys
import textwrap

from songs_ai.env import Declared
from songs_ai.settings import BASE_DIR, env

HEAD = """\
# Every setting of Songs AI, the same for `make run` and docker-compose. Copy this file to .env and set what
# you need. A line that is commented out shows the default; an empty value is the same as none.
# Written by: python -m songs_ai.env_example > .env.example
"""
COMPOSE = """
# --- docker-compose only ---
# There the stores default to the ones it starts, and CATALOG_OWNED to 1. With a DATABASE_URL of the shared
# database also set CATALOG_OWNED=0. HOST, DATA_DIR and HEARTBEAT_FILE are fixed; PORT is the port on this host.

# Processes of the web server, of the interactive worker, the nightly worker and the queue's consumer.
# WEB_WORKERS=2
# WORKER_PROCESSES=2
# NIGHTLY_PROCESSES=2
# CONSUMER_PROCESSES=2

# user:password of Flower (docker-compose --profile flower up -d flower).
# FLOWER_BASIC_AUTH=
"""
#: Must be set outside the embedded default, so it stands uncommented.
REQUIRED = "SECRET_KEY"
WIDTH = 110


def example(declared: dict[str, Declared]) -> str:
    """The whole file; the same on every machine."""
    return HEAD + "".join(map(_entry, declared.values())) + COMPOSE


def _entry(setting: Declared) -> str:
    comment = textwrap.fill(
        setting.help, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    mark = "" if setting.name == REQUIRED else "# "
    default = setting.default.replace(f"{BASE_DIR}/", "")
    return f"\n{comment}\n{mark}{setting.name}={default}\n"


if __name__ == "__main__":
    sys.stdout.write(example(env.declared))
