"""When two pieces of text are the same, and how they are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalog import text


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Ｊ-POP  (서정 팝)", "j-pop 서정 팝"),
        ("J-pop  서정 팝", "j-pop 서정 팝"),  # two blanks, as the tables hold it
        ("ﾖﾙｼｶ", "ヨルシカ"),  # half width
        ("Beyoncé", "beyonce"),
        ("が", "が"),  # a voicing mark is no accent
        ("「Lemon」", "lemon"),
        ("", ""),
    ],
)
def test_fold_takes_away_how_it_is_typed(written: str, folded: str):
    assert text.fold(written) == folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("back number", "BACKNUMBER"),
        ("ヨルシカ", "よるしか"),
        ("スーパー", "すーぱ"),  # long vowels are typed or left out
        ("Official髭男dism", "ｏｆｆｉｃｉａｌ髭男ＤＩＳＭ"),
        ("宮崎 雅", "宮崎雅"),
        ("난난w/뭐야ㅋ", "난난w 뭐야ㅋ"),
    ],
)
def test_equal_keys_are_equal_names(one: str, other: str):
    assert text.match_key(one) == text.match_key(other)


def test_names_of_marks_alone_stay_apart():
    assert text.match_key("!!!") != text.match_key("???")


@given(st.lists(st.text(max_size=12), max_size=8))
def test_many_keys_at_once_are_those_of_each(texts: list[str]):
    assert text.match_keys(texts) == [text.match_key(one) for one in texts]


@given(st.text())
def test_folding_twice_changes_nothing(written: str):
    assert text.fold(text.fold(written)) == text.fold(written)


@pytest.mark.parametrize(
    ("column", "terms"),
    [
        ("팝, 록", ["팝", "록"]),
        ("J-pop  서정 팝", ["J-pop 서정 팝"]),
        ("에너지,  ,에너지, 강렬", ["에너지", "강렬"]),
        ("", []),
        (" , ", []),
    ],
)
def test_a_hand_written_column_is_split_on_commas(column: str, terms: list[str]):
    assert text.split_terms(column) == terms


@pytest.mark.parametrize(
    ("credit", "artists"),
    [
        ("都はるみ,岡千秋", ["都はるみ", "岡千秋"]),
        ("fox capture plan(Feat.Chihiro Sings)", ["fox capture plan"]),
        ("YOASOBI feat. ano", ["YOASOBI"]),
        ("DAOKO×米津玄師", ["DAOKO", "米津玄師"]),
        ("もんた&Brothers", ["もんた&Brothers"]),
        ("", []),
    ],
)
def test_a_credit_names_its_artists(credit: str, artists: list[str]):
    assert text.split_artists(credit) == artists


@pytest.mark.parametrize(
    ("title", "song"),
    [
        ("紅蓮の弓矢 (TV size)", "紅蓮の弓矢"),
        ("Lemon - Live ver.", "Lemon"),
        ("勇者王誕生 (神話 Ver.)", "勇者王誕生"),
        ("不可思議 (feat. X)", "不可思議"),
        ("Alive", "Alive"),  # "live" is inside a word
        ("夜に駆ける(前編)", "夜に駆ける(前編)"),  # says no version
        ("(cover)", "(cover)"),  # nothing else would be left
    ],
)
def test_a_version_is_the_same_song(title: str, song: str):
    assert text.song_title(title) == song


def test_initials_of_hangul():
    assert text.initials("밤을 달리다 (Racing)") == "ㅂㅇㄷㄹㄷ"
    assert text.initials("꽃 ㄸ") == "ㄱㄷ"
    assert text.is_initials("ㅂㅇ ㄷㄹㄷ")
    assert not text.is_initials("ㅂ밤")
    assert not text.is_initials("")


@pytest.mark.parametrize(
    ("name", "reading", "particle"),
    [
        ("레몬", "", "을"),
        ("프리텐더", "", "를"),
        ("Lemon", "", "을"),  # 레몬
        ("Pretender", "", "를"),  # 프리텐더
        ("KICK BACK", "", "을"),  # 킥 백
        ("365", "", "를"),  # 오
        ("No.1", "", "을"),  # 일
        ("さくらん", "", "을"),
        ("アイドル", "", "를"),
        ("紅蓮華", "구렌게", "를"),
        ("紅蓮華", "", "을(를)"),  # nobody knows how it ends
        ("「레몬」!", "", "을"),
        ("♪", "", "을(를)"),
    ],
)
def test_the_particle_fits_the_last_sound(name: str, reading: str, particle: str):
    assert text.particle(name, "을/를", reading) == particle


def test_kana_are_spelled_in_latin_letters():
    assert text.romaji("よるにかける") == "yorunikakeru"
    assert text.romaji("ずっとしゃべる") == "zuttoshaberu"


@pytest.mark.parametrize(
    ("title", "cleaned"),
    [
        ("a|b\nc", "a b c"),
        ("보이지\u200b않는\u202e글", "보이지않는글"),
        ("\U000e0041tag", "tag"),  # invisible tag letters
        ("x" * 70, "x" * 60),
    ],
)
def test_what_a_model_reads_can_be_seen(title: str, cleaned: str):
    assert text.clean_for_model(title) == cleaned


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("레몬", "lemon"),
        ("레몬", "れもん"),
        ("요네즈켄시", "yonezukenshi"),
        ("요루시카", "yorushika"),
        ("후지이카제", "fujiikaze"),
        ("도쿄", "とうきょう"),
        ("다카하시", "타카하시"),
        ("미세스", "みせす"),
    ],
)
def test_what_sounds_the_same_to_a_korean_ear_has_one_sound(one: str, other: str):
    assert text.sound(one) == text.sound(other) != ""


@pytest.mark.parametrize("key", ["米津玄師", "official髭男dism", "", "68213"])
def test_what_cannot_be_read_has_no_sound(key: str):
    assert text.sound(key) == ""
