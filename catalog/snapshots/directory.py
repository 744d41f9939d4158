"""Stores the snapshots of a host in a directory that all its processes share."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalog.reading import Likes, Marks
from engine.catalog.catalog import Catalog
from engine.catalog.search.index import SearchIndex
from engine.catalog.storage import CatalogDamaged

log = logging.getLogger(__name__)

#: Finished snapshots that stay: the older one may still be being loaded.
KEPT_SNAPSHOTS = 2


@dataclass(frozen=True, kw_only=True)
class CatalogSnapshot:
    """All songs of one moment, ready to be recommended from and searched."""

    catalog: Catalog
    search: SearchIndex
    loaded_at: datetime  #: Timezone-aware.
    #: Name of its folder; "" when it exists in memory only.
    folder: str = ""

    @property
    def version(self) -> str:
        return self.catalog.version

    @classmethod
    def now(cls, catalog: Catalog, search: SearchIndex, *, folder: str = "") -> CatalogSnapshot:
        return cls(catalog=catalog, search=search, loaded_at=datetime.now(UTC), folder=folder)


@dataclass(frozen=True, kw_only=True)
class DatabaseCheck:
    """Result of the last check of the database; shared by the processes of a host."""

    #: None: never checked.
    marks: Marks | None = None
    checksum: str = ""
    compared_at: float = 0.0  #: epoch seconds
    likes_at: float = 0.0
    likes_marks: str = ""


class SnapshotDirectory:
    """Folders named by time and version, one lock per host, and the record of the last check."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- snapshots ----------------------------------------------------------------------------

    def finished(self) -> list[Path]:
        """Folders of whole snapshots, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if path.name[0].isdigit())

    def newest(self) -> Path | None:
        return next(reversed(self.finished()), None)

    def load_newest(self, current: CatalogSnapshot | None) -> CatalogSnapshot | None:
        """Map the newest undamaged snapshot, or return `current` if it is that one; None without any."""
        for path in reversed(self.finished()):
            if current is not None and path.name == current.folder:
                return current
            try:
                catalog = Catalog.load(path / "catalog")
                search = SearchIndex.load(path / "search", catalog)
            except CatalogDamaged as error:
                log.warning("A snapshot is damaged and removed: %s", error)
                shutil.rmtree(path, ignore_errors=True)
                continue
            return CatalogSnapshot.now(catalog, search, folder=path.name)
        return None

    def publish(self, catalog: Catalog, search: SearchIndex, likes: Likes) -> None:
        """Write a snapshot beside the old ones and rename it: a reader finds all of it or nothing."""
        with self.draft(catalog) as draft:
            catalog.save(draft / "catalog")
            search.save(draft / "search")
            likes.save(draft / "likes")

    @contextmanager
    def draft(self, catalog: Catalog) -> Iterator[Path]:
        """A folder that becomes the newest snapshot when all of it is written."""
        draft = Path(tempfile.mkdtemp(prefix=".building-", dir=self.path))
        try:
            yield draft
            draft.chmod(0o755)
            draft.rename(self.path / f"{time.time_ns():020d}-{catalog.version}")
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # a published one has been renamed
        for old in [*self.finished()[:-KEPT_SNAPSHOTS], *self.path.glob(".building-*")]:
            shutil.rmtree(old, ignore_errors=True)

    # --- the last check -----------------------------------------------------------------------

    @property
    def _check_file(self) -> Path:
        return self.path / "checked.json"

    def checked_at(self) -> float:
        """Epoch seconds of the last check; 0 when there was none."""
        try:
            return self._check_file.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def claim_check(self) -> None:
        """Record that a check begins, so that other processes wait for their turn."""
        self._check_file.touch()

    def read_check(self) -> DatabaseCheck:
        try:
            values = json.loads(self._check_file.read_text("utf-8"))
            return DatabaseCheck(**{**values, "marks": Marks(**values["marks"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return DatabaseCheck()

    def write_check(self, check: DatabaseCheck) -> None:
        draft = self._check_file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(check)), "utf-8")
        draft.replace(self._check_file)

    # --- the lock of a host -------------------------------------------------------------------

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock that one process of a host can have; False if another has it (wait=False)."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def published_ns(snapshot: Path) -> int:
    """Epoch nanoseconds at which a snapshot was published."""
    return int(snapshot.name.partition("-")[0])
