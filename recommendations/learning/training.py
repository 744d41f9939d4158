"""Trains a model beside the live one, measures it on the newest likes, and activates it unless it is worse."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from catalog import reading, snapshot
from engine.catalog.catalog import Catalog
from engine.catalog.corpus import Events
from engine.evaluation.protocol import evaluate, split_of
from engine.evaluation.questions import EvaluationPlan
from engine.evaluation.world import Dataset
from engine.training.model import Model, TrainSettings
from engine.training.train_test_split import Interactions, TrainTestSplit
from engine.types import SignalType
from infrastructure.database import release_connections
from profiles.models import FeedbackEvent, FeedbackType

from ..errors import SongsError
from ..locks import claim, extend, release
from ..models import ModelArtifact, ModelArtifactChunk
from ..models.artifacts import ArtifactState
from ..serving import active_engine

log = logging.getLogger(__name__)
#: Models that can be rolled back to; older ones are deleted with their files.
MAX_MODELS = 5
#: A model is refused when its NDCG@10 is lower than that of the one in use by more than this share.
TOLERANCE = 0.02
#: Members in the test set: enough for a narrow interval; more would take longer than the training.
MAX_TEST_MEMBERS = 1_000
#: With fewer likes the newest fifth is too small to measure on: the model is accepted without figures.
MIN_LIKES_TO_MEASURE = 500
LOCK_S = 30 * 60
#: Sittings are learned from the latest events only.
MAX_EVENTS = 500_000

#: Called with the stage and the share done, 0–1.
Report = Callable[[str, float], None]
Measure = Callable[[Catalog, TrainSettings, int], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Whether a model may replace the one in use."""

    accepted: bool
    why: str


class TrainingInProgress(SongsError):
    """A training is in progress already; wait for it."""


def train(
    *, by: str, seed: int = 0, report: Report | None = None, measure: Measure | None = None
) -> ModelArtifact:
    """Train, measure, store and, unless it is worse, activate. Minutes; one training at a time.

    Raises TrainingInProgress. A failure is recorded in the row, and the model in use stays.
    """
    token = claim("training", ttl_s=LOCK_S)
    if token is None:
        raise TrainingInProgress
    row = ModelArtifact.objects.create(
        version=f"building-{timezone.now():%Y%m%d%H%M%S%f}", state=ArtifactState.BUILDING
    )
    started = time.perf_counter()
    try:
        _train(
            row,
            by=by,
            seed=seed,
            report=_reporting(token, report),
            measure=measure or measure_model,
        )
    except Exception as error:
        row.state, row.note = ArtifactState.FAILED, f"{type(error).__name__}: {error}"[:500]
        raise
    finally:
        release_connections()
        row.seconds = round(time.perf_counter() - started, 1)
        row.save()
        release("training", token)
    _prune()
    return row


def _reporting(token: str, report: Report | None) -> Report:
    """Report progress and extend the lock; between two stages there is only computing."""

    def report_stage(stage: str, done: float) -> None:
        release_connections()
        extend("training", token, ttl_s=LOCK_S)
        log.info("Training: %s (%.0f %%)", stage, done * 100)
        if report is not None:
            report(stage, done)

    return report_stage


def _train(row: ModelArtifact, *, by: str, seed: int, report: Report, measure: Measure) -> None:
    report("read", 0.0)
    catalog = snapshot.refresh().catalog
    release_connections()  # a large catalog takes longer to build than a connection may be silent
    chosen = TrainSettings(ease_max_songs=settings.EASE_MAX_ITEMS)
    corpus = replace(catalog.corpus, events=_sung_or_played(catalog))
    model = Model.train(
        corpus, settings=chosen, seed=seed, progress=lambda s, d: report(s, 0.05 + 0.5 * d)
    )
    report("measure", 0.6)
    row.figures = measure(catalog, chosen, seed)
    report("store", 0.9)
    # The content's digest; with the time where the same content was trained before.
    trained_before = ModelArtifact.objects.filter(version=model.version).exists()
    suffix = f"-{timezone.now():%m%d%H%M%S}" if trained_before else ""
    row.version = f"{model.version}{suffix}"
    row.save(update_fields=["version"])
    row.coverage = model.coverage()
    row.size_bytes = _store(row, replace(model, version=row.version))
    live = live_artifact()
    acceptance = judge(row.figures, live.figures if live is not None else {})
    row.note = acceptance.why
    row.state = ArtifactState.READY if acceptance.accepted else ArtifactState.REFUSED
    row.save()
    if acceptance.accepted:
        activate(row, by=by, now=timezone.now())
    report("done", 1.0)


def _sung_or_played(catalog: Catalog) -> Events:
    """Songs that members reported as sung or played; sittings are learned from them once there are enough."""
    reported = FeedbackEvent.objects.filter(type__in=(FeedbackType.SANG, FeedbackType.PLAY))
    columns = reported.values_list("member_key", "song_id", "occurred_at")
    log = list(columns.order_by("-occurred_at")[:MAX_EVENTS])
    keys, songs, moments = zip(*log, strict=True) if log else ((), (), ())
    rows = catalog.rows_of(songs)
    known = rows >= 0
    _, members = np.unique(np.array(keys, str), return_inverse=True)
    at_s = np.array([moment.timestamp() for moment in moments], np.float64)
    return Events.of_log(members[known].astype(np.int64), rows[known], at_s[known])


