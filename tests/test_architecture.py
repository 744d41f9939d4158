"""Holds the one rule: imports point downward."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Top first. A package imports only those that stand after it.
LAYERS = (
    "songs_ai",
    "recommendations",
    "profiles",
    "prompts",
    "catalog",
    "infrastructure",
    "engine",
)
#: The engine computes on values: nothing that does I/O, knows Django or reads a clock.
FORBIDDEN_IN_ENGINE = {
    "django",
    "redis",
    "celery",
    "openai",
    "requests",
    "rest_framework",
    "time",
    "random",
}


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a module imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_downward(layer: str) -> None:
    above = set(LAYERS[: LAYERS.index(layer)])
    offenders = {
        str(path.relative_to(ROOT)): sorted(imported_names(path) & above)
        for path in (ROOT / layer).rglob("*.py")
        if imported_names(path) & above
    }
    assert not offenders, (
        f"{layer} may import only {LAYERS[LAYERS.index(layer) + 1 :]}: {offenders}"
    )


def test_the_engine_is_pure() -> None:
    offenders = {
        str(path.relative_to(ROOT)): sorted(imported_names(path) & FORBIDDEN_IN_ENGINE)
        for path in (ROOT / "engine").rglob("*.py")
        if imported_names(path) & FORBIDDEN_IN_ENGINE
    }
    assert not offenders, f"the engine takes time, chance and data as arguments: {offenders}"


def test_bench_stands_without_the_tests() -> None:
    """Tests use the servers and the fake model of bench; a bench that imported tests back would be a circle."""
    offenders = [
        path.name for path in (ROOT / "bench").rglob("*.py") if "tests" in imported_names(path)
    ]
    assert not offenders, f"what both need belongs into bench: {offenders}"
