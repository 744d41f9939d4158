"""The bench with two worker hosts tells a machine that can't hold them apart from one that is slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_without_namespaces_it_says_what_is_missing_and_measures_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "bench/hosts.py", "cut"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},  # no `ip` there, and nobody needs to be root for this test
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "root" in done.stderr or "iproute2" in done.stderr
