"""Groups: which there are, what their labels promise, and that they keep it."""

from __future__ import annotations

import pytest

from engine.catalog.catalog import Catalog
from engine.catalog.text import has_hangul
from engine.presentation.taglines import (
    GENRE_LINES,
    MOOD_LINES,
    NAMED_LINES,
    SITUATION_LINES,
    TAGLINE_LENGTH,
    TAGLINES,
    About,
    tagline,
)
from engine.presentation.vocabulary import MOOD_WORDS
from engine.presentation.wording import LABELS, SITUATIONS
from engine.ranking.recommend import recommend
from engine.settings import EngineSettings, ShapingSettings, SituationTable
from engine.training.model import Model
from engine.types import Activity, Context, Group, GroupKind, Locale, Slate, SongView, TimeOfDay
from tests.engine.conftest import NOW, likes, query, song

WORLD = Catalog.build([song(n) for n in range(1, 241)], likes=likes(), now=NOW)
UNTRAINED = Model.untrained(WORLD.corpus)


def ask(*favorites: int, catalog: Catalog = WORLD, **changes: object) -> Slate:
    return recommend(
        query(*favorites, **changes), catalog=catalog, model=Model.untrained(catalog.corpus)
    )


def group_of(slate: Slate, kind: GroupKind) -> Group | None:
    return next((group for group in slate.groups if group.kind is kind), None)


def songs(slate: Slate, group: Group) -> list[SongView]:
    return [slate.shortlist[place].song for place in group.members]


FAN = (4, 12, 20, 28, 5, 13, 21, 29)  # 결속밴드 (록, 에너지) and あいみょん (잔잔)


def test_there_are_four_to_six_groups_of_up_to_six():
    for favorites in (FAN, (1,), (), tuple(range(1, 60))):
        groups = ask(*favorites).groups
        assert 4 <= len(groups) <= 6
        assert all(2 <= len(group.members) <= 6 for group in groups)
        assert len({group.label for group in groups}) == len(groups)


def test_both_sides_of_a_taste_get_a_group():
    found = [group for group in ask(*FAN).groups if group.kind is GroupKind.TASTE]
    moods = [{song.mood for song in songs(ask(*FAN), group)} for group in found]
    assert {"에너지"} in moods
    assert {"잔잔"} in moods


def test_every_song_of_a_group_holds_what_the_label_says():
    slate = ask(*FAN)
    for group in slate.groups:
        if group.kind in (GroupKind.TASTE, GroupKind.GENRE, GroupKind.MOOD, GroupKind.ANIME):
            for view in songs(slate, group):
                held = f"{view.genre}, {view.mood}, {view.anime}".replace("  ", " ")
                assert set(group.subject.split()) <= set(held.replace(",", "").split())


def test_artist_expansion_holds_only_artists_not_liked_yet():
    slate = ask(*FAN)
    group = group_of(slate, GroupKind.ARTIST_EXPANSION)
    assert group
    found = [view.artist for view in songs(slate, group)]
    assert not {"結束バンド", "あいみょん"} & set(found)
    assert len(set(found)) == len(found)


def test_a_crossover_genre_is_one_the_member_does_not_hear():
    # Songs 201 … 240 are jazz by many artists, in the mood the member likes.
    jazz = [song(n, genre="재즈", mood="잔잔", artist=f"Jazz {n % 9}") for n in range(201, 241)]
    world = Catalog.build([*(song(n) for n in range(1, 201)), *jazz], likes=likes(), now=NOW)
    slate = ask(*FAN, catalog=world)
    group = group_of(slate, GroupKind.CROSSOVER)
    assert group
    assert group.subject == "재즈"
    assert all(view.genre == "재즈" for view in songs(slate, group))
    assert group.label == f"장르 크로스오버: {group.subject}"


def test_hidden_gems_are_little_known():
    slate = ask(8, 16, 24)
    group = group_of(slate, GroupKind.HIDDEN_GEMS)
    if group:
        rows = WORLD.rows_of([view.song_id for view in songs(slate, group)])
        assert (WORLD.fame_rank[rows] < ShapingSettings().gem_popularity).all()


def test_nothing_is_hidden_where_nobody_likes_anything():
    bare = Catalog.build([song(n) for n in range(1, 61)], now=NOW)
    assert group_of(ask(8, catalog=bare), GroupKind.HIDDEN_GEMS) is None


def test_a_newcomer_sees_what_is_popular_and_new():
    fresh = [song(n, created_at=NOW) for n in range(201, 241)]
    world = Catalog.build([*(song(n) for n in range(1, 201)), *fresh], likes=likes(), now=NOW)
    slate = ask(catalog=world)
    assert [group.kind for group in slate.groups][:2] == [GroupKind.POPULAR, GroupKind.FRESH]
    assert all(view.song_id > 200 for view in songs(slate, slate.groups[1]))
    assert group_of(slate, GroupKind.MOOD)


