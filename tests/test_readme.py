"""The README says what the code does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import figures

ROOT = Path(__file__).resolve().parent.parent


def test_the_table_of_settings_is_the_codes_own() -> None:
    """In a process of its own: the tests' settings differ from those of a new user."""
    unset = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    code = (
        "from songs_ai import readme; text = readme.README.read_text('utf-8');"
        "raise SystemExit(0 if readme.written(text) == text else 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=unset,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"README.md lists other settings than songs_ai/settings: run `python -m songs_ai.readme`.\n{done.stderr}"
    )


@pytest.mark.parametrize("page", figures.pages(), ids=lambda page: page.name)
def test_the_figures_are_the_results_own(page: Path) -> None:
    text = figures.rendered(page, figures.pages()[page])
    assert text == page.read_text("utf-8"), "Run `python bench/figures.py`."


def test_the_readme_shows_eight_figures() -> None:
    rows = figures.pages()[figures.README].splitlines()[2:]
    assert len(rows) == len(figures.IN_README), "A row that the README names is in no result."
