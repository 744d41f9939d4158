"""Trains a model beside the live one, measures it on the newest likes, and puts it in force if it is no worse."""

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
from infrastructure.database import (
    release_connections,
)
from profiles.models import FeedbackEvent, FeedbackType

from ..errors import SongsError
from ..locks import claim, extend, release
from ..models import ModelArtifact, ModelArtifactChunk
from ..serving import active_engine

log = logging.getLogger(__name__)
#: Models kept for rolling back; older ones are deleted with their files.
KEPT = 5
#: A model may lose so much NDCG@10 against the one in use before it is refused.
TOLERANCE = 0.02
#: Members asked about; their interval is narrow enough, and more would take longer than the training.
MOST_MEMBERS_ASKED = 1_000
#: Below this the newest fifth of the likes says nothing: the model is taken without figures.
LEAST_LIKES_TO_MEASURE = 500
LEASE_S = 30 * 60
#: The latest events that sittings are learned from.
MOST_EVENTS = 500_000

Tell = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model may replace the one in use."""

    accepted: bool
    why: str


class TrainingRuns(SongsError):
    """A training is under way already; wait for it."""


def train(*, by: str, seed: int = 0, tell: Tell | None = None) -> ModelArtifact:
    """Train, measure, store and, unless it is worse, activate. Minutes; one training at a time.

    Raises TrainingRuns. A failure leaves a row that says so, and the model in use stays.
    """
    token = claim("training", ttl_s=LEASE_S)
    if token is None:
        raise TrainingRuns
    row = ModelArtifact.objects.create(
        version=f"building-{timezone.now():%Y%m%d%H%M%S%f}", state=ModelArtifact.State.BUILDING
    )
    began = time.perf_counter()
    try:
        _train(row, by=by, seed=seed, tell=_telling(token, tell))
    except Exception as error:
        row.state, row.note = ModelArtifact.State.FAILED, f"{type(error).__name__}: {error}"[:500]
        raise
    finally:
        release_connections()
        row.seconds = round(time.perf_counter() - began, 1)
        row.save()
        release("training", token)
    _prune()
    return row


def _telling(token: str, tell: Tell | None) -> Tell:
    """Tell on, and hold on to the lease meanwhile. Between two stages is nothing but computing."""

    def told(stage: str, done: float) -> None:
        release_connections()
        extend("training", token, ttl_s=LEASE_S)
        log.info("Training: %s (%.0f %%)", stage, done * 100)
        if tell is not None:
            tell(stage, done)

    return told


def _train(row: ModelArtifact, *, by: str, seed: int, tell: Tell) -> None:
    tell("read", 0.0)
    catalog = snapshot.refresh().catalog
    release_connections()  # a large catalog takes longer to build than a connection may be silent
    chosen = TrainSettings(ease_max_songs=settings.EASE_MAX_ITEMS)
    corpus = replace(catalog.corpus, events=_sung(catalog))
    model = Model.train(
        corpus, settings=chosen, seed=seed, progress=lambda s, d: tell(s, 0.05 + 0.5 * d)
    )
    tell("measure", 0.6)
    row.figures = figures(catalog, chosen, seed=seed)
    tell("store", 0.9)
    _unique_version(row, model)
    row.coverage = model.coverage()
    row.size_bytes = _store(row, replace(model, version=row.version))
    verdict = judged(row.figures, _live_figures())
    row.note = verdict.why
    row.state = ModelArtifact.State.READY if verdict.accepted else ModelArtifact.State.REFUSED
    row.save()
    if verdict.accepted:
        activate(row, by=by, now=timezone.now())
    tell("done", 1.0)


def _sung(catalog: Catalog) -> Events:
    """What members reported as sung or played; sittings are learned from it once there are enough."""
    reported = FeedbackEvent.objects.filter(type__in=(FeedbackType.SANG, FeedbackType.PLAY))
    columns = reported.values_list("member_key", "song_id", "occurred_at")
    log = list(columns.order_by("-occurred_at")[:MOST_EVENTS])
    keys, songs, moments = zip(*log, strict=True) if log else ((), (), ())
    rows = catalog.rows_of(songs)
    held = rows >= 0
    _, members = np.unique(np.array(keys, str), return_inverse=True)
    at_s = np.array([moment.timestamp() for moment in moments], np.float64)
    return Events.of_log(members[held].astype(np.int64), rows[held], at_s[held])


def _unique_version(row: ModelArtifact, model: Model) -> None:
    """The content's digest; with the time where the same content was trained before."""
    taken = ModelArtifact.objects.filter(version=model.version).exists()
    row.version = f"{model.version}-{timezone.now():%m%d%H%M%S}" if taken else model.version
    row.save(update_fields=["version"])


