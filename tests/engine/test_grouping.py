"""Shelves: which there are, what their labels promise, and that they keep it."""

from __future__ import annotations

import pytest

from engine.catalog import Catalog
from engine.model import Model
from engine.recommend import recommend
from engine.settings import EngineSettings, ShapingSettings
from engine.types import Activity, Context, Group, GroupKind, Locale, Slate, SongView, TimeOfDay
from engine.wording import LABELS, SITUATIONS, TAGLINE_LENGTH, TAGLINES
from tests.engine.conftest import NOW, likes, query, song

WORLD = Catalog.build([song(n) for n in range(1, 241)], likes=likes(), now=NOW)
UNTRAINED = Model.untrained(WORLD.corpus)


def ask(*favorites: int, catalog: Catalog = WORLD, **changes: object) -> Slate:
    return recommend(
        query(*favorites, **changes), catalog=catalog, model=Model.untrained(catalog.corpus)
    )


def shelf(slate: Slate, kind: GroupKind) -> Group | None:
    return next((group for group in slate.groups if group.kind is kind), None)


def songs(slate: Slate, group: Group) -> list[SongView]:
    return [slate.shortlist[place].song for place in group.members]


FAN = (4, 12, 20, 28, 5, 13, 21, 29)  # 결속밴드 (록, 에너지) and あいみょん (잔잔)


def test_there_are_four_to_six_shelves_of_up_to_six():
    for favorites in (FAN, (1,), (), tuple(range(1, 60))):
        groups = ask(*favorites).groups
        assert 4 <= len(groups) <= 6
        assert all(2 <= len(group.members) <= 6 for group in groups)
        assert len({group.label for group in groups}) == len(groups)


def test_both_sides_of_a_taste_get_a_shelf():
    found = [group for group in ask(*FAN).groups if group.kind is GroupKind.TASTE]
    moods = [{song.mood for song in songs(ask(*FAN), group)} for group in found]
    assert {"에너지"} in moods
    assert {"잔잔"} in moods


def test_every_song_of_a_shelf_holds_what_the_label_says():
    slate = ask(*FAN)
    for group in slate.groups:
        if group.kind in (GroupKind.TASTE, GroupKind.GENRE, GroupKind.MOOD, GroupKind.ANIME):
            for view in songs(slate, group):
                assert group.subject in f"{view.genre}, {view.mood}, {view.anime}".replace(
                    "  ", " "
                )


def test_artist_expansion_holds_only_artists_not_liked_yet():
    slate = ask(*FAN)
    group = shelf(slate, GroupKind.ARTIST_EXPANSION)
    assert group
    found = [view.artist for view in songs(slate, group)]
    assert not {"結束バンド", "あいみょん"} & set(found)
    assert len(set(found)) == len(found)


def test_a_crossover_genre_is_one_the_member_does_not_hear():
    # Songs 201 … 240 are jazz by many artists, in the mood the member likes.
    jazz = [song(n, genre="재즈", mood="잔잔", artist=f"Jazz {n % 9}") for n in range(201, 241)]
    world = Catalog.build([*(song(n) for n in range(1, 201)), *jazz], likes=likes(), now=NOW)
    slate = ask(*FAN, catalog=world)
    group = shelf(slate, GroupKind.CROSSOVER)
    assert group
    assert group.subject == "재즈"
    assert all(view.genre == "재즈" for view in songs(slate, group))
    assert group.label == f"장르 크로스오버: {group.subject}"


def test_hidden_gems_are_little_known():
    slate = ask(8, 16, 24)
    group = shelf(slate, GroupKind.HIDDEN_GEMS)
    if group:
        rows = WORLD.rows_of([view.song_id for view in songs(slate, group)])
        assert (WORLD.popularity_rank[rows] < ShapingSettings().gem_popularity).all()


def test_nothing_is_hidden_where_nobody_likes_anything():
    bare = Catalog.build([song(n) for n in range(1, 61)], now=NOW)
    assert shelf(ask(8, catalog=bare), GroupKind.HIDDEN_GEMS) is None


def test_a_newcomer_sees_what_is_popular_and_new():
    fresh = [song(n, created_at=NOW) for n in range(201, 241)]
    world = Catalog.build([*(song(n) for n in range(1, 201)), *fresh], likes=likes(), now=NOW)
    slate = ask(catalog=world)
    assert [group.kind for group in slate.groups][:2] == [GroupKind.POPULAR, GroupKind.FRESH]
    assert all(view.song_id > 200 for view in songs(slate, slate.groups[1]))
    assert shelf(slate, GroupKind.MOOD)


def test_a_catalog_of_bare_titles_still_gives_shelves_or_none_but_no_shelf_of_one():
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
    assert slate.groups[0].label == "잔잔 기분에 맞춘 노래"
    assert {view.mood for view in songs(slate, slate.groups[0])} == {"잔잔"}


def test_settings_limit_the_shelves():
    chosen = EngineSettings(shaping=ShapingSettings(groups=3, songs_per_group=4))
    slate = recommend(query(*FAN), catalog=WORLD, model=UNTRAINED, settings=chosen)
    assert len(slate.groups) <= 3
    assert all(len(group.members) <= 4 for group in slate.groups)


@pytest.mark.parametrize("locale", list(Locale))
def test_labels_and_taglines_are_in_the_language_asked_for(locale: Locale):
    slate = ask(*FAN, locale=locale)
    for group in slate.groups:
        assert group.tagline in TAGLINES[locale][group.kind]
    expansion = shelf(slate, GroupKind.ARTIST_EXPANSION)
    assert expansion
    assert expansion.label == LABELS[locale][GroupKind.ARTIST_EXPANSION]


def test_known_words_are_translated_for_display_only():
    slate = ask(*FAN, locale=Locale.EN)
    taste = [group for group in slate.groups if group.kind is GroupKind.TASTE]
    assert any(group.subject == "잔잔" and group.label == "Calm" for group in taste)


def test_every_reviewed_line_fits_a_phone():
    def emoji(line: str) -> int:
        return sum(ord(char) >= 0x1F000 or 0x2600 <= ord(char) <= 0x27BF for char in line)

    for locale in Locale:
        assert set(TAGLINES[locale]) == set(GroupKind)
        assert set(SITUATIONS[locale]) == {*TimeOfDay, *Activity, "mood"}
        for lines in TAGLINES[locale].values():
            assert len(set(lines)) >= 3
            for line in lines:
                assert 0 < len(line) <= TAGLINE_LENGTH, line
                assert emoji(line) <= 1, line
