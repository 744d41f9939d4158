"""Checks the database on behalf of all processes of a host, and builds in this process or in a child."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from django.conf import settings

from catalog.snapshots.building import RefreshSettings, SnapshotBuilder
from catalog.snapshots.directory import SnapshotDirectory


class HostRefresh:
    """Builds a new snapshot when the database changed and it is this process's turn.

    on_published: called whenever there may be a newer snapshot to load.
    """

    def __init__(
        self,
        directory: SnapshotDirectory,
        builder: SnapshotBuilder,
        refresh: RefreshSettings,
        *,
        on_published: Callable[[], object],
    ) -> None:
        self._directory, self._builder, self._refresh = directory, builder, refresh
        self._on_published = on_published

    def run_if_due(self) -> None:
        """One process per host checks the database, every `check_every_s`."""
        if self._is_due() and (n_songs := self._songs_if_changed()) is not None:
            self.build(n_songs)
            self._on_published()

    def _is_due(self) -> bool:
        return time.time() - self._directory.checked_at() >= self._refresh.check_every_s

    def _songs_if_changed(self) -> int | None:
        with self._directory.lock(wait=False) as is_ours:
            if not is_ours or not self._is_due():
                return None
            self._directory.claim_check()
            return self._builder.songs_if_changed()

    def build(self, n_songs: int) -> None:
        """Build in this process when that is quick, else in a child."""
        if n_songs < self._refresh.child_min_songs:
            with self._directory.lock():
                self._builder.build_if_changed(now=False)
            return
        command = self._refresh.child_command
        with subprocess.Popen(command, cwd=settings.BASE_DIR) as child:
            try:
                self._wait_for(child)
            finally:
                child.kill()
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)

    def _wait_for(self, child: subprocess.Popen[bytes]) -> None:
        """Load what the child publishes, the quick patch first, until it ends."""
        until = time.monotonic() + self._refresh.child_timeout_s
        while time.monotonic() < until:
            try:
                child.wait(self._refresh.load_every_s)
            except subprocess.TimeoutExpired:
                self._on_published()
                continue
            return
        raise subprocess.TimeoutExpired(child.args, self._refresh.child_timeout_s)
