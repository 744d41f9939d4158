"""Closed sets that staff read are enums with a Korean label and an English one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import models
from django.utils import translation

from infrastructure.audit import declared_verbs, verb_label
from prompts.admin import versions  # noqa: F401 - loads every module of the studio that holds an enum
from prompts.models import Api
from prompts.versions import rollouts  # noqa: F401
from recommendations.models.jobs import JobSource

ROOT = Path(__file__).resolve().parent.parent
HANGUL = re.compile("[가-힣]")
#: Names of programming interfaces, the same in both languages.
TECHNICAL = {Api}


#: Labels that are the same word in Korean.
INTERNATIONAL = {JobSource.API}
PACKAGES = ("infrastructure.", "catalog.", "prompts.", "profiles.", "recommendations.")


def our_enums() -> Iterator[type[models.TextChoices]]:
    for enum in models.TextChoices.__subclasses__():
        if enum.__module__.startswith(PACKAGES) and enum not in TECHNICAL:
            yield enum


MEMBERS = [
    pytest.param(member, id=f"{enum.__name__}.{member.name}")
    for enum in dict.fromkeys((*declared_verbs(), *our_enums()))
    for member in enum
    if member not in INTERNATIONAL
]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_has_a_label_in_both_languages(member: models.TextChoices) -> None:
    with translation.override("ko"):
        assert HANGUL.search(str(member.label)), "give it a Korean label"
    with translation.override("en"):
        english = str(member.label)
    assert english
    assert not HANGUL.search(english), "add it to locale/en and run `make messages`"


def test_every_app_that_records_declares_its_verbs() -> None:
    assert {enum.__module__.partition(".")[0] for enum in declared_verbs()} == {
        "infrastructure",
        "prompts",
        "profiles",
        "recommendations",
    }


def verb_literals() -> set[str]:
    """Verbs written as text in a call, anywhere in the code."""
    found = set()
    for package in ("infrastructure", "catalog", "prompts", "profiles", "recommendations"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "verb":
                    values = ast.walk(node.value)
                    found |= {leaf.value for leaf in values if isinstance(leaf, ast.Constant)}
    return {value for value in found if isinstance(value, str) and value != "taste."}


def test_every_verb_in_the_code_is_declared() -> None:
    known = {str(verb) for enum in declared_verbs() for verb in enum}
    assert verb_literals() <= known


def test_a_verb_that_no_app_declares_is_shown_as_stored() -> None:
    assert verb_label("song.renamed") == "song.renamed"
    with translation.override("en"):
        assert verb_label("job.cancel") == "Cancelled a job"
