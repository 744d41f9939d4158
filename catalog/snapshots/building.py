"""Finds out what changed in the database and builds the next snapshot."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from django.conf import settings

from catalog import reading
from catalog.snapshots.directory import DatabaseCheck, SnapshotDirectory
from catalog.snapshots.patching import SongPatches, with_changes
from engine.catalog.catalog import Catalog
from engine.catalog.patching import CannotPatch
from engine.catalog.search.index import SearchIndex
from engine.catalog.storage import CatalogDamaged

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RefreshSettings:
    """How often the database is checked, and where a catalog is built."""

    #: One process per host checks the database this often.
    check_every_s: float
    #: During a long build, the database is checked for further changes this often.
    patch_every_s: float
    #: How often a process looks for a snapshot that another one of this host built (a directory listing).
    load_every_s: float = 1.0
    #: Members' own likes are read per request; only co-likes and popularity wait for this.
    likes_every_s: float = 300.0
    #: A full comparison, in case an edit left no trace in the marks.
    compare_every_s: float = 600.0
    #: From this size on a child process builds: neither its memory nor its CPU are the serving process's.
    child_min_songs: int = 20_000
    child_timeout_s: float = 15 * 60
    child_command: tuple[str, ...] = (sys.executable, "-m", "catalog.build_process")
    #: From this size on a change of a few songs is published at once, before the whole is built anew.
    patch_min_songs: int = 20_000

    @classmethod
    def from_settings(cls) -> RefreshSettings:
        refresh_s = settings.CATALOG_REFRESH_S
        return cls(check_every_s=refresh_s, patch_every_s=refresh_s)


class CatalogChange(StrEnum):
    """What a comparison with the last check found."""

    NONE = ""
    LIKES = "likes"
    SONGS = "songs"


def build_whole(likes: reading.Likes) -> Catalog:
    """Build the catalog from all songs in the database."""
    catalog = Catalog.build(
        reading.read_songs(),
        likes=likes.like_columns,
        playlist_songs=likes.place_columns,
        inactive=reading.read_inactive(),
        now=datetime.now(UTC),
    )
    if catalog.active.all():
        return catalog
    # A song that becomes inactive must change the version although no text of it changed.
    songs, dash, behaviour = catalog.version.partition("-")
    activity = hashlib.blake2b(
        np.packbits(catalog.active).tobytes(), digest_size=4, key=songs.encode()[:32]
    ).hexdigest()
    return replace(catalog, version=f"{songs}{activity}{dash}{behaviour}")


class SnapshotBuilder:
    """Builds snapshots into a directory. Callers of `build_if_changed` hold the directory's lock."""

    def __init__(
        self,
        directory: SnapshotDirectory,
        refresh: RefreshSettings,
        *,
        build_whole: Callable[[reading.Likes], Catalog] = build_whole,
    ) -> None:
        self._directory, self._refresh, self._build_whole = directory, refresh, build_whole
        #: Publishes further changes during a build; None before the first one.
        self.patches: SongPatches | None = None

    def songs_if_changed(self) -> int | None:
        """Return the number of songs if anything may have changed, by the cheap marks alone."""
        check, marks = self._directory.read_check(), reading.read_marks()
        suspected = (
            self._songs_marks_moved(check, marks)
            or time.time() - check.compared_at >= self._refresh.compare_every_s
            or self._likes_are_due(check, marks)
        )
        return marks.n_songs if suspected else None

    def build_if_changed(self, *, now: bool) -> None:
        """Build what changed. now: compare songs and likes even if it is not their turn."""
        # Marks and checksum are read before the rows: a change meanwhile shows at the next check.
        before = self._directory.read_check()
        change, check, marks = self._compare(before, now=now)
        if change:
            likes = self._stored_likes() if change is CatalogChange.SONGS else None
            if likes is None:
                check = replace(check, likes_at=time.time(), likes_marks=marks.likes)
            self._build(change, likes, before.checksum, check.checksum, marks)
        # Later changes are not part of this check: the next one builds again.
        self._directory.write_check(check)

    def _build(
        self,
        change: CatalogChange,
        likes: reading.Likes | None,
        before: str,
        checksum: str,
        marks: reading.Marks,
    ) -> None:
        self.patches = SongPatches(
            self._directory,
            songs_marks=marks.songs,
            checksum=before,
            min_songs=self._refresh.patch_min_songs,
        )
        if change is CatalogChange.SONGS:
            self.patches.publish_until(checksum)
        self.patches.checksum = checksum
        likes = likes if likes is not None else reading.read_likes()
        with self._publishing_patches(self.patches, marks):
            catalog = self._catalog(change, likes)
            search = self._search_index(catalog)
        catalog, search = _with_patches(catalog, search, checksum, self.patches.checksum)
        self._directory.publish(catalog, search, likes)

    @contextmanager
    def _publishing_patches(self, patches: SongPatches, marks: reading.Marks) -> Iterator[None]:
        """During the build of a large catalog, publish further changes as they come."""
        if marks.n_songs < self._refresh.patch_min_songs or not patches.checksum:
            yield
            return
        with patches.in_background(every_s=self._refresh.patch_every_s):
            yield

    def _compare(
        self, before: DatabaseCheck, *, now: bool
    ) -> tuple[CatalogChange, DatabaseCheck, reading.Marks]:
        """Return what changed since the check before, the new check, and its marks."""
        marks = reading.read_marks()
        check = replace(before, marks=marks)
        compare_due = time.time() - before.compared_at >= self._refresh.compare_every_s
        if now or compare_due or self._songs_marks_moved(before, marks):
            checksum = reading.songs_checksum()
            check = replace(check, checksum=checksum, compared_at=time.time())
            if checksum != before.checksum or not self._directory.newest():
                return CatalogChange.SONGS, check, marks
        likes_moved = now and marks.likes != before.likes_marks
        if likes_moved or self._likes_are_due(before, marks):
            return CatalogChange.LIKES, check, marks
        return CatalogChange.NONE, check, marks

    def _songs_marks_moved(self, check: DatabaseCheck, marks: reading.Marks) -> bool:
        known = check.marks.songs if check.marks is not None else None
        return marks.songs != known or not self._directory.newest()

    def _likes_are_due(self, check: DatabaseCheck, marks: reading.Marks) -> bool:
        """Whether likes changed and it is their turn to be read."""
        due = time.time() - check.likes_at >= self._refresh.likes_every_s
        return due and marks.likes != check.likes_marks

    def _stored_likes(self) -> reading.Likes | None:
        """The likes of the newest snapshot: a changed song is no reason to read a million likes."""
        newest = self._directory.newest()
        try:
            return reading.Likes.load(newest / "likes") if newest else None
        except (OSError, ValueError, EOFError):
            return None

    def _catalog(self, change: CatalogChange, likes: reading.Likes) -> Catalog:
        newest = self._directory.newest()
        if change is CatalogChange.LIKES and newest:
            try:
                return Catalog.load(newest / "catalog").with_behaviour(
                    likes=likes.like_columns,
                    playlist_songs=likes.place_columns,
                    now=datetime.now(UTC),
                )
            except CatalogDamaged as error:
                log.warning("Building the catalog anew: %s", error)
        return self._build_whole(likes)

    def _search_index(self, catalog: Catalog) -> SearchIndex:
        """The newest index when only likes changed, else a new one (seconds at 100 000 songs)."""
        newest = self._directory.newest()
        if newest:
            try:
                return SearchIndex.load(newest / "search", catalog)
            except CatalogDamaged:
                pass  # of other songs: the usual case after a change of the catalog
        return SearchIndex.build(catalog)


def _with_patches(
    catalog: Catalog, search: SearchIndex, built: str, published: str
) -> tuple[Catalog, SearchIndex]:
    """The built catalog with the patches that were published meanwhile: no change disappears again."""
    if published == built:
        return catalog, search
    try:
        return with_changes(catalog, search, built, published)
    except CannotPatch as error:
        log.info("Changes during the build wait for the next build: %s", error)
        return catalog, search