# --- Figures --------------------------------------------------------------------------------------
def measure_model(catalog: Catalog, chosen: TrainSettings, seed: int) -> dict[str, Any]:
    """The product's recipe and the baselines on a temporal split of the likes; {} where there are too few."""
    dataset = _dataset(catalog)
    if len(dataset.data) < MIN_LIKES_TO_MEASURE:
        return {}
    plan = EvaluationPlan(protocol="temporal", seed=seed, known_counts=(), train=chosen)
    split = _sampled(split_of(dataset, plan), seed)
    if not len(split.test):
        return {}
    return evaluate(dataset, split, plan, clock=time.perf_counter).figures


def _sampled(split: TrainTestSplit, seed: int) -> TrainTestSplit:
    members = np.unique(split.test.member)
    if len(members) <= MAX_TEST_MEMBERS:
        return split
    sampled = np.random.default_rng(seed).choice(members, MAX_TEST_MEMBERS, replace=False)
    return TrainTestSplit(train=split.train, test=split.test[np.isin(split.test.member, sampled)])


def _dataset(catalog: Catalog) -> Dataset:
    """Likes of songs that are in the catalog, in the form that is evaluated."""
    likes = reading.read_likes()
    known = np.isin(likes.songs, catalog.song_ids)
    members, member_codes = np.unique(likes.members[known], return_inverse=True)
    songs, song_codes = np.unique(likes.songs[known], return_inverse=True)
    count = int(known.sum())
    data = Interactions(
        member=member_codes.astype(np.int64),
        song=song_codes.astype(np.int64),
        at=np.asarray(likes.at_s[known], np.float64),
        kind=np.zeros(count, np.int64),
        weight=np.ones(count),
        session=np.full(count, -1, np.int64),
    )
    return Dataset(
        data=data,
        members=[str(member) for member in members],
        songs=[str(song) for song in songs],
        kinds=[SignalType.LIKE.value],
        sessions=[],
        about=dict(_described(catalog, songs.tolist())),
    )


def _described(catalog: Catalog, song_ids: list[int]) -> Iterator[tuple[str, dict[str, str]]]:
    for song_id, row in zip(song_ids, catalog.rows_of(song_ids), strict=True):
        song = catalog.view(int(row))
        yield (
            str(song_id),
            {
                "title": song.title_jp or song.title_kr or song.title_en,
                "artist": song.artist or song.artist_kr,
                "genre": song.genre,
                "mood": song.mood,
                "anime": song.anime,
                "language": song.lang,
                "tags": "",
            },
        )


def judge(measured: dict[str, Any], live: dict[str, Any]) -> Acceptance:
    """Refuse a model whose NDCG@10 is more than 2 % below that of the one in use."""
    ours, theirs = _ndcg(measured), _ndcg(live)
    if math.isnan(ours):
        return Acceptance(accepted=True, why="평가할 좋아요가 아직 적어 그대로 적용했습니다.")
    if math.isnan(theirs) or ours >= theirs * (1 - TOLERANCE):
        return Acceptance(accepted=True, why="")
    change = 100 * (ours / theirs - 1)
    return Acceptance(
        accepted=False,
        why=f"NDCG@10 {ours:.4f}, 사용 중인 모델 {theirs:.4f} ({change:+.1f} %): 2 % 넘게 낮아 적용하지 않았습니다.",
    )


def _ndcg(measured: dict[str, Any]) -> float:
    return float(measured.get("models", {}).get("songs_ai", {}).get("ndcg@10", math.nan))


# --- What is in force -----------------------------------------------------------------------------
def live_artifact() -> ModelArtifact | None:
    return (
        ModelArtifact.objects.filter(activated_at__isnull=False, state=ArtifactState.READY)
        .order_by("-activated_at")
        .first()
    )


def live_version() -> str:
    """The version of the model in force; "" before the first training."""
    row = live_artifact()
    return row.version if row is not None else ""


def activate(artifact: ModelArtifact, *, by: str, now: datetime) -> None:
    """Activate a model, newly trained or an earlier one; every process follows within seconds."""
    artifact.activated_at, artifact.activated_by = now, by
    artifact.save(update_fields=["activated_at", "activated_by"])


def _prune() -> None:
    """Delete models beyond MAX_MODELS, except the one in force, and the files of refused and failed ones."""
    live = live_artifact()
    ready = ModelArtifact.objects.filter(state=ArtifactState.READY).order_by("-created_at")
    retained = {row.pk for row in ready[:MAX_MODELS]} | ({live.pk} if live else set())
    for row in ready.exclude(pk__in=retained):
        row.delete()
    ModelArtifactChunk.objects.exclude(artifact__state=ArtifactState.READY).delete()


def _store(row: ModelArtifact, model: Model) -> int:
    """Write the model's files to the database, from where every host loads them; returns their size in bytes."""
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-model-"))
    try:
        model.save(folder)
        with transaction.atomic():
            return sum(_store_file(row, path) for path in sorted(folder.iterdir()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store_file(row: ModelArtifact, path: Path) -> int:
    size = 0
    with path.open("rb") as file:
        number = 0
        while body := file.read(active_engine.CHUNK_BYTES):
            ModelArtifactChunk.objects.create(
                artifact=row, name=path.name, number=number, body=body
            )
            size, number = size + len(body), number + 1
    return size
