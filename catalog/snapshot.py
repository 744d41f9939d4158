"""Holds the catalog every process of this host recommends from, and refreshes it in the background."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import close_old_connections, connections

from catalog import reading
from catalog.queries import catalog_alias
from catalog.snapshots.building import RefreshSettings, SnapshotBuilder, build_whole
from catalog.snapshots.directory import CatalogSnapshot, SnapshotDirectory, published_ns
from catalog.snapshots.host_refresh import HostRefresh
from engine.catalog.catalog import FORMAT, Catalog
from engine.catalog.search.index import SearchIndex
from infrastructure.database import DATABASE_FAULTS, guard

log = logging.getLogger(__name__)


class CatalogUnavailable(Exception):
    """No catalog was ever read on this host and the database does not answer."""

    code = "CATALOG_UNAVAILABLE"
    retryable = True

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Snapshots:
    """The newest snapshot, in the memory of this process; the database is checked on `refresh` only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: CatalogSnapshot | None = None

    def current(self) -> CatalogSnapshot:
        """Return the newest snapshot. The first call loads or builds it, later ones cost nothing.

        Raises CatalogUnavailable when none was ever built and the database does not answer.
        """
        snapshot = self._snapshot
        if snapshot is None:
            with self._lock:
                snapshot = self._snapshot or self._first()
        return snapshot

    def refresh(self) -> CatalogSnapshot:
        """Check the database now and build anew if anything changed, likes included."""
        return self._first()

    def build(self) -> None:
        """Build what changed, for a process that serves no requests."""
        self.refresh()

    def clear(self) -> None:
        """Drop what this process holds; the next `current()` starts over."""
        self._snapshot = None

    def _first(self) -> CatalogSnapshot:
        try:
            catalog = build_whole(reading.read_likes())
        except DATABASE_FAULTS as error:
            raise CatalogUnavailable from error
        self._snapshot = CatalogSnapshot.now(catalog, SearchIndex.build(catalog))
        return self._snapshot


class HostSnapshots(Snapshots):
    """Builds snapshots into a directory once per host and maps them into this process."""

    def __init__(
        self,
        directory: Path,
        *,
        refresh: RefreshSettings | None = None,
        build_whole: Callable[[reading.Likes], Catalog] = build_whole,
        in_background: bool = True,
    ) -> None:
        super().__init__()
        self._refresh = refresh or RefreshSettings.from_settings()
        self.directory = SnapshotDirectory(directory)
        self.builder = SnapshotBuilder(self.directory, self._refresh, build_whole=build_whole)
        self._host = HostRefresh(
            self.directory, self.builder, self._refresh, on_published=self.load_newest
        )
        self._in_background = in_background
        self._thread_pid = 0  # threads do not survive a fork

    def current(self) -> CatalogSnapshot:
        snapshot = super().current()
        if self._in_background and self._thread_pid != os.getpid():
            self._start_thread()
        return snapshot

    def refresh(self) -> CatalogSnapshot:
        with self.directory.lock():
            self.builder.build_if_changed(now=True)
        self.load_newest()
        return self.current()

    def build(self) -> None:
        """Build what changed, unless another process published since this one began to wait."""
        began = time.time_ns()
        with self.directory.lock():
            newest = self.directory.newest()
            if newest is None or published_ns(newest) < began:
                self.builder.build_if_changed(now=True)

    def load_newest(self) -> bool:
        """Map the newest snapshot of this host; False when there is none."""
        newest = self.directory.load_newest(self._snapshot)
        if newest is None:
            return False
        self._snapshot = newest
        return True

    def check(self) -> None:
        """Load a newer snapshot of this host; check the database if it is this process's turn."""
        self.load_newest()
        self._host.run_if_due()

    def _first(self) -> CatalogSnapshot:
        if not self.load_newest():
            # Build, or wait for the process that already does. A child builds a large catalog here too:
            # that takes longer than a request waits for the database.
            try:
                with guard():
                    self._host.build(reading.read_marks().n_songs)
            except (*DATABASE_FAULTS, subprocess.SubprocessError) as error:
                raise CatalogUnavailable from error
            self.load_newest()
        if self._snapshot is None:
            raise CatalogUnavailable
        return self._snapshot

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread_pid == os.getpid():
                return
            self._thread_pid = os.getpid()
        threading.Thread(target=self._check_forever, name="catalog-refresh", daemon=True).start()

    def _check_forever(self) -> None:
        database_down = False
        while True:
            time.sleep(self._refresh.load_every_s)
            try:
                self.check()
                database_down = False
            except DATABASE_FAULTS as error:
                if not database_down:
                    log.warning("Catalog not refreshed, the last one is served: %s", error)
                database_down = True
            except Exception:  # the loop must outlive a full disk or a bad row
                log.exception("Catalog not refreshed, the last one is served")
            finally:
                close_old_connections()


@cache
def snapshots() -> Snapshots:
    """The snapshots of this process."""
    if settings.TESTING:  # each test has a catalog of its own; nothing is left on disk
        return Snapshots()
    # Name database and layout: a host that changes databases never serves the other's songs, and two
    # releases side by side never remove each other's files.
    config = connections[catalog_alias()].settings_dict
    parts = [str(config[key]) for key in ("ENGINE", "HOST", "PORT", "NAME")]
    parts.append(f"layout {FORMAT}")
    folder = hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()
    return HostSnapshots(settings.DATA_DIR / "snapshots" / folder)


def current() -> CatalogSnapshot:
    """Return the newest snapshot; raises CatalogUnavailable when none was ever built."""
    return snapshots().current()


def refresh() -> CatalogSnapshot:
    """Check the database now; for staff, imports and tests."""
    return snapshots().refresh()


def clear_cache() -> None:
    """Drop what this process holds (tests)."""
    snapshots().clear()
