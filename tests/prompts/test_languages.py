"""What staff read about models is there in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

APP = Path(__file__).resolve().parents[2] / "prompts"
SOURCES = ("models/calls.py", "admin/gateway.py", "ledger.py")
WORDS = re.compile(r'_\(\s*"((?:[^"\\]|\\.)*[가-힣][^"]*)"')


@pytest.mark.parametrize("source", SOURCES)
def test_every_korean_sentence_has_an_english_one(source: str) -> None:
    words = WORDS.findall((APP / source).read_text("utf-8"))
    assert words
    with translation.override("en"):
        korean = [word for word in words if re.search("[가-힣]", translation.gettext(word))]
    assert not korean, f"add to locale/en and run `make messages`: {korean}"
