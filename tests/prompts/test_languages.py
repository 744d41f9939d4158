"""What staff read about models is there in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

APP = Path(__file__).resolve().parents[2] / "prompts"
#: A message that is one literal; what is put together of several starts like one and is left to `make messages`.
WORDS = re.compile(r'\b(?:_|gettext)\(\s*"((?:[^"\\]|\\.)*[가-힣][^"]*)"\s*\)')
SOURCES = sorted(
    str(path.relative_to(APP))
    for path in APP.rglob("*.py")
    if "migrations" not in path.parts and WORDS.search(path.read_text("utf-8"))
)


@pytest.mark.parametrize("source", SOURCES)
def test_every_korean_sentence_has_an_english_one(source: str) -> None:
    words = WORDS.findall((APP / source).read_text("utf-8"))
    assert words
    with translation.override("en"):
        korean = [word for word in words if re.search("[가-힣]", translation.gettext(word))]
    assert not korean, f"add to locale/en and run `make messages`: {korean}"
