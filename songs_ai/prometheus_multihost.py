"""Lets containers count into one folder (PROMETHEUS_MULTIPROC_DIR): process ids repeat in them, host names do not.

Imported before anything that counts.
"""

from __future__ import annotations

import os
import socket

#: "_" separates the parts of a file's name.
HOST = socket.gethostname().replace("_", "-")

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    from prometheus_client import values

    # prometheus_client asks for the identity at every count, so a fork gets files of its own.
    values.ValueClass = values.MultiProcessValue(lambda: f"{HOST}-{os.getpid()}")