def test_a_catalog_of_bare_titles_still_gives_groups_or_none_but_no_group_of_one():
    bare = Catalog.build(
        [SongView(song_id=n, title_jp=f"{n}") for n in range(1, 50)],
        likes=[(m, n, NOW) for m in range(5) for n in range(1, 30)],
        now=NOW,
    )
    for slate in (ask(catalog=bare), ask(1, 2, catalog=bare)):
        assert all(len(group.members) >= 2 for group in slate.groups)
        assert slate.groups, "popular and rare ones are left"


def test_the_situation_comes_first_and_suits():
    slate = ask(*FAN, context=Context(activity=Activity.SLEEP, time_of_day=TimeOfDay.NIGHT))
    group = slate.groups[0]
    assert (group.kind, group.label) == (GroupKind.SITUATION, "잠들기 전에 듣는 노래")
    assert {view.mood for view in songs(slate, group)} <= {"잔잔", "감성적", "서정적"}


def test_a_mood_may_be_asked_for_by_word():
    slate = ask(*FAN, context=Context(mood="잔잔"))
    assert slate.groups[0].label == "잔잔한 기분에 맞춘 노래"
    assert {view.mood for view in songs(slate, slate.groups[0])} == {"잔잔"}


def test_settings_limit_the_groups():
    chosen = EngineSettings(shaping=ShapingSettings(groups=3, songs_per_group=4))
    slate = recommend(query(*FAN), catalog=WORLD, model=UNTRAINED, settings=chosen)
    assert len(slate.groups) <= 3
    assert all(len(group.members) <= 4 for group in slate.groups)


@pytest.mark.parametrize("locale", list(Locale))
def test_labels_and_taglines_are_in_the_language_asked_for(locale: Locale):
    slate = ask(*FAN, locale=locale)
    for group in slate.groups:
        assert locale is Locale.KO or not has_hangul(group.label + group.tagline)
        assert 0 < len(group.tagline) <= TAGLINE_LENGTH
    assert len({group.tagline for group in slate.groups}) == len(slate.groups)
    expansion = group_of(slate, GroupKind.ARTIST_EXPANSION)
    assert expansion
    assert expansion.label == LABELS[locale][GroupKind.ARTIST_EXPANSION]


def test_known_words_are_translated_for_display_only():
    slate = ask(*FAN, locale=Locale.EN)
    taste = [group for group in slate.groups if group.kind is GroupKind.TASTE]
    assert any(
        group.subject.startswith("잔잔") and group.label.startswith("Calm ") for group in taste
    )


def test_every_reviewed_line_fits_a_phone():
    def emoji(line: str) -> int:
        return sum(ord(char) >= 0x1F000 or 0x2600 <= ord(char) <= 0x27BF for char in line)

    for locale in Locale:
        assert set(TAGLINES[locale]) == set(GroupKind)
        assert set(SITUATIONS[locale]) == {*TimeOfDay, *Activity, "mood", "occasion"}
        assert set(SITUATION_LINES[locale]) == {*TimeOfDay, *Activity}
        assert set(MOOD_LINES[locale]) == set(MOOD_LINES[Locale.KO])
        assert set(GENRE_LINES[locale]) == set(GENRE_LINES[Locale.KO])
        assert set(NAMED_LINES[locale]) == set(NAMED_LINES[Locale.KO])
        tables = (TAGLINES, MOOD_LINES, GENRE_LINES, SITUATION_LINES)
        every = [line for table in tables for lines in table[locale].values() for line in lines]
        assert len(set(every)) == len(every), "one line, one meaning"
        for line in every:
            assert 0 < len(line) <= TAGLINE_LENGTH, line
            assert emoji(line) <= 1, line
            assert locale is Locale.KO or not has_hangul(line)


def test_every_reviewed_mood_has_lines_of_its_own():
    assert len(MOOD_LINES[Locale.KO]) == len(MOOD_WORDS)


#: Eight artists of the small world, and jazz and enka by many others that nobody of FAN's kind likes yet.
WIDE = Catalog.build(
    [
        *(song(n) for n in range(1, 201)),
        *(song(n, genre="재즈", mood="잔잔", artist=f"Jazz {n % 9}") for n in range(201, 221)),
        *(song(n, genre="엔카", mood="에너지", artist=f"Enka {n % 9}") for n in range(221, 241)),
    ],
    likes=likes(),
    now=NOW,
)


def test_everybody_whose_taste_is_known_gets_what_the_product_promises():
    promised = {
        GroupKind.TASTE,
        GroupKind.ARTIST,
        GroupKind.ARTIST_EXPANSION,
        GroupKind.HIDDEN_GEMS,
        GroupKind.CROSSOVER,
    }
    for seed in range(5):
        assert promised <= {group.kind for group in ask(*FAN, catalog=WIDE, seed=seed).groups}


