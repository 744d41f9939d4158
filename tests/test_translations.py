"""Every staff-facing text of the sources is Korean, goes through gettext, and has an English translation."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
APPS = ("infrastructure", "catalog", "prompts", "profiles", "recommendations", "songs_ai")
#: Functions of django.utils.translation, under the names that our sources import them by; how many
#: of their first arguments are message ids.
MESSAGES = {
    "_": 1,
    "gettext": 1,
    "gettext_lazy": 1,
    "gettext_noop": 1,
    "_now": 1,
    "_l": 1,
    "ngettext": 2,
    "ngettext_lazy": 2,
}
HANGUL = re.compile("[가-힣]")
#: Korean that is no staff-facing text, or that is stored as it is and so has one language.
NO_STAFF_TEXT = {
    "infrastructure/audit.py": "the name of the system in stored rows",
    "infrastructure/staff_groups.py": "names of groups in the database",
    "catalog/demo": "songs and members of the demo",
    "catalog/factories.py": "songs and members of the tests",
    "catalog/importing.py": "column names of a songbook file",
    "catalog/management": "both languages in one line: commands know no reader's language",
    "recommendations/management": "both languages in one line: commands know no reader's language",
    "prompts/defaults": "texts for the model",
    "prompts/evaluation/eval_sets.py": "sentences planted into titles",
    "prompts/llm": "names of languages for the model, patterns of text",
    "prompts/versions/contracts.py": "examples for the model",
    "prompts/versions/lint.py": "patterns of text",
    "prompts/versions/rendering.py": "patterns of text",
    "prompts/versions/seeding.py": "a note in stored rows",
    "recommendations/api": "words of callers, examples and texts of the API's documentation",
    "recommendations/learning/training.py": "a note in stored rows",
    "songs_ai/settings/site.py": "a language's name in that language",
    "recommendations/serving": "text for members, in the caller's language, and for the model",
}


def python_files() -> list[Path]:
    return [
        path
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
        if "migrations" not in path.parts
    ]


def templates() -> list[Path]:
    return sorted((ROOT / "templates").rglob("*.html"))


def message_arguments(tree: ast.AST) -> Iterator[ast.expr]:
    """The arguments of gettext calls that are message ids."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            yield from node.args[: MESSAGES.get(name, 0)]
            if name in {"pgettext", "pgettext_lazy"}:  # the first argument tells meanings apart
                yield node.args[1]


def messages_of(source: str) -> set[str]:
    arguments = message_arguments(ast.parse(source))
    return {
        node.value
        for node in arguments
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def template_messages(path: Path) -> set[str]:
    """Message ids of a template: Django turns its tags into gettext calls among lines of blanks."""
    calls = re.findall(
        r"gettext\((u?(?:'|\"|\"\"\").*?)\)\s", templatize(path.read_text("utf-8")) + " "
    )
    found = set()
    for call in calls:
        found |= messages_of(f"gettext({call})")
    return found


@pytest.fixture(scope="module")
def english() -> set[str]:
    with (ROOT / "locale/en/LC_MESSAGES/django.mo").open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    ids = (key[0] if isinstance(key, tuple) else key for key, text in catalog.items() if text)
    return {message.rpartition("\x04")[2] for message in ids}


def korean(messages: set[str]) -> set[str]:
    return {message for message in messages if HANGUL.search(message)}


@pytest.mark.parametrize(
    "path", python_files() + templates(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_message_has_english(path: Path, english: set[str]) -> None:
    found = (
        template_messages(path) if path.suffix == ".html" else messages_of(path.read_text("utf-8"))
    )
    missing = sorted(korean(found) - english)
    assert not missing, f"Add the English to locale/en and run `make messages`: {missing}"


def test_templates_are_read() -> None:
    """A template that could not be read would have no missing message."""
    assert sum(len(template_messages(path)) for path in templates()) > 100


def is_exempt(path: Path) -> bool:
    return any(str(path.relative_to(ROOT)).startswith(start) for start in NO_STAFF_TEXT)


@pytest.mark.parametrize(
    "path",
    [path for path in python_files() if not is_exempt(path)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_korean_goes_through_gettext(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    translated = {id(inner) for node in message_arguments(tree) for inner in ast.walk(node)} | {
        id(node) for node in docstrings(tree)
    }
    bare = [
        f"{node.lineno}: {node.value[:60]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and HANGUL.search(node.value)
        and id(node) not in translated
    ]
    assert not bare, f"{path.relative_to(ROOT)} shows Korean to readers of English: {bare}"


def docstrings(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def test_a_message_has_one_english() -> None:
    """The project's catalog overrides an app's: an entry that stands in both would never be seen in the app's."""
    seen: dict[str, Path] = {}
    for path in sorted(ROOT.glob("**/locale/en/LC_MESSAGES/django.po")):
        if ".venv" in path.parts:
            continue
        for entry in re.split(r"\n\s*\n", path.read_text("utf-8")):
            found = re.search(r'^(msgctxt ".*"\n)?msgid ((?:".*"\n?)+)', entry, flags=re.M)
            if found is None or found[2].strip() == '""':
                continue
            assert found[0] not in seen, f"{found[0]} stands in {seen[found[0]]} and {path}"
            seen[found[0]] = path
