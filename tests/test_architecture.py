"""Holds the one rule: imports point downward."""

from __future__ import annotations

import ast
import re
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


# --- What the documents say of the tree -----------------------------------------------------------
DOCUMENTS = ("docs/architecture.md", "CONTRIBUTING.md")
PACKAGES = (*LAYERS, "bench", "tests")
#: A path of this repository in backticks, if need be with a name defined in it: `engine/types.py:Query`.
NAMED_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*(?:/|\.\w+))(?::([\w.]+))?`")
#: Written by a start or a build, or an address below another root.
NOT_IN_THE_TREE = {"migrations/", "locale/", "decisions/", ".env"}


def named_paths(document: str) -> set[tuple[str, str]]:
    """Paths with a folder or a known suffix that a document names, each with the name behind the colon."""
    text = (ROOT / document).read_text("utf-8")
    known = {".py", ".md", ".toml", ".txt", ".yml", ".po", ".example"}
    return {
        (path, name)
        for path, name in NAMED_PATH.findall(text)
        if path.endswith("/") or Path(path).suffix in known
    } - {(path, "") for path in NOT_IN_THE_TREE}


def defined_names(path: Path) -> set[str]:
    """Classes, functions and variables of a module, and methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if hasattr(inner, "name")}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_every_folder_with_modules_stands_in_the_tree() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    listed = set(re.findall(r"^([\w/]+)/ {2,}\S", text, re.M))
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "migrations" not in path.parts
    }
    assert not folders - listed, "docs/architecture.md, The tree: these folders are missing"
    assert not {folder for folder in listed if not (ROOT / folder).is_dir()}, "these are gone"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    missing = {
        f"{path}:{name}" if name else path
        for path, name in named_paths(document)
        if not (ROOT / path).exists() or (name and name not in defined_names(ROOT / path))
    }
    assert not missing, f"{document} names what is not there"


@pytest.mark.parametrize("part", RANK)
def test_every_part_of_recommendations_is_there(part: str) -> None:
    assert (RECOMMENDATIONS / part).is_dir() or (RECOMMENDATIONS / f"{part}.py").is_file()
