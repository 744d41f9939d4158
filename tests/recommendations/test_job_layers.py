"""Jobs do not import what stands above them: schedules, tasks, HTTP and admin pages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "recommendations"
ABOVE = {
    "jobs": {"schedules", "tasks", "api", "admin"},
    "schedules": {"tasks", "api", "admin"},
}


@pytest.mark.parametrize("folder", ABOVE)
def test_imports_point_downward_within_recommendations(folder: str) -> None:
    offenders = {
        path.name: sorted(_siblings(path) & ABOVE[folder])
        for path in (ROOT / folder).glob("*.py")
        if _siblings(path) & ABOVE[folder]
    }
    assert not offenders


def _siblings(path: Path) -> set[str]:
    """Modules of `recommendations` that a module of one of its folders imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            first = (node.module or "").split(".")[0]
            found |= {first} if first else {alias.name for alias in node.names}
    return found
