"""Holds the model and the engine settings in force, and follows changes within seconds."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from catalog import snapshot
from engine.settings import EngineSettings
from engine.training.context_learning import Heard, with_learned
from engine.training.model import Model
from engine.training.model_files import ModelFileInvalid
from infrastructure.database import DATABASE_FAULTS, guard

from ..models import EngineSettingsVersion, LearnedSituations, ModelArtifact

log = logging.getLogger(__name__)
POLL_S = 3.0
#: Piece of a file per row: below MySQL's default packet of 16 MiB with room for escaping.
CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """Everything a recommendation is computed with. Immutable: replaced as a whole."""

    snapshot: snapshot.CatalogSnapshot
    model: Model
    settings: EngineSettings
    #: Recorded with every answer that is computed with it.
    versions: dict[str, str]


class _Holder:
    """The state of this process. At most one thread renews it; the others use the current one meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._state: EngineState | None = None
        self._trained: Model | None = None
        self._checked_at = 0.0

    def current(self) -> EngineState:
        """The state in force; raises CatalogUnavailable when no catalog was ever read."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
        songs = snapshot.current()
        state = self._state
        stale = state is None or state.snapshot.version != songs.version
        due = time.monotonic() - self._checked_at > POLL_S
        if not (stale or due) and state is not None:
            return state
        # Only the first caller of a process waits; later ones go on with the current state.
        if not self._lock.acquire(blocking=state is None):
            return state  # type: ignore[return-value]
        try:
            return self._renew(songs)
        finally:
            self._lock.release()

    def _renew(self, songs: snapshot.CatalogSnapshot) -> EngineState:
        state = self._state
        try:
            with guard():
                trained, chosen = self._live_model(), _live_settings()
        except DATABASE_FAULTS:
            if state is not None and state.snapshot.version == songs.version:
                self._checked_at = time.monotonic()
                return state
            trained = self._trained
            chosen = state.settings if state is not None else EngineSettings()
        unchanged = (
            state is not None
            and state.snapshot is songs
            and trained is self._trained
            and chosen == state.settings
        )
        if state is None or not unchanged:
            state = _assemble(songs, trained, chosen)
        self._trained, self._state, self._checked_at = trained, state, time.monotonic()
        return state

    def _live_model(self) -> Model | None:
        """The model in force; while its files are damaged the previous one, also in a new process."""
        activated = ModelArtifact.objects.filter(
            activated_at__isnull=False, state=ModelArtifact.State.READY
        )
        for row in activated.order_by("-activated_at").only("pk", "version"):
            if self._trained is not None and self._trained.version == row.version:
                return self._trained
            try:
                return Model.load(fetch(row))
            except (ModelFileInvalid, OSError) as error:
                log.error("Model %s is unusable, the previous one stays: %s", row.version, error)
                shutil.rmtree(_folder(row.version), ignore_errors=True)
        return self._trained

    def expire(self) -> None:
        """Check the database at the next call instead of up to POLL_S later."""
        self._checked_at = 0.0

    def reset(self) -> None:
        """Start as a new process would (tests)."""
        self._checked_at = 0.0
        self._state = None
        self._trained = None


def _live_settings() -> EngineSettings:
    row = EngineSettingsVersion.objects.order_by("-number").first()
    chosen = EngineSettings()
    if row is not None:
        chosen = EngineSettings.from_json(row.payload, version=str(row.number))
    learned = LearnedSituations.objects.order_by("-pk").first()
    if learned is None:
        return chosen
    situations = with_learned(chosen.situations, Heard.from_json(learned.heard))
    if situations == chosen.situations:
        return chosen
    return replace(chosen, situations=situations, version=f"{chosen.version}+{learned.pk}")


def _assemble(
    songs: snapshot.CatalogSnapshot, trained: Model | None, chosen: EngineSettings
) -> EngineState:
    base = trained if trained is not None else Model.untrained(songs.catalog.corpus)
    model = base.realigned(songs.catalog.corpus.song_ids)
    versions = {
        # Without the part for likes: new likes of others outdate no answer before the nightly refresh.
        "catalog": songs.version.partition("-")[0],
        "model": base.version,
        "settings": chosen.version,
    }
    return EngineState(snapshot=songs, model=model, settings=chosen, versions=versions)


def _folder(version: str) -> Path:
    return Path(settings.DATA_DIR) / "models" / version


def fetch(artifact: ModelArtifact) -> Path:
    """The folder of an artifact on this host, downloaded from the database when it is missing."""
    folder = _folder(artifact.version)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetching-"))
    try:
        for chunk in artifact.chunks.order_by("name", "number").iterator(chunk_size=1):
            with (building / Path(chunk.name).name).open("ab") as file:
                file.write(chunk.body)
        building.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


_holder = _Holder()
current = _holder.current
expire = _holder.expire
reset = _holder.reset
