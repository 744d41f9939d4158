"""Builds the catalog in a process of its own: `python -m catalog.build_process` loads this app and no other.

The admin, the API and the task queue stay unloaded, which halves the time until a change shows.
"""

from __future__ import annotations

import os

import django
from django.conf import settings

#: Lower CPU priority than the processes that serve requests.
NICENESS = 5


def main() -> None:
    os.nice(NICENESS)
    # Whichever process started it: whole tables take longer than a request would wait.
    os.environ["SONGS_AI_PROCESS"] = "building"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
    settings.INSTALLED_APPS = ["catalog"]
    django.setup()
    from catalog import snapshot  # noqa: PLC0415 - models load after the app

    snapshot.snapshots().build()


if __name__ == "__main__":
    main()
