"""The catalog keeps what it was given, small, and knows which rows are one song."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalog.catalog import Catalog
from engine.catalog.storage import CatalogDamaged
from engine.types import SongView
from tests.engine.conftest import NOW, likes, song

FIELDS = st.text(max_size=20)
ANY_SONG = st.builds(
    SongView,
    song_id=st.integers(1, 2**31 - 1),
    title_jp=FIELDS,
    title_kr=FIELDS,
    title_en=FIELDS,
    artist=FIELDS,
    artist_kr=FIELDS,
    genre=FIELDS,
    mood=FIELDS,
    anime=FIELDS,
    tj_number=st.none() | st.integers(1, 10**6),
    ky_number=st.none() | st.integers(1, 10**6),
    created_at=st.none() | st.just(NOW),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_SONG, max_size=8, unique_by=lambda s: s.song_id))
def test_every_song_comes_back_as_it_was(songs: list[SongView]):
    catalog = Catalog.build(songs, now=NOW)
    rows = catalog.rows_of([s.song_id for s in songs])
    assert [catalog.view(int(row)) for row in rows] == songs
    assert np.all(np.diff(catalog.song_ids) > 0)


def test_unknown_ids_have_no_row(catalog: Catalog):
    assert catalog.rows_of([1, 0, 999, 60]).tolist() == [0, -1, -1, 59]


def test_words_of_a_column_are_split_and_shared(catalog: Catalog):
    genre = catalog.terms["genre"]
    assert "J-pop" in genre.names
    assert "J-pop 서정 팝" in genre.names, "two blanks are one"
    ado = catalog.rows_of([2])[0]  # song 2 is Ado's: "J-pop, 록"
    assert genre.names_of(ado) == ["J-pop", "록"]


def test_an_artist_is_found_by_either_name(catalog: Catalog):
    artists = catalog.terms["artist"]
    assert artists.lookup(["요네즈 켄시"]).tolist() == artists.lookup(["米津玄師"]).tolist()
    assert artists.lookup(["아무도 아님"]).tolist() == []


def test_a_song_known_only_by_its_hangul_artist_belongs_to_him():
    rows = [
        SongView(song_id=1, title_jp="A", artist="米津玄師", artist_kr="요네즈 켄시"),
        SongView(song_id=2, title_kr="나", artist_kr="요네즈 켄시"),
    ]
    lead = Catalog.build(rows, now=NOW).terms["artist"].leading
    assert lead[0] == lead[1]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"title_jp": "曲1番目のうた (TV size)"}, True),
        ({"title_jp": "曲1番目のうた [Live]"}, True),
        ({"title_jp": "曲1番目のうた", "tj_number": None, "ky_number": 5}, True),  # KY's own row
        ({"title_jp": "", "title_kr": "1번째 노래"}, True),  # a row without the Japanese title
        ({"title_jp": "曲1番目のうた (cover)", "artist": "誰か", "artist_kr": ""}, True),
        ({"title_jp": "曲1番目のうた", "artist": "誰か", "anime": "推しの子"}, True),  # same anime
        ({"title_jp": "曲2番目のうた"}, False),
        ({"title_jp": "別の曲", "title_kr": "1번째 노래"}, False),  # translations coincide
    ],
)
def test_versions_of_one_song_are_recognised(other: dict[str, object], same: bool):
    base: dict[str, object] = {"artist": "YOASOBI", "artist_kr": "요아소비", "anime": ""}
    rows = [song(1), song(500, **{**base, **other})]
    roots = Catalog.build(rows, now=NOW).same_song.tolist()
    assert (roots[0] == roots[1]) is same


def test_a_short_title_by_another_artist_is_another_song():
    rows = [
        SongView(song_id=1, title_jp="さくら", artist="森山直太朗"),
        SongView(song_id=2, title_jp="さくら", artist="ケツメイシ"),
        SongView(song_id=3, title_jp="残酷な天使のテーゼ", artist="高橋洋子"),
        SongView(song_id=4, title_jp="残酷な天使のテーゼ", artist="誰か"),
    ]
    catalog = Catalog.build(rows, now=NOW)
    assert catalog.same_song.tolist() == [0, 1, 2, 2]
    assert catalog.versions_of(np.array([3], np.int32)).tolist() == [2, 3]
    assert catalog.versions_of(np.array([0], np.int32)).tolist() == [0]


class TestBehaviour:
    def test_duplicate_likes_count_once(self):
        doubled = [(7, 1, NOW), (7, 1, NOW), (7, 1, None), (8, 1, NOW)]
        catalog = Catalog.build([song(1), song(2)], likes=doubled, now=NOW)
        assert catalog.corpus.interactions.nnz == 2
        assert catalog.corpus.popularity[0] == pytest.approx(2)

    def test_an_old_like_counts_less_for_popularity(self):
        quarter = NOW - timedelta(days=90)
        catalog = Catalog.build([song(1), song(2)], likes=[(1, 1, NOW), (1, 2, quarter)], now=NOW)
        assert catalog.corpus.popularity.tolist() == pytest.approx([1.0, 0.5])

    def test_a_like_without_a_date_is_as_old_as_the_oldest(self):
        old = NOW - timedelta(days=180)
        found = Catalog.build([song(1), song(2)], likes=[(1, 1, old), (1, 2, None)], now=NOW)
        assert found.corpus.popularity[0] == found.corpus.popularity[1]

    def test_likes_of_unknown_songs_are_left_out(self):
        catalog = Catalog.build([song(1)], likes=[(1, 99, NOW)], now=NOW)
        assert catalog.corpus.interactions.shape == (0, 1)

    def test_arrays_say_the_same_as_tuples(self):
        rows = likes()
        arrays = (
            np.array([m for m, _, _ in rows]),
            np.array([s for _, s, _ in rows]),
            np.array([at.timestamp() if at else np.nan for _, _, at in rows]),
        )
        songs = [song(n) for n in range(1, 61)]
        one, other = (Catalog.build(songs, likes=given, now=NOW) for given in (rows, arrays))
        assert one.version == other.version
        assert np.array_equal(one.corpus.popularity, other.corpus.popularity)

    def test_a_song_on_a_playlist_counts_a_little_less_than_a_like(self):
        catalog = Catalog.build(
            [song(1), song(2)], likes=[(1, 1, NOW)], playlist_songs=[(1, 2, 0, NOW)], now=NOW
        )
        like, place = catalog.corpus.popularity
        assert 0 < place < like

    def test_what_many_like_lately_is_on_the_rise(self):
        lately = [(m, 1, NOW - timedelta(days=3)) for m in range(20)]
        before = [(m, 2, NOW - timedelta(days=60)) for m in range(20)]
        trend = Catalog.build([song(1), song(2)], likes=lately + before, now=NOW).corpus.trend
        assert trend[0] > 0.7 > 0 > trend[1]

    def test_new_likes_alone_are_taken_over_without_the_songs(self, catalog: Catalog):
        fresh = catalog.with_behaviour(likes=[(1, 60, NOW)], now=NOW)
        assert fresh.corpus.popularity.argmax() == 59
        assert fresh.view(3) == catalog.view(3)
        assert fresh.version != catalog.version
        assert fresh.version.split("-")[0] == catalog.version.split("-")[0]


def test_the_version_tells_content_apart(catalog: Catalog):
    songs = [song(n) for n in range(1, 61)]
    assert Catalog.build(songs, likes=likes(), now=NOW).version == catalog.version
    songs[0] = song(1, mood="잔잔")
    assert Catalog.build(songs, likes=likes(), now=NOW).version != catalog.version


def test_content_is_of_length_one_and_knows_tags():
    songs = [
        song(
            n,
            genre="",
            mood="",
            artist="",
            artist_kr="",
            title_jp="",
            title_kr="",
            lang="",
            anime="",
        )
        for n in (1, 2, 3)
    ]
    catalog = Catalog.build(songs, tags={1: ["sad"], 2: ["sad"], 3: ["one of a kind"]}, now=NOW)
    features = catalog.corpus.features
    assert features[0].multiply(features[1]).sum() == pytest.approx(1.0)
    assert features[2].nnz == 0, "a word of one song says nothing about likeness"


class TestStored:
    @pytest.mark.parametrize("mmap", [True, False])
    def test_it_is_the_same_after_loading(self, tmp_path: Path, catalog: Catalog, mmap: bool):
        catalog.save(tmp_path)
        loaded = Catalog.load(tmp_path, mmap=mmap)
        assert [loaded.view(row) for row in range(loaded.n)] == [
            catalog.view(row) for row in range(catalog.n)
        ]
        assert loaded.version == catalog.version
        assert (loaded.corpus.interactions != catalog.corpus.interactions).nnz == 0
        assert np.array_equal(loaded.corpus.artist_code, catalog.corpus.artist_code)

    def test_an_empty_one_too(self, tmp_path: Path):
        Catalog.build([], now=NOW).save(tmp_path)
        assert Catalog.load(tmp_path).n == 0

    @pytest.mark.parametrize("damage", ["cut", "missing", "foreign", "format", "not json"])
    def test_a_damaged_one_is_refused(self, tmp_path: Path, catalog: Catalog, damage: str):
        catalog.save(tmp_path)
        file, manifest = tmp_path / "same_song.npy", tmp_path / "manifest.json"
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:-16])
        elif damage == "missing":
            file.unlink()
        elif damage == "foreign":
            np.save(file, np.zeros((2, 2)))
        elif damage == "format":
            manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 0}))
        else:
            manifest.write_text("{")
        with pytest.raises(CatalogDamaged):
            Catalog.load(tmp_path)

    def test_no_pickle_is_ever_loaded(self, tmp_path: Path, catalog: Catalog):
        catalog.save(tmp_path)
        np.save(tmp_path / "active.npy", np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(CatalogDamaged):
            Catalog.load(tmp_path)


def test_dates_keep_their_moment():
    at = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert Catalog.build([song(1, created_at=at)], now=NOW).view(0).created_at == at
