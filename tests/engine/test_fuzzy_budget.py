"""Names that are not exact are looked up as far as a budget goes; exact names always."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from engine.catalog.catalog import Catalog
from engine.catalog.search.fuzzy_budget import LETTERS_PER_LOOKUP, FuzzyBudget
from engine.catalog.search.index import SearchIndex
from engine.catalog.search.query import resolve_names
from engine.types import SongView
from tests.engine.conftest import NOW

SONGS = (
    SongView(song_id=1, title_jp="Lemon", title_kr="레몬", artist="米津玄師", artist_kr="요네즈 켄시"),
    SongView(song_id=2, title_jp="紅蓮華", title_kr="홍련화", artist="LiSA", artist_kr="리사"),
    SongView(song_id=3, title_jp="残酷な天使のテーゼ", title_kr="잔혹한 천사의 테제", artist="高橋洋子"),
)  # fmt: skip


@dataclass(frozen=True)
class Named:
    title: str
    artist: str = ""
    genre: str = ""


@pytest.fixture(scope="module")
def index() -> SearchIndex:
    return SearchIndex.build(Catalog.build(SONGS, likes=[], now=NOW))


def test_an_exact_name_takes_nothing_from_the_budget(index):
    budget = FuzzyBudget(letters=0)
    found = resolve_names(
        index, [Named("Lemon", "米津玄師"), Named("홍련화", "리사")], budget=budget
    )
    assert [match.row for match in found] == [0, 1]
    assert budget.letters == 0


def test_an_inexact_name_is_found_within_the_budget_and_not_beyond_it(index):
    slip = Named("잔혹한 천사의 테재")
    assert resolve_names(index, [slip])[0].row == 2
    cost = LETTERS_PER_LOOKUP + len("잔혹한천사의테재")
    assert resolve_names(index, [slip], budget=FuzzyBudget(letters=cost))[0].row == 2
    assert resolve_names(index, [slip], budget=FuzzyBudget(letters=cost - 1))[0].row is None


def test_the_shortest_names_come_first_and_results_keep_the_order(index):
    long, short = Named("가나다라" * 75, "마바사아" * 75), Named("잔혹한 천사의 테재")
    budget = FuzzyBudget(letters=1_000)
    found = resolve_names(index, [long, short, Named("Lemon")], budget=budget)
    assert [match.row for match in found] == [None, 2, 0]


def test_the_budget_is_never_overdrawn(index):
    budget = FuzzyBudget(letters=5_000)
    resolve_names(index, [Named(f"{n:03d}" * 100, "x" * 300) for n in range(200)], budget=budget)
    assert 0 <= budget.letters < LETTERS_PER_LOOKUP + 600
