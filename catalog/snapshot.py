"""Holds the catalog every process of this host recommends from, and keeps it fresh in the background."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db import close_old_connections, connections

from catalog import reading
from catalog.queries import (
    catalog_alias,
)
from engine.catalog.catalog import FORMAT, Catalog
from engine.catalog.patching import CannotPatch, patched
from engine.catalog.search.index import SearchIndex
from engine.catalog.storage import CatalogDamaged
from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
)

log = logging.getLogger(__name__)

#: How often a process looks whether another one of this host built a newer snapshot (a directory listing).
LOOK_EVERY_S = 1.0
#: Members' own likes are read per request; only co-likes and popularity wait for this.
LIKES_EVERY_S = 300.0
#: A full comparison, in case an edit left no trace in the marks.
COMPARE_EVERY_S = 600.0
#: From this size on a child process builds: neither its memory nor its CPU are the serving process's.
BUILD_IN_CHILD_FROM_SONGS = 20_000
BUILD_TIMEOUT_S = 15 * 60
BUILD_COMMAND = (sys.executable, "-m", "catalog.build_process")
#: From this size on a change of a few songs is shown at once, before the whole is built anew.
PATCH_FROM_SONGS = 20_000
#: More stretches of ids than this are no small change.
MOST_STRETCHES = 20
KEEP = 2


class CatalogUnavailable(Exception):
    """No catalog was ever read on this host and the database does not answer."""

    code = "CATALOG_UNAVAILABLE"
    retryable = True

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All songs of one moment, ready to be recommended from and searched."""

    catalog: Catalog
    search: SearchIndex
    loaded_at: datetime  #: Timezone-aware.
    version: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the last look at the database found; shared by the processes of a host."""

    marks: dict[str, Any]
    checksum: str = ""
    compared_at: float = 0.0  #: epoch seconds
    likes_at: float = 0.0
    likes_marks: str = ""


@dataclass
class _Shown:
    """The songs that were last published, by their marks and checksum."""

    marks: str
    checksum: str


class Snapshots:
    """Builds snapshots into a directory once per host and maps them into this process.

    directory: None keeps everything in this process's memory and looks only when told to.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._name = ""
        self._thread_of = 0  # process id; threads do not survive a fork

    # --- for everyone -------------------------------------------------------------------------

    def current(self) -> Snapshot:
        """Return the newest snapshot. The first call loads or builds it, later ones cost nothing.

        Raises CatalogUnavailable when none was ever built and the database does not answer.
        """
        snapshot = self._snapshot
        if snapshot is None:
            with self._lock:
                snapshot = self._snapshot or self._first()
        if self._directory and self._thread_of != os.getpid():
            self._watch()
        return snapshot

    def refresh(self) -> Snapshot:
        """Look at the database now and build anew if anything changed, likes included."""
        if self._directory is None:
            self._snapshot = self._in_memory()
            return self._snapshot
        with self._host_lock():
            self._build_if_changed(now=True)
        self._load_newest()
        return self.current()

    def build(self) -> None:
        """Build what changed, for a process that serves nobody; not again what another one published meanwhile."""
        began = time.time_ns()
        with self._host_lock():
            newest = self._newest()
            if newest is None or _published_ns(newest) < began:
                self._build_if_changed(now=True)

    def forget(self) -> None:
        """Drop what this process holds; the next `current()` starts over."""
        self._snapshot, self._name = None, ""

    # --- first use ----------------------------------------------------------------------------

    def _first(self) -> Snapshot:
        if self._directory is None:
            self._snapshot = self._in_memory()
            return self._snapshot
        if not self._load_newest():
            self._build_first()
        if self._snapshot is None:
            raise CatalogUnavailable
        return self._snapshot

    def _build_first(self) -> None:
        """Build, or wait for the process that already does.

        A large catalog is read by a child here too: a request's patience with the database is shorter than that takes.
        """
        try:
            with guard():
                self._build_apart(reading.read_marks().n_songs)
        except (*DATABASE_FAULTS, subprocess.SubprocessError) as error:
            raise CatalogUnavailable from error
        self._load_newest()

    def _in_memory(self) -> Snapshot:
        try:
            catalog = _whole_catalog(reading.read_likes())
        except DATABASE_FAULTS as error:
            raise CatalogUnavailable from error
        return _snapshot(catalog, SearchIndex.build(catalog))

    # --- in the background --------------------------------------------------------------------

    def _watch(self) -> None:
        with self._lock:
            if self._thread_of == os.getpid():
                return
            self._thread_of = os.getpid()
        threading.Thread(target=self._watch_forever, name="catalog-refresh", daemon=True).start()

    def _watch_forever(self) -> None:
        down = False
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                self.look()
                down = False
            except DATABASE_FAULTS as error:
                if not down:
                    log.warning("Catalog not refreshed, the last one is served: %s", error)
                down = True
            except Exception:  # the loop must outlive a full disk or a bad row
                log.exception("Catalog not refreshed, the last one is served")
            finally:
                close_old_connections()

    def look(self) -> None:
        """Take over a newer snapshot of this host; look at the database if it is this process's turn."""
        self._load_newest()
        if self._due() and (n_songs := self._suspected()) is not None:
            self._build_apart(n_songs)
            self._load_newest()

    def _due(self) -> bool:
        """One process per host looks at the database, every CATALOG_REFRESH_S."""
        try:
            looked_at = self._checked_file.stat().st_mtime
        except FileNotFoundError:
            return True
        return time.time() - looked_at >= settings.CATALOG_REFRESH_S

    def _suspected(self) -> int | None:
        """Return the number of songs if anything may have changed, by the cheap marks alone."""
        with self._host_lock(wait=False) as mine:
            if not mine or not self._due():
                return None
            self._checked_file.touch()  # the others need not look for a while
            checked, marks = self._read_checked(), reading.read_marks()
            moved = marks.songs != checked.marks.get("songs") or not self._newest()
            stale = time.time() - checked.compared_at >= COMPARE_EVERY_S
            return marks.n_songs if moved or stale or _likes_wait(checked, marks) else None

    def _build_apart(self, n_songs: int) -> None:
        """Build in this process when that is quick, else in a child."""
        if n_songs < BUILD_IN_CHILD_FROM_SONGS:
            with self._host_lock():
                self._build_if_changed(now=False)
            return
        with subprocess.Popen(BUILD_COMMAND, cwd=settings.BASE_DIR) as child:
            try:
                self._follow(child)
            finally:
                child.kill()
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, BUILD_COMMAND)

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        """Take over what the child publishes, the quick patch first, until it ends."""
        until = time.monotonic() + BUILD_TIMEOUT_S
        while time.monotonic() < until:
            try:
                child.wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                self._load_newest()
                continue
            return
        raise subprocess.TimeoutExpired(child.args, BUILD_TIMEOUT_S)

    # --- building -----------------------------------------------------------------------------

    def _build_if_changed(self, *, now: bool) -> None:
        """Build what changed. The caller holds the host's lock."""
        # Marks and checksum are read before the rows: a change meanwhile shows at the next look.
        before = self._read_checked()
        changed, checked = self._compared(before, now=now)
        if changed == "songs":
            self._show_at_once(before.checksum, checked.checksum)
        if changed:
            likes = self._stored_likes() if changed == "songs" else None
            if likes is None:
                checked = replace(checked, likes_at=time.time(), likes_marks=checked.marks["likes"])
                likes = reading.read_likes()
            with self._showing_changes(checked) as shown:
                catalog = self._catalog(changed, likes)
                index = self._index(catalog)
            self._publish(*_with_late_changes(catalog, index, checked, shown), likes)
        # What came during the build is told apart from what was built: the next look builds again.
        self._write_checked(checked)

    @contextmanager
    def _showing_changes(self, checked: Checked) -> Iterator[_Shown]:
        """During a long build, publish further changes of songs as they come; yields the last one shown."""
        shown = _Shown(checked.marks["songs"], checked.checksum)
        done = threading.Event()

        def watch() -> None:
            while not done.wait(settings.CATALOG_REFRESH_S):
                try:
                    self._show_further(shown)
                except DATABASE_FAULTS as error:
                    log.warning("A change waits for the catalog that is being built: %s", error)
            connections.close_all()

        thread = threading.Thread(target=watch, name="catalog-changes", daemon=True)
        if checked.marks["n_songs"] >= PATCH_FROM_SONGS and checked.checksum:
            thread.start()
        try:
            yield shown
        finally:
            done.set()
            if thread.ident:
                thread.join()

    def _show_further(self, shown: _Shown) -> None:
        """Publish what changed since it was last shown."""
        marks = reading.read_marks().songs
        if marks != shown.marks:
            checksum = reading.songs_checksum()
            self._show_at_once(shown.checksum, checksum)
            shown.marks, shown.checksum = marks, checksum

    def _show_at_once(self, before: str, after: str) -> None:
        """Publish the newest catalog with the songs of the changed stretches in their new form."""
        newest = self._newest()
        if newest is None or before == after:
            return
        try:
            catalog = Catalog.load(newest / "catalog")
            if catalog.n < PATCH_FROM_SONGS:
                return
            search = SearchIndex.load(newest / "search", catalog)
            catalog, search = _with_changes(catalog, search, before, after)
        except (CatalogDamaged, CannotPatch) as error:
            log.info("The change waits for the whole catalog: %s", error)
            return
        with self._draft(catalog) as draft:
            catalog.save(draft / "catalog")
            search.save(draft / "search")
            shutil.copytree(newest / "likes", draft / "likes")

    def _compared(self, checked: Checked, *, now: bool) -> tuple[str, Checked]:
        """Return "songs", "likes" or "", and what to remember of this look."""
        marks = reading.read_marks()
        moved = marks.songs != checked.marks.get("songs") or not self._newest()
        after = replace(checked, marks=marks.to_json())
        if now or moved or time.time() - checked.compared_at >= COMPARE_EVERY_S:
            checksum = reading.songs_checksum()
            after = replace(after, checksum=checksum, compared_at=time.time())
            if checksum != checked.checksum or not self._newest():
                return "songs", after
        likes_moved = now and marks.likes != checked.likes_marks
        return "likes" if likes_moved or _likes_wait(checked, marks) else "", after

    def _stored_likes(self) -> reading.Likes | None:
        """The likes of the newest snapshot: a changed song is no reason to read a million likes."""
        newest = self._newest()
        try:
            return reading.Likes.load(newest / "likes") if newest else None
        except (OSError, ValueError, EOFError):
            return None

    def _catalog(self, changed: str, likes: reading.Likes) -> Catalog:
        newest = self._newest()
        if changed == "likes" and newest:
            try:
                return Catalog.load(newest / "catalog").with_behaviour(
                    likes=likes.like_columns,
                    playlist_songs=likes.place_columns,
                    now=datetime.now(UTC),
                )
            except CatalogDamaged as error:
                log.warning("Building the catalog anew: %s", error)
        return _whole_catalog(likes)

    def _publish(self, catalog: Catalog, index: SearchIndex, likes: reading.Likes) -> None:
        """Write beside the old ones and rename: a reader sees all of it or nothing."""
        with self._draft(catalog) as draft:
            catalog.save(draft / "catalog")
            index.save(draft / "search")
            likes.save(draft / "likes")

    @contextmanager
    def _draft(self, catalog: Catalog) -> Iterator[Path]:
        """A folder that becomes the newest snapshot when all of it is written."""
        assert self._directory
        draft = Path(tempfile.mkdtemp(prefix=".building-", dir=self._directory))
        try:
            yield draft
            draft.chmod(0o755)
            draft.rename(self._directory / f"{time.time_ns():020d}-{catalog.version}")
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # nothing is left of it when it was published
        self._remove_old()

    def _index(self, catalog: Catalog) -> SearchIndex:
        """The newest index when only likes changed, else a new one (seconds at 100 000 songs)."""
        newest = self._newest()
        if newest:
            try:
                return SearchIndex.load(newest / "search", catalog)
            except CatalogDamaged:
                pass  # of other songs: the usual case after a change of the catalog
        return SearchIndex.build(catalog)

    def _remove_old(self) -> None:
        """Keep the newest two: one may still be being loaded."""
        assert self._directory
        for old in [*self._finished()[:-KEEP], *self._directory.glob(".building-*")]:
            shutil.rmtree(old, ignore_errors=True)

    # --- the directory ------------------------------------------------------------------------

    def _finished(self) -> list[Path]:
        """Oldest first."""
        if self._directory is None or not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if path.name[0].isdigit())

    def _newest(self) -> Path | None:
        return next(reversed(self._finished()), None)

    def _load_newest(self) -> bool:
        """Map the newest undamaged snapshot; False when there is none."""
        for path in reversed(self._finished()):
            if path.name == self._name:
                return True
            try:
                catalog = Catalog.load(path / "catalog")
                search = SearchIndex.load(path / "search", catalog)
            except CatalogDamaged as error:
                log.warning("A snapshot is damaged and removed: %s", error)
                shutil.rmtree(path, ignore_errors=True)
                continue
            self._snapshot, self._name = _snapshot(catalog, search), path.name
            return True
        return False

    @property
    def _checked_file(self) -> Path:
        assert self._directory
        return self._directory / "checked.json"

    def _read_checked(self) -> Checked:
        try:
            return Checked(**json.loads(self._checked_file.read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return Checked(marks={})

    def _write_checked(self, checked: Checked) -> None:
        draft = self._checked_file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(vars(checked)), "utf-8")
        draft.replace(self._checked_file)

    @contextmanager
    def _host_lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock that one process of this host can have; False if another has it (wait=False)."""
        assert self._directory
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def _published_ns(snapshot: Path) -> int:
    return int(snapshot.name.partition("-")[0])


def _likes_wait(checked: Checked, marks: reading.Marks) -> bool:
    """Tell whether likes changed and it is their turn to be read."""
    due = time.time() - checked.likes_at >= LIKES_EVERY_S
    return due and marks.likes != checked.likes_marks


def _whole_catalog(likes: reading.Likes) -> Catalog:
    inactive = reading.read_inactive()
    catalog = Catalog.build(
        reading.read_songs(),
        likes=likes.like_columns,
        playlist_songs=likes.place_columns,
        inactive=inactive,
        now=datetime.now(UTC),
    )
    return _with_activity_in_version(catalog)


def _with_changes(
    catalog: Catalog, search: SearchIndex, before: str, after: str
) -> tuple[Catalog, SearchIndex]:
    """Both with the songs that differ between two checksums in their new form.

    Raises CannotPatch when these are many, or rows of other songs would move.
    """
    stretches = reading.changed_stretches(before, after)
    if stretches is None or len(stretches) > MOST_STRETCHES:
        raise CannotPatch("too much changed")
    songs = list(reading.read_songs(stretches))
    gone = reading.ids_in(catalog.song_ids, stretches) - {song.song_id for song in songs}
    hidden = [*reading.read_inactive(), *gone]
    now_known = patched(catalog, songs, inactive=hidden, now=datetime.now(UTC))
    return now_known, search.serving(now_known)


def _with_late_changes(
    catalog: Catalog, index: SearchIndex, checked: Checked, shown: _Shown
) -> tuple[Catalog, SearchIndex]:
    """What was built, with what was shown meanwhile: nobody sees a change go away again."""
    if shown.checksum == checked.checksum:
        return catalog, index
    try:
        return _with_changes(catalog, index, checked.checksum, shown.checksum)
    except CannotPatch as error:
        log.info("What changed meanwhile waits for the next build: %s", error)
        return catalog, index


def _with_activity_in_version(catalog: Catalog) -> Catalog:
    """A song taken off must change the version although no text of it changed."""
    if catalog.active.all():
        return catalog
    songs, dash, behaviour = catalog.version.partition("-")
    taken_off = hashlib.blake2b(
        np.packbits(catalog.active).tobytes(), digest_size=4, key=songs.encode()[:32]
    ).hexdigest()
    return replace(catalog, version=f"{songs}{taken_off}{dash}{behaviour}")


def _snapshot(catalog: Catalog, search: SearchIndex) -> Snapshot:
    return Snapshot(
        catalog=catalog, search=search, loaded_at=datetime.now(UTC), version=catalog.version
    )


def _database_folder() -> str:
    """Name database and layout: a host that changes databases never serves the other's songs, and two
    releases side by side never remove each other's files."""
    config = connections[catalog_alias()].settings_dict
    named = [str(config[key]) for key in ("ENGINE", "HOST", "PORT", "NAME")]
    named.append(f"layout {FORMAT}")
    return hashlib.blake2b("\n".join(named).encode(), digest_size=6).hexdigest()


@cache
def snapshots() -> Snapshots:
    """The snapshots of this process."""
    if settings.TESTING:  # each test has a catalog of its own; nothing is left on disk
        return Snapshots(None)
    return Snapshots(settings.DATA_DIR / "snapshots" / _database_folder())


def current() -> Snapshot:
    """Return the newest snapshot; raises CatalogUnavailable when none was ever built."""
    return snapshots().current()


def refresh() -> Snapshot:
    """Look at the database now; for staff, imports and tests."""
    return snapshots().refresh()


def forget() -> None:
    """Drop what this process holds (tests)."""
    snapshots().forget()
