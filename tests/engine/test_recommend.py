"""What every answer of the engine keeps, whoever asks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalog.catalog import Catalog
from engine.ranking.draft import WINDOW
from engine.ranking.explain import explain, explain_stored
from engine.ranking.notes import Note, NoteCode
from engine.ranking.recommend import rank, recommend
from engine.training.model import Model
from engine.types import (
    Activity,
    Context,
    Exclude,
    ImpressionCount,
    Only,
    Preference,
    Query,
    Signal,
    SignalType,
    Slate,
    Strategy,
)
from tests.engine.conftest import NOW, likes, query, song


def ids(slate: Slate, count: int | None = None) -> list[int]:
    return [c.song.song_id for c in slate.shortlist[:count]]


def notes(slate: Slate) -> list[Note]:
    return [note for step in slate.trace for note in step.notes]


@pytest.fixture
def ask(catalog: Catalog, model: Model):
    def _ask(*favorites: int, **changes: object) -> Slate:
        return recommend(query(*favorites, **changes), catalog=catalog, model=model)

    return _ask


WORLD = Catalog.build([song(n) for n in range(1, 61)], likes=likes(), now=NOW)
UNTRAINED = Model.untrained(WORLD.corpus)
ANY_ID = st.integers(1, 70)
QUERIES = st.builds(
    Query,
    member_key=st.just("1"),
    favorite_ids=st.lists(ANY_ID, max_size=60, unique=True).map(tuple),
    signals=st.lists(
        st.builds(Signal, song_id=ANY_ID, type=st.sampled_from(SignalType), at=st.just(NOW)),
        max_size=6,
    ).map(tuple),
    exclude=st.builds(
        Exclude,
        song_ids=st.frozensets(ANY_ID, max_size=5),
        artists=st.frozensets(st.sampled_from(["Ado", "리사"])),
        genres=st.frozensets(st.sampled_from(["록"])),
    ),
    only=st.builds(Only, karaoke=st.frozensets(st.sampled_from(["tj", "ky"]))),
    count=st.integers(1, 50),
    strategy=st.sampled_from(Strategy),
    adventure=st.none() | st.floats(0, 1),
    diversity=st.none() | st.floats(0, 1),
    seed=st.integers(0, 5),
    now=st.just(NOW),
)


@settings(max_examples=120, deadline=None)
@given(asked=QUERIES)
def test_promises_hold_for_any_query(asked: Query):
    slate = recommend(asked, catalog=WORLD, model=UNTRAINED)
    shown = ids(slate)
    # Nothing liked, blocked or barred; nothing twice; never more than there is.
    assert not set(shown) & {*asked.favorite_ids, *asked.exclude.song_ids}
    assert not set(shown) & _refused(asked)
    assert len(shown) == len(set(shown))
    artists = {c.song.artist for c in slate.shortlist}
    assert not artists & {
        "Ado" if "Ado" in asked.exclude.artists else "",
        "LiSA" if "리사" in asked.exclude.artists else "",
    }
    assert not [
        c for c in slate.shortlist if "록" in c.song.genre.split(", ") and asked.exclude.genres
    ]
    for machine in asked.only.karaoke:
        assert all(getattr(c.song, f"{machine}_number") for c in slate.shortlist)
    # Groups: nobody alone, nobody twice, everybody on the shortlist, always a heading.
    placed = [place for group in slate.groups for place in group.members]
    assert len(placed) == len(set(placed))
    assert all(2 <= len(group.members) <= 6 for group in slate.groups)
    assert all(0 <= place < len(shown) for place in placed)
    assert all(0 < len(group.tagline) <= 20 and group.label for group in slate.groups)
    for candidate in slate.shortlist:
        assert 0 < candidate.match_score <= 1
        assert candidate.recommendation_type in ("preference", "random")
        assert candidate.reason
    json.dumps(slate.why)


def _refused(asked: Query) -> set[int]:
    """Songs whose last word is a dislike or whose like stands."""
    last = {}
    for signal in asked.signals:
        if signal.type in (SignalType.LIKE, SignalType.PLAYLIST, SignalType.DISLIKE):
            last[signal.song_id] = signal.type
        elif signal.type in (SignalType.UNLIKE, SignalType.RATING):
            last.pop(signal.song_id, None)
    return set(last)


def test_the_same_query_gives_the_same_slate(ask):
    assert ask(1, 9, 17, seed=3).shortlist == ask(1, 9, 17, seed=3).shortlist


def test_another_seed_explores_other_songs(ask):
    drawn = {
        tuple(
            c.song.song_id for c in ask(1, 9, seed=s).shortlist if c.recommendation_type == "random"
        )
        for s in range(6)
    }
    assert len(drawn) > 1


def test_two_of_twenty_are_labelled_exploration(ask):
    slate = ask(1, 9, 17)
    kinds = Counter(c.recommendation_type for c in slate.shortlist[:20])
    assert kinds == {"preference": 18, "random": 2}
    # The best songs stay on top: exploration stands at the end of each ten.
    assert [n for n, c in enumerate(slate.shortlist[:20]) if c.recommendation_type == "random"] == [
        9,
        19,
    ]


def test_an_artist_fills_at_most_three_of_twenty(ask):
    slate = ask(1, 2, 3)
    artists = Counter(c.song.artist for c in slate.shortlist[:WINDOW])
    assert max(artists.values()) <= 3


def test_an_artist_asked_for_by_name_may_fill_the_list(ask):
    slate = ask(1, only=Only(artists=frozenset({"아도"})))
    assert {c.song.artist for c in slate.shortlist} == {"Ado"}
    assert len(slate.shortlist) > 3


def test_what_one_likes_comes_first(ask):
    # Songs 8, 16, 24 are 米津玄師's (song_id % 8 == 0).
    slate = ask(8, 16, 24)
    assert slate.shortlist[0].song.artist == "米津玄師"


def test_a_new_member_gets_a_varied_popular_start(ask):
    slate = ask()
    assert len(slate.shortlist) >= 20
    assert {1, 2} & set(ids(slate, 6)), "songs 1 and 2 are everybody's favourites"
    assert len({c.song.artist for c in slate.shortlist[:8]}) >= 4
    assert slate.groups


def test_an_empty_catalog_gives_an_empty_slate():
    empty = Catalog.build([], now=NOW)
    slate = recommend(query(1, 2), catalog=empty, model=Model.untrained(empty.corpus))
    assert slate.shortlist == ()
    assert slate.groups == ()
    assert slate.unknown_favorites == (1, 2)


def test_all_songs_liked_leaves_nothing_and_says_so(ask):
    slate = ask(*range(1, 61))
    assert slate.shortlist == ()
    assert NoteCode.ONLY_FAVORITES_LEFT in {note.code for note in notes(slate)}


def test_unknown_favourites_are_reported(ask):
    slate = ask(1, 999)
    assert (slate.known_favorites, slate.unknown_favorites) == ((1,), (999,))


def test_known_songs_may_come_again_when_allowed(ask):
    assert 1 in ids(ask(1, 9, allow_known=True))


def test_a_barred_genre_is_gone_and_the_trace_says_staff(ask):
    barred = Preference(kind="genre", name="록", weight=-1, source="staff")
    slate = ask(4, 7, preferences=(barred,))
    assert not [c for c in slate.shortlist if "록" in c.song.genre.split(", ")]
    barred = [note for note in notes(slate) if note.code is NoteCode.BARRED]
    assert [(note.source, note.name) for note in barred] == [("staff", "록")]


@pytest.mark.parametrize("source", ["staff", "model"])
def test_a_preference_lifts_its_songs(ask, source: str):
    wanted = Preference(kind="mood", name="잔잔", weight=1, source=source)
    before, after = ask(2, 10), ask(2, 10, preferences=(wanted,))

    def calm(slate: Slate) -> int:
        return sum(c.song.mood == "잔잔" for c in slate.shortlist[:10])

    assert calm(after) > calm(before)
    assert source in {note.source for note in notes(after)}


def test_what_was_shown_and_ignored_sinks_and_comes_back(ask):
    first = ask(1, 9, 17)
    top = ids(first, 3)
    today = tuple(ImpressionCount(song_id=s, times=3, last_at=NOW) for s in top)
    long_ago = tuple(replace(i, last_at=NOW.replace(year=2025)) for i in today)
    rested = ask(1, 9, 17, impressions=today)
    assert ids(rested, 3) != top
    assert ids(ask(1, 9, 17, impressions=long_ago), 3) == top


def test_a_dislike_of_a_second_ago_counts(ask):
    top = ids(ask(1, 9, 17), 1)[0]
    no = Signal(song_id=top, type=SignalType.DISLIKE, at=NOW)
    assert top not in ids(ask(1, 9, 17, signals=(no,)))


def test_a_situation_lifts_what_suits_it(ask):
    plain, sleepy = ask(2, 10), ask(2, 10, context=Context(activity=Activity.SLEEP))
    calm = ("잔잔", "감성적", "서정적")
    count = [sum(c.song.mood in calm for c in s.shortlist[:10]) for s in (plain, sleepy)]
    assert count[1] > count[0]
    assert sleepy.groups[0].label == "잠들기 전에 듣는 노래"


def test_diversity_spreads_the_list(ask):
    def artists(diversity: float) -> int:
        return len({c.song.artist for c in ask(8, 16, 24, diversity=diversity).shortlist[:6]})

    assert artists(1.0) > artists(0.0)


def test_versions_of_one_song_are_shown_once():
    rows = [song(n) for n in range(1, 30)]
    rows += [song(101, title_jp="曲9番目のうた (TV size)", artist="YOASOBI")]
    rows += [song(102, title_jp="曲17番目のうた(Live ver.)", artist="YOASOBI")]
    world = Catalog.build(rows, now=NOW)
    slate = recommend(query(17), catalog=world, model=Model.untrained(world.corpus))
    shown = set(ids(slate))
    assert 102 not in shown, "a live version of a favourite"
    assert len({9, 101} & shown) <= 1


def test_inactive_songs_are_never_shown_but_count_as_taste():
    world = Catalog.build([song(n) for n in range(1, 40)], inactive=[8, 9], now=NOW)
    slate = recommend(query(8), catalog=world, model=Model.untrained(world.corpus))
    assert 9 not in ids(slate)
    assert slate.known_favorites == (8,)
    assert slate.shortlist[0].song.artist == "米津玄師"


def test_rank_is_the_order_of_the_answer(catalog: Catalog, model: Model, ask):
    asked = query(1, 9, 17)
    rows = rank(asked, catalog=catalog, model=model)
    assert catalog.song_ids[rows[:20]].tolist() == ids(ask(1, 9, 17), 20)


def test_the_trace_names_each_step_and_what_is_left(ask):
    trace = ask(1, 9).trace
    assert [step.name for step in trace][:4] == [
        "only_what_was_asked",
        "without_known_songs",
        "without_what_was_refused",
        "score",
    ]
    assert trace[0].left == 60
    assert trace[1].left == 58


class TestWhy:
    def test_a_recommended_song_has_ranks_and_scores(self, catalog: Catalog, model: Model, ask):
        top = ids(ask(1, 9, 17), 1)[0]
        told = explain(query(1, 9, 17), top, catalog=catalog, model=model)
        assert told["recommended"]
        assert told["rank"] == 1
        assert told["scores"]["content"] != 0
        assert [s["step"] for s in told["steps"]][-1] == "explore"
        json.dumps(told)

    @pytest.mark.parametrize(
        ("song_id", "changes", "rule"),
        [
            (9, {}, "favourite"),
            (33, {"exclude": Exclude(song_ids=frozenset({33}))}, "excluded song"),
            (10, {"exclude": Exclude(artists=frozenset({"ado"}))}, "excluded artist"),
            (5, {"only": Only(karaoke=frozenset({"tj"}))}, "only: tj"),
        ],
    )
    def test_a_missing_song_names_the_rule(self, catalog, model, song_id, changes, rule):
        told = explain(query(1, 9, **changes), song_id, catalog=catalog, model=model)
        assert not told["recommended"]
        assert told["rules"] == [rule]
        assert told["stopped_by"]

    def test_an_unknown_song_is_said_to_be_unknown(self, catalog: Catalog, model: Model):
        assert not explain(query(1), 999, catalog=catalog, model=model)["in_catalog"]

    def test_the_stored_part_answers_without_a_catalog(self, ask):
        slate = ask(1, 9, 17)
        stored = json.loads(json.dumps(slate.why))
        top = ids(slate, 1)[0]
        assert explain_stored(stored, top)["ranks"]["vary"] >= 1
        assert explain_stored(stored, 9)["rules"] == ["favourite"]


@pytest.mark.parametrize("count", [20, 50])
def test_exploration_finds_room_under_the_usual_caps(count: int) -> None:
    songs = [song(n, artist=f"歌手{n % 90}", artist_kr="", anime="") for n in range(1, 301)]
    wide = Catalog.build(songs, likes=likes(), now=NOW)
    slate = recommend(query(1, 2, count=count), catalog=wide, model=Model.untrained(wide.corpus))
    explored = [c for c in slate.shortlist[:count] if c.recommendation_type == "random"]
    assert len(explored) == count // 10
    assert len({candidate.song.artist for candidate in explored}) == len(explored)
