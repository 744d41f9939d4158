"""A few changed songs stand in a large catalog at once, everything but likeness exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.catalog.catalog import Catalog
from engine.catalog.patching import CannotPatch, patched
from engine.catalog.search.index import SearchIndex
from engine.catalog.search.query import find_songs
from engine.catalog.terms import KINDS
from engine.ranking.recommend import recommend
from engine.training.model import Model
from engine.types import Query
from tests.engine.conftest import NOW, likes, song

EDITED = song(9, title_jp="別の歌", genre="재즈, 록", mood="", tj_number=None, created_at=None)
NEW = song(61, artist="誰か", artist_kr="누군가", genre="록", anime="新しい作品")


def whole(**kept: object) -> Catalog:
    songs = [EDITED if n == 9 else song(n) for n in range(1, 61)] + [NEW]
    return Catalog.build(songs, likes=likes(), now=NOW, **kept)  # type: ignore[arg-type]


@pytest.fixture
def patch(catalog: Catalog) -> Catalog:
    return patched(catalog, [NEW, EDITED], inactive=[3], now=NOW)


def test_what_is_shown_filtered_and_counted_is_as_if_built_anew(patch: Catalog):
    anew = whole(inactive=[3])
    assert patch.song_ids.tolist() == anew.song_ids.tolist()
    assert [patch.view(row) for row in range(patch.n)] == [anew.view(row) for row in range(anew.n)]
    for kind in KINDS:
        for row in range(anew.n):
            assert patch.terms[kind].names_of(row) == anew.terms[kind].names_of(row)
    for name in ("active", "tj_numbers", "ky_numbers", "created_s"):
        assert getattr(patch, name).tolist() == getattr(anew, name).tolist()
    for name in ("popularity", "trend", "recency"):
        assert np.allclose(getattr(patch.corpus, name), getattr(anew.corpus, name))
    assert (patch.corpus.interactions != anew.corpus.interactions).nnz == 0


def test_a_new_song_is_like_those_of_its_genre(patch: Catalog):
    content = patch.corpus.features
    assert content.shape[0] == patch.n
    likeness = (content @ content[[60]].T).toarray().ravel()
    assert likeness[60] == pytest.approx(1, abs=1e-5)
    rock = patch.terms["genre"].mask(patch.terms["genre"].lookup(["록"]))[:60]
    assert likeness[:60][rock].mean() > likeness[:60][~rock].mean() + 0.1


def test_a_song_like_no_other_has_no_content(catalog: Catalog):
    alone = song(61, artist="x", artist_kr="", genre="y", mood="", anime="")
    content = patched(catalog, [alone], inactive=(), now=NOW).corpus.features
    assert content[[60]].nnz == 0


def test_what_was_hidden_is_not_recommended_and_what_is_new_can_be(patch: Catalog):
    model = Model.untrained(patch.corpus)
    liked = tuple(n for n in range(1, 61) if n % 8 == 4)
    slate = recommend(
        Query(member_key="1", favorite_ids=liked, count=50, now=NOW, seed=1),
        catalog=patch,
        model=model,
    )
    shown = {candidate.song.song_id for candidate in slate.shortlist}
    assert 3 not in shown
    assert 61 in shown


def test_a_song_comes_back_when_it_is_no_longer_hidden(patch: Catalog):
    assert patched(patch, [], inactive=(), now=NOW).active.all()


def test_every_change_has_a_version_of_its_own(catalog: Catalog):
    changes = ([EDITED], [NEW], [replace(NEW, mood="밝은")], [])
    made = [patched(catalog, songs, inactive=(), now=NOW).version for songs in changes]
    made += [patched(catalog, [], inactive=[1], now=NOW).version, catalog.version]
    assert len(set(made)) == len(made)


def test_a_new_id_among_the_known_ones_is_refused():
    gap = Catalog.build([song(1), song(3)], now=NOW)
    with pytest.raises(CannotPatch, match="song 2"):
        patched(gap, [song(2)], inactive=(), now=NOW)


def test_it_is_saved_and_searched_under_the_old_index(
    catalog: Catalog, patch: Catalog, tmp_path: Path
):
    SearchIndex.build(catalog).serving(patch).save(tmp_path / "search")
    patch.save(tmp_path / "catalog")
    loaded = Catalog.load(tmp_path / "catalog")
    index = SearchIndex.load(tmp_path / "search", loaded)
    found = find_songs(index, "20번째 노래")
    assert loaded.view(found[0][0]).song_id == 20
    assert not find_songs(index, "曲3番目のうた") or find_songs(index, "曲3番目のうた")[0][0] != 2
