"""Staff read Korean in the source; translations are complete and compiled."""

from __future__ import annotations

import gettext
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: English for what we say in Korean, Korean for what other applications say in English.
CATALOGS = sorted(ROOT.glob("**/locale/*/LC_MESSAGES/django.po"))
CATALOGS = [path for path in CATALOGS if ".venv" not in path.parts]
_ENTRY = re.compile(
    r'^(?:msgctxt "(.*)"\n)?msgid ((?:".*"\n)+)(?:msgid_plural.*\n)?msgstr(?:\[0\])? ((?:".*"\n?)+)',
    re.M,
)


def entries(path: Path) -> dict[tuple[str, str], str]:
    """(context, msgid) → msgstr of a catalog, the header left out."""
    found = _ENTRY.findall(path.read_text("utf-8") + "\n")
    return {(context, _text(key)): _text(text) for context, key, text in found if _text(key)}


def _text(quoted: str) -> str:
    joined = "".join(line[1:-1] for line in quoted.strip().splitlines())
    return joined.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_string_has_its_translation(path: Path) -> None:
    missing = [key for key, text in entries(path).items() if not text]
    assert not missing, f"translate these and run `make messages`: {missing[:10]}"
    assert "#, fuzzy" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_compiled_catalog_is_the_written_one(path: Path) -> None:
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    wrong = [
        key
        for (context, key), text in entries(path).items()
        if (compiled.pgettext(context, key) if context else compiled.gettext(key)) != text
    ]
    assert not wrong, f"run `make messages`: {wrong[:10]}"