# --- Figures --------------------------------------------------------------------------------------
def figures(catalog: Catalog, chosen: TrainSettings, *, seed: int = 0) -> dict[str, Any]:
    """The product's recipe and the baselines on a temporal split of the likes; {} where there are too few."""
    dataset = _dataset(catalog)
    if len(dataset.data) < LEAST_LIKES_TO_MEASURE:
        return {}
    plan = EvaluationPlan(protocol="temporal", seed=seed, known_counts=(), train=chosen)
    split = _sampled(split_of(dataset, plan), seed)
    if not len(split.test):
        return {}
    return evaluate(dataset, split, plan, clock=time.perf_counter).figures


def _sampled(split: TrainTestSplit, seed: int) -> TrainTestSplit:
    members = np.unique(split.test.member)
    if len(members) <= MOST_MEMBERS_ASKED:
        return split
    asked = np.random.default_rng(seed).choice(members, MOST_MEMBERS_ASKED, replace=False)
    return TrainTestSplit(train=split.train, test=split.test[np.isin(split.test.member, asked)])


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


def judged(measured: dict[str, Any], live: dict[str, Any]) -> Verdict:
    """Refuse a model whose NDCG@10 lies more than 2 % below that of the one in use."""
    ours, theirs = _ndcg(measured), _ndcg(live)
    if math.isnan(ours):
        return Verdict(accepted=True, why="평가할 좋아요가 아직 적어 그대로 적용했습니다.")
    if math.isnan(theirs) or ours >= theirs * (1 - TOLERANCE):
        return Verdict(accepted=True, why="")
    change = 100 * (ours / theirs - 1)
    return Verdict(
        accepted=False,
        why=f"NDCG@10 {ours:.4f}, 사용 중인 모델 {theirs:.4f} ({change:+.1f} %): 2 % 넘게 낮아 적용하지 않았습니다.",
    )


def _ndcg(measured: dict[str, Any]) -> float:
    return float(measured.get("models", {}).get("songs_ai", {}).get("ndcg@10", math.nan))


def _live_figures() -> dict[str, Any]:
    row = live_artifact()
    return row.figures if row is not None else {}


# --- What is in force -----------------------------------------------------------------------------
def live_artifact() -> ModelArtifact | None:
    return (
        ModelArtifact.objects.filter(activated_at__isnull=False, state=ModelArtifact.State.READY)
        .order_by("-activated_at")
        .first()
    )


def live_version() -> str:
    """The version in force; "" before the first training."""
    row = live_artifact()
    return row.version if row is not None else ""


def activate(artifact: ModelArtifact, *, by: str, now: datetime) -> None:
    """Put a model in force, newly trained or an earlier one; every process follows within seconds."""
    artifact.activated_at, artifact.activated_by = now, by
    artifact.save(update_fields=["activated_at", "activated_by"])


def _prune() -> None:
    """Keep the last models and whichever is in force; rows of refused and failed ones lose their files."""
    live = live_artifact()
    ready = ModelArtifact.objects.filter(state=ModelArtifact.State.READY).order_by("-created_at")
    kept = {row.pk for row in ready[:KEPT]} | ({live.pk} if live else set())
    for row in ready.exclude(pk__in=kept):
        row.delete()
    ModelArtifactChunk.objects.exclude(artifact__state=ModelArtifact.State.READY).delete()


def _store(row: ModelArtifact, model: Model) -> int:
    """Put the model's files into the database, where every host finds them; returns bytes."""
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
