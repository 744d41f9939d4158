"""A model survives the disk, a changed catalog and a broken file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from engine.catalog.corpus import Corpus
from engine.scoring.blend import blend
from engine.scoring.known import KnownSongs
from engine.training.fitting import EaseSettings
from engine.training.model import Model, TrainSettings
from engine.training.model_files import ModelFileInvalid
from engine.weights import BUCKETS, BlendWeights, InvalidWeights, bucket_of
from tests.engine.test_scorers import N, checkerboard, corpus_of

SMALL = TrainSettings(
    ease=EaseSettings(regularization=50), als_factors=2, als_regularization=0.1, als_rounds=3
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_of(checkerboard())


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Model:
    return Model.train(corpus, settings=SMALL, seed=5)


def totals(model: Model, corpus: Corpus) -> np.ndarray:
    return blend(model, corpus, KnownSongs.liked([0, 2, 4, 6]), BlendWeights()).total


def test_a_saved_model_scores_as_before(model: Model, corpus: Corpus, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.version == model.version
    np.testing.assert_array_equal(totals(loaded, corpus), totals(model, corpus))


def test_training_twice_makes_the_same_model(model: Model, corpus: Corpus) -> None:
    assert Model.train(corpus, settings=SMALL, seed=5).version == model.version


@pytest.mark.parametrize("name", ["als.npy", "ease_data.npy", "manifest.json"])
def test_a_truncated_file_is_refused(model: Model, tmp_path: Path, name: str) -> None:
    model.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileInvalid):
        Model.load(tmp_path)


def test_a_missing_file_and_a_foreign_manifest_are_refused(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path)
    (tmp_path / "als.npy").unlink()
    with pytest.raises(ModelFileInvalid, match="als"):
        Model.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "somebody-else/3"}', encoding="utf-8")
    with pytest.raises(ModelFileInvalid, match="format"):
        Model.load(tmp_path)
    with pytest.raises(ModelFileInvalid):
        Model.load(tmp_path / "nowhere")


def test_a_new_song_is_scored_by_content_and_a_gone_one_leaves(
    model: Model, corpus: Corpus
) -> None:
    kept = np.delete(np.arange(N), 3)  # song 103 is gone, 999 is new and of even parity
    features = vstack([corpus.features[kept], corpus.features[[0]]], format="csr")
    newer = replace(
        corpus,
        song_ids=np.append(corpus.song_ids[kept], 999),
        interactions=csr_matrix((1, N), dtype=np.float32),
        features=features,
        popularity=np.append(corpus.popularity[kept], 0).astype(np.float32),
        trend=np.append(corpus.trend[kept], 0).astype(np.float32),
        recency=np.append(corpus.recency[kept], 1).astype(np.float32),
    )
    moved = model.realigned(newer.song_ids)
    known = KnownSongs.liked([0, 2, 3])  # songs 100, 102, 104 in the new rows
    scorers, before = moved.scorers(newer), model.scorers(corpus)
    for name in ("ease", "knn", "rp3", "als", "standing"):
        now = scorers[name].scores(known)
        assert now[-1] == 0
        was = before[name].scores(KnownSongs.liked([0, 2, 4]))
        np.testing.assert_allclose(now[:-1], was[kept], rtol=1e-3, atol=1e-4)
    assert scorers["content"].scores(known)[-1] > 0


def test_new_songs_behind_the_old_ones_cost_no_copy_of_the_neighbours(model: Model) -> None:
    moved = model.realigned(np.append(model.song_ids, model.song_ids[-1] + [1, 2]))
    for name, matrix in model.matrices.items():
        now = moved.matrices[name]
        assert np.shares_memory(now.data, matrix.data)
        assert np.shares_memory(now.indices, matrix.indices)
        assert (now[:N, :N] != matrix).nnz == 0
        assert now[N:].nnz == 0


def test_a_model_of_another_catalog_does_not_score(model: Model, corpus: Corpus) -> None:
    other = replace(corpus, song_ids=corpus.song_ids + 1)
    with pytest.raises(ValueError, match="realigned"):
        model.scorers(other)


def test_nothing_trained_still_recommends_by_taste(corpus: Corpus) -> None:
    total = totals(Model.untrained(corpus), corpus).copy()
    total[[0, 2, 4, 6]] = -np.inf
    assert (np.argsort(-total)[:11] % 2 == 0).all()


def test_nothing_known_is_answered_by_popularity(corpus: Corpus) -> None:
    weights = BlendWeights.from_json({name: {"popularity": 1.0} for _, name in BUCKETS})
    total = blend(Model.untrained(corpus), corpus, KnownSongs.nothing(), weights).total
    assert corpus.popularity[total.argmax()] == corpus.popularity.max()


def test_parts_add_up_to_the_total(model: Model, corpus: Corpus) -> None:
    mixed = blend(model, corpus, KnownSongs.liked(range(12)), BlendWeights(), adventure=0.8)
    np.testing.assert_allclose(sum(mixed.parts.values()), mixed.total, atol=1e-4)


def test_coverage_counts_the_songs_a_scorer_can_score(corpus: Corpus) -> None:
    trained = Model.train(corpus, settings=replace(SMALL, ease_max_songs=10))
    assert trained.coverage() == {"ease": 10, "knn": N, "rp3": N, "als": N}


@pytest.mark.parametrize(
    ("known", "bucket"), [(0, "0"), (1, "1-2"), (2, "1-2"), (3, "3-9"), (9, "3-9"), (10, "10+")]
)
def test_buckets_begin_where_their_names_say(known: int, bucket: str) -> None:
    assert bucket_of(known) == bucket


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"0": {"popularity": 1}}, "10\\+"),  # buckets missing
        ({name: {"guess": 1.0} for _, name in BUCKETS}, "guess"),  # no such scorer
        ({name: {"ease": -1} for _, name in BUCKETS}, "ease"),  # negative
        ({name: {"ease": True} for _, name in BUCKETS}, "ease"),  # not a number
        ({name: {} for _, name in BUCKETS}, "0"),  # empty
        ([], "buckets"),
    ],
)
def test_a_weight_table_that_cannot_be_used_names_the_entry(table: object, names: str) -> None:
    with pytest.raises(InvalidWeights, match=names):
        BlendWeights.from_json(table)


def test_weights_survive_json() -> None:
    table = BlendWeights().to_json()
    assert BlendWeights.from_json(table).to_json() == table


def test_learned_weights_go_before_the_default_table_unless_staff_turn_them_off(
    model: Model, corpus: Corpus
) -> None:
    taught = replace(model, weights=BlendWeights.from_json(_only("popularity")))
    staff = BlendWeights.from_json({"learned": False, **_only("recency")})
    known = KnownSongs.liked([0])
    assert set(blend(taught, corpus, known, BlendWeights()).parts) == {"popularity"}
    assert set(blend(taught, corpus, known, staff).parts) == {"recency"}


def _only(scorer: str) -> dict[str, dict[str, float]]:
    return {name: {scorer: 1.0} for _, name in BUCKETS}
