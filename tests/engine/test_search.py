"""What a typed text finds, and what a named song is taken to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.catalog.catalog import Catalog
from engine.catalog.search.index import SearchIndex
from engine.catalog.search.query import find_songs, resolve_names
from engine.catalog.storage import CatalogDamaged
from engine.types import SongView
from tests.engine.conftest import NOW

SONGS = (
    SongView(song_id=1, title_jp="夜に駆ける", title_kr="밤을 달리다", title_en="Racing into the Night", title_yomi="よるにかける", title_yomi_kr="요루니 카케루", artist="YOASOBI", artist_kr="요아소비", tj_number=68213),
    SongView(song_id=2, title_jp="Lemon", title_kr="레몬", artist="米津玄師", artist_kr="요네즈 켄시", tj_number=28873, ky_number=44266),
    SongView(song_id=3, title_jp="KICK BACK", title_kr="킥 백", artist="米津玄師", artist_kr="요네즈 켄시", anime="チェンソーマン"),
    SongView(song_id=4, title_jp="さくら", title_kr="벚꽃", artist="森山直太朗", artist_kr="모리야마 나오타로"),
    SongView(song_id=5, title_jp="さくら", title_kr="벚꽃", artist="ケツメイシ", artist_kr="케츠메이시"),
    SongView(song_id=6, title_jp="紅蓮華", title_kr="홍련화", title_yomi="ぐれんげ", artist="LiSA", artist_kr="리사", anime="鬼滅の刃", genre="록"),
    SongView(song_id=7, title_jp="プリテンダー", title_kr="프리텐더", title_en="Pretender", artist="Official髭男dism", artist_kr="오피셜히게단디즘"),
    SongView(song_id=8, title_kr="오토나 블루", artist_kr="새로운 학교의 리더즈"),
    SongView(song_id=9, title_jp="アイドル", title_kr="아이돌", artist="YOASOBI", artist_kr="요아소비", anime="推しの子"),
    SongView(song_id=10, title_jp="残酷な天使のテーゼ", title_kr="잔혹한 천사의 테제", artist="高橋洋子", artist_kr="다카하시 요코"),
    SongView(song_id=12, title_kr="노바", artist_kr="페르소나"),
    SongView(song_id=11, title_jp="残酷な天使のテーゼ", title_kr="잔혹한 천사의 테제", artist="誰か (cover)", genre="재즈"),
)  # fmt: skip


@dataclass(frozen=True)
class Named:
    title: str
    artist: str = ""
    genre: str = ""


@pytest.fixture(scope="module")
def world() -> Catalog:
    return Catalog.build(SONGS, likes=[(m, 10, None) for m in range(5)], inactive=[5], now=NOW)


@pytest.fixture(scope="module")
def index(world: Catalog) -> SearchIndex:
    return SearchIndex.build(world)


@pytest.mark.parametrize(
    ("query", "song_id"),
    [
        ("夜に駆ける", 1),
        ("よるにかける", 1),  # the reading
        ("ヨルニカケル", 1),  # in the other kana
        ("yorunikakeru", 1),  # and in Latin letters
        ("요루니 카케루", 1),
        ("요루니카케로", 1),  # a slip, no blank
        ("밤을달리다", 1),
        ("racing into the nihgt", 1),
        ("ＬＥＭＯＮ", 2),  # full width
        ("「Lemon」", 2),
        ("Lemmon", 2),
        ("레몬 요네즈", 2),
        ("28873", 2),  # TJ
        ("44266", 2),  # KY
        ("TJ 28873", 2),
        ("tj28873번", 2),
        ("금영 44266", 2),
        ("２８８７３", 2),  # full width
        ("レモン", 2),  # by sound: the catalog writes it in other scripts
        ("れもん", 2),
        ("ノヴァ ペルソナ", 12),
        ("nova perusona", 12),
        ("ㅂㅇㄷㄹㄷ", 1),
        ("ㅍㄹㅌㄷ", 7),
        ("ㅎㄹㅎ", 6),
        ("프리탠더", 7),
        ("LiSA 紅蓮華", 6),
        ("鬼滅の刃", 6),
        ("오토나블루", 8),
    ],
)
def test_a_query_finds_its_song_first(world: Catalog, index: SearchIndex, query: str, song_id: int):
    found = [int(world.song_ids[row]) for row, _ in find_songs(index, query, 5)]
    assert found[:1] == [song_id], found


def test_an_artist_finds_all_their_songs(world: Catalog, index: SearchIndex):
    assert {int(world.song_ids[row]) for row, _ in find_songs(index, "요네즈 켄시", 2)} == {2, 3}
    assert {int(world.song_ids[row]) for row, _ in find_songs(index, "ㅇㄴㅈ", 5)} == {2, 3}


@pytest.mark.parametrize("query", ["kenshi yonezu", "yonezu", "Yonezu Kenshi", "ヨネヅケンシ"])
def test_an_artist_is_found_by_his_name_in_latin_letters_or_kana(
    world: Catalog, index: SearchIndex, query: str
):
    assert {int(world.song_ids[row]) for row, _ in find_songs(index, query, 2)} == {2, 3}


def test_a_number_of_one_machine_is_not_one_of_the_other(index: SearchIndex):
    assert find_songs(index, "KY 28873") == []
    assert find_songs(index, "tj44266") == []


@pytest.mark.parametrize("query", ["", "   ", "()", "qqqqzzzz", "0", "🎵🎵🎵", "ㄲㅃㅉ"])
def test_nonsense_finds_nothing(index: SearchIndex, query: str):
    assert find_songs(index, query) == []


def test_inactive_songs_are_not_found(world: Catalog, index: SearchIndex):
    assert [int(world.song_ids[row]) for row, _ in find_songs(index, "さくら")] == [4]


def test_scores_fall_and_stay_between_0_and_1(index: SearchIndex):
    scores = [score for _, score in find_songs(index, "요아소비", 10)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("named", "song_id"),
    [
        (Named("Lemon", "요네즈 켄시"), 2),
        (Named("레몬", "米津玄師"), 2),
        (Named("lemon ", "요네즈켄시"), 2),
        (Named("Lemon", "켄시 요네즈"), 2),  # given name first
        (Named("Lemon"), 2),  # the only one of that title
        (Named("夜に駆ける (TV size)", "yoasobi"), 1),
        (Named("요루니 카케루", "요아소비"), 1),
        (Named("Pretendr", "Official髭男dism"), 7),
        (Named("さくら", "森山直太朗"), 4),
        (Named("벚꽃", "모리야마 나오타로"), 4),
        (Named("残酷な天使のテーゼ"), 10),  # the cover is the same song: the one people like
        (Named("残酷な天使のテーゼ", "誰か"), 11),
        (Named("오토나 블루", "새로운 학교의 리더즈"), 8),
    ],
)
def test_a_named_song_is_recognised(world: Catalog, index: SearchIndex, named: Named, song_id: int):
    row = resolve_names(index, [named])[0].row
    assert row is not None
    assert int(world.song_ids[row]) == song_id


@pytest.mark.parametrize(
    "named",
    [
        Named("Lemon", "아이유"),  # right title, other artist
        Named("이별의 노래", "요네즈 켄시"),  # right artist, no such title
        Named("さくら"),  # two different songs, none better known
        Named("ㄹㅁ"),
        Named(""),
        Named("없는 노래", "없는 가수"),
    ],
)
def test_what_is_not_sure_is_no_guess(index: SearchIndex, named: Named):
    assert resolve_names(index, [named])[0].row is None


def test_what_comes_near_is_told(world: Catalog, index: SearchIndex):
    near = resolve_names(index, [Named("さくら")])[0].near
    assert {int(world.song_ids[row]) for row in near} == {4, 5}


def test_an_empty_catalog_is_searched_in_peace():
    index = SearchIndex.build(Catalog.build([], now=NOW))
    assert find_songs(index, "Lemon") == []
    assert find_songs(index, "ㄹㅁ") == []
    assert resolve_names(index, [Named("Lemon")])[0].row is None


class TestStored:
    def test_it_answers_the_same_after_loading(
        self, tmp_path: Path, world: Catalog, index: SearchIndex
    ):
        index.save(tmp_path)
        loaded = SearchIndex.load(tmp_path, world)
        for query in ("lemmon", "ㅇㄴㅈ", "요네즈"):
            assert find_songs(loaded, query) == find_songs(index, query)

    def test_new_likes_need_no_new_index(self, tmp_path: Path, world: Catalog, index: SearchIndex):
        index.save(tmp_path)
        liked = world.with_behaviour(likes=[(1, 3, NOW)], now=NOW)
        found = find_songs(SearchIndex.load(tmp_path, liked), "요네즈 켄시")
        assert int(world.song_ids[found[0][0]]) == 3, "now the better known of their songs"

    def test_one_of_another_catalog_is_refused(self, tmp_path: Path, index: SearchIndex):
        index.save(tmp_path)
        with pytest.raises(CatalogDamaged):
            SearchIndex.load(tmp_path, Catalog.build(SONGS[:3], now=NOW))

    def test_a_file_cut_short_is_refused(self, tmp_path: Path, world: Catalog, index: SearchIndex):
        index.save(tmp_path)
        file = tmp_path / "gram_songs.npy"
        file.write_bytes(file.read_bytes()[:-8])
        with pytest.raises(CatalogDamaged):
            SearchIndex.load(tmp_path, world)

    def test_a_missing_or_foreign_file_is_refused(
        self, tmp_path: Path, world: Catalog, index: SearchIndex
    ):
        index.save(tmp_path)
        np.save(tmp_path / "grams.npy", np.zeros(3))
        with pytest.raises(CatalogDamaged):
            SearchIndex.load(tmp_path, world)
        (tmp_path / "manifest.json").unlink()
        with pytest.raises(CatalogDamaged):
            SearchIndex.load(tmp_path, world)
