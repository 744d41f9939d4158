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


# --- Inside recommendations -----------------------------------------------------------------------
RECOMMENDATIONS = ROOT / "recommendations"
#: Top first: a part imports those below it, and parts of its own rank only where they are one folder.
PARTS = (
    ("apps", "management"),
    ("api", "admin"),
    ("tasks",),
    ("schedules",),
    ("jobs",),
    ("prompt_inputs", "learning"),
    ("services",),
    ("serving",),
    ("locks", "metrics"),
    ("models", "errors", "staff_groups", "audit_verbs"),
)
RANK = {part: rank for rank, parts in enumerate(PARTS) for part in parts}


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(RECOMMENDATIONS).with_suffix("").parts)
    return name.removesuffix(".__init__").removesuffix("__init__")


def imports_within(path: Path) -> set[str]:
    """Modules of `recommendations` that a module imports, named from there ("serving.request")."""
    modules = {module_name(other) for other in RECOMMENDATIONS.rglob("*.py")} - {""}
    package = path.relative_to(ROOT).parent.parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, *(node.module or "").split("."))).strip(".")
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            inner = name.removeprefix("recommendations.")
            if inner == name:
                continue
            longest = inner if inner in modules else inner.rpartition(".")[0]
            if longest in modules:
                found.add(longest)
    return found


def recommendation_modules() -> dict[str, set[str]]:
    paths = [path for path in RECOMMENDATIONS.rglob("*.py") if "migrations" not in path.parts]
    return {module_name(path): imports_within(path) for path in paths if module_name(path)}


def test_parts_of_recommendations_import_downward() -> None:
    offenders = {
        (module, imported)
        for module, imports in recommendation_modules().items()
        for imported in imports
        if (part := module.split(".")[0]) != (other := imported.split(".")[0])
        and RANK[part] >= RANK[other]
    }
    assert not offenders, f"a part of recommendations imports only those after it: {offenders}"


def test_no_modules_of_recommendations_import_in_a_circle() -> None:
    remaining = recommendation_modules()
    while free := {name for name, imports in remaining.items() if not imports & set(remaining)}:
        remaining = {name: imports for name, imports in remaining.items() if name not in free}
    # A package and its modules may name each other: `models/__init__` lists what its files define.
    assert not remaining, f"imports in a circle, or above one: {sorted(remaining)}"