def test_where_a_situation_takes_room_every_promised_group_comes_on_some_day():
    moment = Context(activity=Activity.REST, mood="잔잔")
    seen = {
        group.kind
        for seed in range(4)
        for group in ask(*FAN, catalog=WIDE, context=moment, seed=seed).groups
    }
    assert {GroupKind.SITUATION, GroupKind.TASTE, GroupKind.ARTIST} <= seen
    assert {GroupKind.ARTIST_EXPANSION, GroupKind.HIDDEN_GEMS, GroupKind.CROSSOVER} <= seen


def test_no_two_sides_of_a_taste_share_a_mood_or_genre_in_their_names():
    for favorites in (FAN, tuple(range(1, 60)), (1, 2, 3, 4, 5)):
        subjects = [g.subject.split() for g in ask(*favorites).groups if g.kind is GroupKind.TASTE]
        words = [word for words in subjects for word in set(words)]
        moods = [word for word in words if word in MOOD_WORDS]
        assert len(set(moods)) == len(moods)


def test_a_side_may_be_named_by_mood_and_genre_together():
    # Songs 4, 12, 20, 28 are 록 of 에너지; half of the other 록 is 강렬.
    labels = [group.label for group in ask(*FAN).groups if group.kind is GroupKind.TASTE]
    assert any(label.startswith(("에너지 넘치는 ", "잔잔한 ")) for label in labels), labels


def test_gems_of_little_known_artists_come_before_those_of_stars():
    stars = [song(n, artist="星", genre="록", mood="에너지") for n in range(1, 21)]
    others = [song(n, artist=f"Small {n}", genre="록", mood="에너지") for n in range(21, 41)]
    loved = [(m, n, NOW) for m in range(20) for n in (1, 2, 3)]
    rare = [(50 + n, n, NOW) for n in (*range(4, 21), *range(21, 41))]
    world = Catalog.build([*stars, *others], likes=[*loved, *rare], now=NOW)
    slate = ask(21, 22, catalog=world)
    group = group_of(slate, GroupKind.HIDDEN_GEMS)
    assert group
    assert all(view.artist.startswith("Small") for view in songs(slate, group))


def test_nothing_the_situation_speaks_against_stands_on_any_group():
    slate = ask(*FAN, *range(40, 60), context=Context(activity=Activity.SLEEP))
    against = {"강렬", "에너지"}
    for group in slate.groups:
        assert not against & {view.mood for view in songs(slate, group)}, group.label


def test_an_occasion_is_a_situation_and_staff_may_name_new_ones():
    rain = ask(*FAN, context=Context(mood="비 오는 날"))
    assert rain.groups[0].label == "비 오는 날에 어울리는 노래"
    assert {view.mood for view in songs(rain, rain.groups[0])} <= {"감성적", "잔잔", "서정적"}
    assert ask(*FAN, context=Context(mood="비 오는 날"), locale=Locale.JA).groups[0].label == (
        "雨の日に合う曲"
    )
    chosen = EngineSettings(
        situations=SituationTable(occasions={"첫눈 오는 날": {"강렬": 3.0}}),
    )
    snow = recommend(
        query(*FAN, context=Context(mood="첫눈오는 날")),
        catalog=WORLD,
        model=UNTRAINED,
        settings=chosen,
    )
    assert snow.groups[0].label == "첫눈 오는 날에 어울리는 노래"
    assert {view.mood for view in songs(snow, snow.groups[0])} == {"강렬"}


def test_an_activity_and_a_mood_get_a_group_each():
    moment = Context(activity=Activity.WORKOUT, mood="잔잔", time_of_day=TimeOfDay.NIGHT)
    kinds = [group.kind for group in ask(*FAN, *range(40, 60), context=moment).groups]
    assert kinds.count(GroupKind.SITUATION) == 2, "the night says less than the workout"


def test_a_line_above_a_group_speaks_of_what_stands_there():
    moods = {"에너지": "에너지 충전", "잔잔": "조용히"}
    found = {
        (word, tagline(GroupKind.MOOD, Locale.KO, seed, about=About(mood=word)))
        for seed in range(4)
        for word in moods
    }
    for word, line in found:
        assert line in MOOD_LINES[Locale.KO][word]
    assert tagline(GroupKind.GENRE, Locale.KO, 0, about=About(genre="뽕짝", subject="뽕짝")) == (
        "뽕짝 한 곡 더 🎵"
    )
    long = "아주아주아주아주 긴 이름을 가진 가수와 친구들"
    line = tagline(GroupKind.ARTIST, Locale.KO, 0, about=About(subject=long))
    assert line in TAGLINES[Locale.KO][GroupKind.ARTIST]


def test_no_line_stands_twice_in_one_answer():
    first = tagline(GroupKind.MOOD, Locale.KO, 0, about=About(mood="강렬"))
    second = tagline(GroupKind.MOOD, Locale.KO, 0, about=About(mood="강렬"), taken={first})
    assert first != second


def test_a_catalog_that_is_all_new_has_no_group_of_new_songs():
    fresh = Catalog.build([song(n, created_at=NOW) for n in range(1, 61)], likes=likes(), now=NOW)
    assert group_of(ask(catalog=fresh), GroupKind.FRESH) is None
