"""Publishes changes of a few songs at once, before and while the whole catalog is built anew."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.db import connections

from catalog import reading
from catalog.snapshots.directory import SnapshotDirectory
from engine.catalog.catalog import Catalog
from engine.catalog.patching import CannotPatch, patched
from engine.catalog.search.index import SearchIndex
from engine.catalog.storage import CatalogDamaged
from infrastructure.database import DATABASE_FAULTS

log = logging.getLogger(__name__)

#: Changes in more stretches of ids than this wait for the whole catalog.
MAX_STRETCHES = 20


class SongPatches:
    """Publishes the newest catalog with changed songs in their new form.

    songs_marks, checksum: of the songs that were published last. min_songs: a smaller catalog is built
    whole just as quickly.
    """

    def __init__(
        self, directory: SnapshotDirectory, *, songs_marks: str, checksum: str, min_songs: int
    ) -> None:
        self._directory, self._min_songs = directory, min_songs
        self._songs_marks, self.checksum = songs_marks, checksum

    def publish_until(self, checksum: str) -> None:
        """Publish the songs that differ between the last published ones and `checksum`."""
        newest = self._directory.newest()
        if newest is None or self.checksum == checksum:
            return
        try:
            catalog = Catalog.load(newest / "catalog")
            if catalog.n < self._min_songs:
                return
            search = SearchIndex.load(newest / "search", catalog)
            catalog, search = with_changes(catalog, search, self.checksum, checksum)
        except (CatalogDamaged, CannotPatch) as error:
            log.info("The change waits for the whole catalog: %s", error)
            return
        with self._directory.draft(catalog) as draft:
            catalog.save(draft / "catalog")
            search.save(draft / "search")
            shutil.copytree(newest / "likes", draft / "likes")

    def publish_new_changes(self) -> None:
        """Check the database and publish what changed since the last time."""
        marks = reading.read_marks().songs
        if marks != self._songs_marks:
            checksum = reading.songs_checksum()
            self.publish_until(checksum)
            self._songs_marks, self.checksum = marks, checksum

    @contextmanager
    def in_background(self, *, every_s: float) -> Iterator[None]:
        """Publish new changes from a thread of its own."""
        done = threading.Event()
        thread = threading.Thread(
            target=self._repeat, args=(done, every_s), name="catalog-changes", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _repeat(self, done: threading.Event, every_s: float) -> None:
        while not done.wait(every_s):
            try:
                self.publish_new_changes()
            except DATABASE_FAULTS as error:
                log.warning("A change waits for the catalog that is being built: %s", error)
        connections.close_all()


def with_changes(
    catalog: Catalog, search: SearchIndex, before: str, after: str
) -> tuple[Catalog, SearchIndex]:
    """Both with the songs that differ between two checksums in their new form.

    Raises CannotPatch when these are many, or rows of other songs would move.
    """
    stretches = reading.changed_stretches(before, after)
    if stretches is None or len(stretches) > MAX_STRETCHES:
        raise CannotPatch("too much changed")
    songs = list(reading.read_songs(stretches))
    gone = reading.ids_in(catalog.song_ids, stretches) - {song.song_id for song in songs}
    hidden = [*reading.read_inactive(), *gone]
    changed = patched(catalog, songs, inactive=hidden, now=datetime.now(UTC))
    return changed, search.serving(changed)
