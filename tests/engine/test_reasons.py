"""Reasons claim only what holds."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from engine.catalog.catalog import Catalog
from engine.presentation.reasons import shares_of
from engine.presentation.vocabulary import describing
from engine.presentation.wording import CRITERIA, REASONS
from engine.ranking.recommend import recommend, run
from engine.scoring.similar import similar
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import (
    Activity,
    Candidate,
    Context,
    Locale,
    Signal,
    SignalType,
    Slate,
    SongView,
    TimeOfDay,
)
from tests.engine.conftest import NOW, likes, query, song

SONGS = {n: song(n) for n in range(1, 241)}
WORLD = Catalog.build(SONGS.values(), likes=likes(), now=NOW)
UNTRAINED = Model.untrained(WORLD.corpus)
FAN = (4, 12, 20, 28, 5, 13, 21, 29)


def ask(*favorites: int, **changes: object) -> Slate:
    return recommend(query(*favorites, **changes), catalog=WORLD, model=UNTRAINED)


def test_evidence_is_liked_and_its_shares_add_up_to_at_most_one():
    for candidate in ask(*FAN).shortlist:
        assert {e.song_id for e in candidate.evidence} <= set(FAN)
        assert 0 <= sum(e.share for e in candidate.evidence) <= 1.001
        shares = [e.share for e in candidate.evidence]
        assert shares == sorted(shares, reverse=True)


def test_shares_are_exact_where_the_scorer_is_additive():
    draft = run(query(*FAN), catalog=WORLD, model=UNTRAINED, settings=EngineSettings())
    assert draft.rows is not None
    content = UNTRAINED.scorers(WORLD.corpus)["content"]
    only_content = replace(draft, parts={"content": draft.parts["content"]})
    row = draft.rows[:1]
    said = content.contributions(draft.taste.known, int(row[0]))
    # One scorer alone: each liked song's share is its part of that scorer's sum.
    assert np.allclose(shares_of(only_content, row)[0], said / said.sum(), atol=1e-5)


def same_artist(candidate: Candidate) -> bool:
    return candidate.song.artist in {SONGS[n].artist for n in FAN}


def test_same_artist_is_said_exactly_when_it_is_so():
    for candidate in ask(*FAN).shortlist:
        said = "같은 가수" in candidate.matched_criteria
        assert said == same_artist(candidate)
        if "의 다른 노래예요" in candidate.reason:
            assert same_artist(candidate)


def test_liked_together_is_said_only_of_songs_two_members_like():
    both: dict[tuple[int, int], int] = {}
    by_member: dict[int, set[int]] = {}
    for member, liked, _ in likes():
        by_member.setdefault(member, set()).add(liked)
    for candidate in ask(*FAN).shortlist:
        if "함께 좋아한 곡" in candidate.matched_criteria:
            mine = candidate.evidence[0].song_id
            both[mine, candidate.song.song_id] = sum(
                {mine, candidate.song.song_id} <= liked for liked in by_member.values()
            )
    assert both
    assert min(both.values()) >= 2


def test_a_named_genre_is_a_good_part_of_the_likes():
    slate = ask(*FAN)
    own = {name for kind in ("genre", "mood") for name, share in slate.taste[kind] if share >= 0.1}
    for candidate in slate.shortlist:
        for criterion in candidate.matched_criteria:
            if ": " in criterion:
                assert criterion.split(": ")[1] in own


def test_a_quoted_song_is_one_the_member_likes():
    titles = {SONGS[n].title_kr for n in FAN}
    for candidate in ask(*FAN).shortlist:
        assert set(re.findall("「(.+?)」", candidate.reason)) <= titles


def test_exploration_says_so():
    explored = [c for c in ask(*FAN).shortlist if c.recommendation_type == "random"]
    assert explored
    for candidate in explored:
        assert candidate.matched_criteria[0] == "새로운 시도"
        assert "한 걸음" in candidate.reason


def test_a_newcomer_is_told_nothing_about_his_likes():
    for candidate in ask().shortlist:
        assert not re.search("좋아하셔서|평소|「", candidate.reason)
        assert candidate.evidence == ()


def test_not_every_reason_is_the_same():
    reasons = [re.sub("「.+?」", "", c.reason) for c in ask(*FAN).shortlist[:20]]
    assert len(set(reasons)) >= 5


def test_particles_follow_the_titles():
    songs = [
        SongView(song_id=1, title_kr="레몬", artist="A", genre="록"),
        SongView(song_id=2, title_kr="아이돌", artist="A", genre="록"),
        SongView(song_id=3, title_kr="나비", artist="B", genre="팝"),
        SongView(song_id=4, title_kr="바다", artist="B", genre="팝"),
    ]
    world = Catalog.build(songs, now=NOW)
    for liked, particle in ((1, "「레몬」을 부른"), (3, "「나비」를 부른")):
        slate = recommend(query(liked), catalog=world, model=Model.untrained(world.corpus))
        assert slate.shortlist[0].reason.startswith(particle)


@pytest.mark.parametrize("locale", list(Locale))
def test_every_language_says_every_thing(locale: Locale):
    assert set(REASONS[locale]) == set(REASONS[Locale.KO])
    assert set(CRITERIA[locale]) == set(CRITERIA[Locale.KO])
    for candidate in ask(*FAN, locale=locale).shortlist:
        assert candidate.reason
        assert "{" not in candidate.reason


def test_a_play_counts_as_evidence_at_once():
    sung = Signal(song_id=8, type=SignalType.SANG, at=NOW)
    evidence = {e.song_id for c in ask(signals=(sung,)).shortlist for e in c.evidence}
    assert evidence == {8}


class TestSimilar:
    def test_songs_like_one_are_like_it(self):
        found = similar([8], catalog=WORLD, model=UNTRAINED, now=NOW, limit=5)
        assert len(found) == 5
        assert found[0].song.artist == SONGS[8].artist
        assert 8 not in [c.song.song_id for c in found]

    def test_several_seeds_are_all_heard(self):
        found = similar([4, 5], catalog=WORLD, model=UNTRAINED, now=NOW, limit=10)
        assert {SONGS[4].artist, SONGS[5].artist} <= {c.song.artist for c in found}

    def test_nobody_is_said_to_like_them(self):
        for locale in Locale:
            for candidate in similar(
                [4, 5], catalog=WORLD, model=UNTRAINED, now=NOW, locale=locale
            ):
                assert not re.search("좋아하셔서|お好き|you like", candidate.reason)
                assert candidate.recommendation_type == "preference"

    @pytest.mark.parametrize("seeds", [[], [999]])
    def test_nothing_is_like_nothing(self, seeds: list[int]):
        assert similar(seeds, catalog=WORLD, model=UNTRAINED, now=NOW) == ()


def sentences(slate: Slate) -> list[str]:
    return [candidate.reason for candidate in slate.shortlist]


@pytest.mark.parametrize(
    ("kind", "said"), [(SignalType.SANG, "부르셔서"), (SignalType.COMPLETE, "관심을 보이셔서")]
)
def test_a_song_that_was_sung_or_played_is_not_said_to_be_liked(kind: SignalType, said: str):
    reasons = sentences(ask(signals=(Signal(song_id=8, type=kind, at=NOW),)))
    assert not [reason for reason in reasons if "좋아하셔서" in reason]
    assert [reason for reason in reasons if said in reason]


@pytest.mark.parametrize("locale", [Locale.JA, Locale.EN])
def test_no_korean_word_stands_in_a_japanese_or_english_sentence(locale: Locale):
    strange = [
        song(
            n, mood="얼큰한", genre="뽕짝", anime="어느 만화", title_jp=f"曲{n}", artist=f"A{n % 4}"
        )
        for n in range(1, 61)
    ]
    world = Catalog.build(strange, likes=likes(), now=NOW)
    slate = recommend(
        query(1, 2, 3, locale=locale), catalog=world, model=Model.untrained(world.corpus)
    )
    assert not [c for c in slate.shortlist if re.search("[가-힣]", c.reason)]
    assert any("同じ作品" in c.reason or "same anime" in c.reason for c in slate.shortlist), (
        "what has no name in that language is said without it"
    )


@pytest.mark.parametrize(
    ("mood", "before_a_noun"),
    [
        ("감성적", "감성적인"),  # known
        ("에너지", "에너지 넘치는"),
        ("목가적", "목가적인"),  # by its ending
        ("달콤한", "달콤한"),
        ("빛나는", "빛나는"),
        ("여름밤", "여름밤 느낌의"),
    ],
)
def test_a_mood_is_said_as_korean_says_it(mood: str, before_a_noun: str):
    assert describing(Locale.KO, mood) == before_a_noun


def test_a_step_away_is_only_said_of_an_artist_the_member_has_not_heard():
    heard = {SONGS[n].artist for n in FAN}
    for seed in range(8):
        for candidate in ask(*FAN, seed=seed).shortlist:
            if "한 걸음" in candidate.reason:
                assert candidate.song.artist not in heard


def test_many_members_are_at_least_five():
    pair = [(member, n, NOW) for member in (1, 2) for n in (1, 2, 3)]
    crowd = [(member, 4, NOW) for member in range(10, 15)]
    world = Catalog.build([song(n) for n in range(1, 61)], likes=[*pair, *crowd], now=NOW)
    slate = recommend(query(), catalog=world, model=Model.untrained(world.corpus))
    popular = {c.song.song_id for c in slate.shortlist if "인기곡" in c.matched_criteria}
    assert popular == {4}


def test_new_is_not_said_where_everything_is_new():
    world = Catalog.build([song(n, created_at=NOW) for n in range(1, 61)], now=NOW)
    slate = recommend(query(), catalog=world, model=Model.untrained(world.corpus))
    assert not [c for c in slate.shortlist if "새로 들어온" in c.reason]


def test_a_reason_names_the_moment_and_what_suits_it():
    night = Context(activity=Activity.SLEEP, time_of_day=TimeOfDay.NIGHT)
    reasons = sentences(ask(*FAN, context=night))
    assert "잠들기 전에 어울리는 잔잔한 노래예요." in reasons
    asked = [c for c in ask(*FAN, context=Context(mood="잔잔")).shortlist if "찾으신" in c.reason]
    assert asked
    assert {c.song.mood for c in asked} == {"잔잔"}
