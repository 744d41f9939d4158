"""The catalog every process serves from: built once per host, followed within seconds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.db import OperationalError, connection

from catalog import queries, reading
from catalog.factories import MemberFactory, SongFactory, SongLikeFactory
from catalog.models import Song, SongLike
from catalog.snapshot import CatalogUnavailable, HostSnapshots
from catalog.snapshots import building
from catalog.snapshots.directory import KEPT_SNAPSHOTS
from engine.catalog.catalog import Catalog

pytestmark = pytest.mark.django_db


def process(
    directory: Path, *, build_whole=building.build_whole, **changes: object
) -> HostSnapshots:
    """A process that serves from a directory and always finds its check due; without a thread, since an
    in-memory test database belongs to one connection."""
    refresh = {"check_every_s": 0, "patch_every_s": 3600, "compare_every_s": 0, "likes_every_s": 0}
    return HostSnapshots(
        directory,
        refresh=building.RefreshSettings(**{**refresh, **changes}),
        build_whole=build_whole,
        in_background=False,
    )


@pytest.fixture
def snapshots(tmp_path: Path) -> HostSnapshots:
    return process(tmp_path / "snapshots")


def folders(snapshots: HostSnapshots) -> list[str]:
    return [path.name for path in snapshots.directory.finished()]


def test_songs_come_with_absent_text_as_empty_and_absent_numbers_as_none(snapshots):
    SongFactory(
        song_id=7, title_jp="𠮷野家🔥", title_en=None, genre=None, tj_number=0, ky_number=None
    )
    song = snapshots.current().catalog.view(0)
    assert (song.song_id, song.title_jp, song.title_en, song.genre) == (7, "𠮷野家🔥", "", "")
    assert (song.tj_number, song.ky_number) == (None, None)


def test_an_empty_catalog_is_a_catalog(snapshots):
    assert snapshots.current().catalog.n == 0


def test_a_new_an_edited_and_a_removed_song_show_at_the_next_look(snapshots):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    before = snapshots.current()
    Song.objects.filter(pk=first.pk).update(title_jp="壱")  # leaves no trace in modified_at
    snapshots.check()
    catalog = snapshots.current().catalog
    assert [catalog.view(row).title_jp for row in range(catalog.n)] == ["壱", "二"]
    second.delete()
    third = SongFactory(title_jp="三")
    snapshots.check()
    assert snapshots.current().catalog.song_ids.tolist() == [first.pk, third.pk]
    assert snapshots.current().version != before.version


def test_in_a_large_catalog_a_change_shows_before_the_whole_is_built(snapshots):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    snapshots.current()
    large = process(snapshots.directory.path, patch_min_songs=0, build_whole=_too_slow)
    Song.objects.filter(pk=first.pk).update(title_jp="壱")
    Song.objects.filter(pk=second.pk).delete()
    third = SongFactory(title_jp="三")
    with pytest.raises(TimeoutError):
        large.check()
    large.load_newest()
    assert titles(large) == ["壱", "三"]
    assert large.current().catalog.song_ids.tolist() == [first.pk, second.pk, third.pk]


def _too_slow(_likes: reading.Likes) -> Catalog:
    raise TimeoutError


def test_a_change_during_a_long_build_shows_meanwhile_and_stays(snapshots):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    snapshots.current()
    shown_meanwhile = []

    def slowly(likes: reading.Likes) -> Catalog:
        catalog = building.build_whole(likes)
        Song.objects.filter(pk=second.pk).update(title_jp="弐")
        SongFactory(title_jp="三")
        large.builder.patches.publish_new_changes()  # as its thread does
        large.load_newest()
        shown_meanwhile.extend(titles(large))
        return catalog

    large = process(snapshots.directory.path, patch_min_songs=0, build_whole=slowly)
    Song.objects.filter(pk=first.pk).update(title_jp="壱")
    large.check()
    assert shown_meanwhile == titles(large) == ["壱", "弐", "三"]
    version = large.current().version
    snapshots.check()  # the whole follows
    assert titles(snapshots) == ["壱", "弐", "三"]
    assert snapshots.current().version not in (version, "")
    whole = snapshots.current().version
    snapshots.check()
    assert snapshots.current().version == whole


def titles(snapshots: HostSnapshots) -> list[str]:
    """What may be shown."""
    catalog = snapshots.current().catalog
    return [catalog.view(row).title_jp for row in range(catalog.n) if catalog.active[row]]


def test_only_the_stretches_that_changed_are_named():
    SongFactory(song_id=1), SongFactory(song_id=700), SongFactory(song_id=5_000)
    before = reading.songs_checksum()
    assert reading.changed_stretches(before, before) == []
    Song.objects.filter(pk=700).update(mood="밝은")
    Song.objects.filter(pk=5_000).delete()
    assert reading.changed_stretches(before, reading.songs_checksum()) == [1, 10]
    assert [song.song_id for song in reading.read_songs([0, 1])] == [1, 700]
    assert reading.changed_stretches("of another release", before) is None


def test_an_unchanged_catalog_is_not_built_again(snapshots):
    SongFactory()
    served = snapshots.current()
    for _ in range(3):
        snapshots.check()
    assert len(folders(snapshots)) == 1
    assert snapshots.current() is served


def test_likes_are_taken_over_without_building_the_songs_anew(snapshots):
    song, member = SongFactory(), MemberFactory()
    snapshots.current()
    SongLikeFactory(song=song, member=member)
    other = process(snapshots.directory.path, build_whole=pytest.fail)
    other.check()
    assert other.current().catalog.member_ids.tolist() == [member.pk]


def test_likes_wait_for_their_turn(snapshots):
    snapshots = process(snapshots.directory.path, likes_every_s=300)
    song, member = SongFactory(), MemberFactory()
    snapshots.current()
    SongLikeFactory(song=song, member=member)
    snapshots.check()
    assert snapshots.current().catalog.member_ids.tolist() == []
    assert snapshots.refresh().catalog.member_ids.tolist() == [member.pk]


def test_a_changed_song_keeps_the_likes_that_were_read(snapshots):
    snapshots = process(snapshots.directory.path, likes_every_s=300)
    song, member = SongFactory(), MemberFactory()
    SongLikeFactory(song=song, member=member)
    snapshots.current()
    SongFactory()
    with listening() as statements:
        snapshots.check()
    assert not [sql for sql in statements if "JULIANDAY" in sql or "TIMESTAMPDIFF" in sql]
    catalog = snapshots.current().catalog
    assert (catalog.n, catalog.corpus.interactions.nnz) == (2, 1)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collects the statements that are run."""
    statements: list[str] = []

    def listen(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        yield statements


def test_dates_of_likes_keep_their_instant(snapshots):
    at = datetime(2026, 3, 1, 15, 30, tzinfo=UTC)
    like = SongLikeFactory(song=SongFactory(), member=MemberFactory())
    SongLike.objects.filter(pk=like.pk).update(created_at=at)
    assert reading.read_likes().at_s.tolist() == [at.timestamp()]


@pytest.mark.parametrize("zone", ["Asia/Seoul", "Europe/Berlin", "UTC"])
def test_the_databases_clock_becomes_epoch_seconds(zone):
    moments = [
        datetime(2026, month, 29, 0, 59, 59, 250_000, tzinfo=ZoneInfo(zone)) for month in (3, 7, 10)
    ]
    wall_us = [(at.replace(tzinfo=UTC).timestamp()) * 1e6 for at in moments]
    epoch_s = reading._epoch_s(np.array([*wall_us, np.nan]), ZoneInfo(zone))
    assert epoch_s[:-1].tolist() == [at.timestamp() for at in moments]
    assert np.isnan(epoch_s[-1])


def test_two_old_snapshots_are_kept_and_drafts_removed(snapshots):
    for _ in range(4):
        SongFactory()
        snapshots.refresh()
    assert len(folders(snapshots)) == KEPT_SNAPSHOTS
    assert not list(snapshots.directory.path.glob(".building-*"))


def test_a_second_process_maps_what_the_first_one_built(snapshots):
    SongFactory()
    snapshots.current()
    second = process(snapshots.directory.path, build_whole=pytest.fail)
    catalog = second.current().catalog
    assert catalog.n == 1
    assert not catalog.song_ids.flags.writeable


def refuse(*_: object) -> None:
    raise OperationalError(2003, "refused")


def test_without_the_database_the_last_snapshot_is_served_from_disk(snapshots):
    SongFactory()
    snapshots.current()
    snapshots.clear()
    with connection.execute_wrapper(refuse):
        assert snapshots.current().catalog.n == 1


def test_without_database_and_snapshot_the_catalog_is_unavailable(snapshots):
    with connection.execute_wrapper(refuse), pytest.raises(CatalogUnavailable):
        snapshots.current()


def test_a_database_that_goes_away_leaves_the_served_snapshot(snapshots):
    SongFactory()
    served = snapshots.current()
    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        snapshots.check()
    assert snapshots.current() is served


def test_a_damaged_snapshot_is_skipped_and_built_anew(snapshots):
    SongFactory()
    snapshots.current()
    (snapshots.directory.newest() / "catalog" / "song_ids.npy").write_bytes(b"cut short")
    snapshots.clear()
    assert snapshots.current().catalog.n == 1


@pytest.mark.skipif(connection.vendor == "mysql", reason="DDL commits there")
def test_songs_taken_off_are_not_shown_where_the_column_exists(snapshots):
    shown, hidden, unknown = SongFactory(), SongFactory(), SongFactory()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE song ADD COLUMN is_active bit(1)")
        cursor.execute("UPDATE song SET is_active = 1 WHERE song_id = %s", [shown.pk])
    queries.has_is_active.cache_clear()
    try:
        before = snapshots.current()
        assert before.catalog.active.all()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE song SET is_active = 0 WHERE song_id = %s", [hidden.pk])
        snapshots.check()
        after = snapshots.current()
        active = dict(
            zip(after.catalog.song_ids.tolist(), after.catalog.active.tolist(), strict=True)
        )
        assert active == {shown.pk: True, hidden.pk: False, unknown.pk: True}
        assert after.version != before.version
    finally:
        queries.has_is_active.cache_clear()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE song DROP COLUMN is_active")


def test_lyrics_are_never_read(snapshots):
    SongFactory()
    with listening() as statements:
        snapshots.current()
        snapshots.check()
    assert statements
    assert not [sql for sql in statements if "lyrics" in sql or "SELECT *" in sql]


HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_of_a_host_looks_at_a_time(snapshots):
    """While another process holds the lock, this one builds nothing."""
    SongFactory()
    snapshots.current()
    SongFactory()
    lock = str(snapshots.directory.path / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        snapshots.check()
        assert snapshots.current().catalog.n == 1
        other.stdin.close()
    snapshots.check()
    assert snapshots.current().catalog.n == 2


def built_by(program: str, directory: Path) -> HostSnapshots:
    """A process that has a child run this program instead of a build."""
    command = (sys.executable, "-c", program)
    return process(directory, load_every_s=0.05, child_min_songs=1, child_command=command)


def test_a_large_catalog_is_built_by_a_child_process(snapshots, tmp_path):
    assert building.RefreshSettings.from_settings().child_command[1:] == (
        "-m",
        "catalog.build_process",
    )
    SongFactory()
    snapshots.current()
    SongFactory()
    program = f"open({str(tmp_path / 'built')!r}, 'w').close()"
    built_by(program, snapshots.directory.path).check()
    assert (tmp_path / "built").exists()
    with pytest.raises(subprocess.CalledProcessError):
        built_by("raise SystemExit(3)", snapshots.directory.path).check()


def test_the_first_snapshot_of_a_large_catalog_is_a_childs_work_too(snapshots, tmp_path):
    SongFactory()
    program = f"open({str(tmp_path / 'built')!r}, 'w').close(); raise SystemExit(3)"
    with pytest.raises(CatalogUnavailable):
        built_by(program, snapshots.directory.path).current()
    assert (tmp_path / "built").exists()


def test_of_two_processes_that_want_to_build_one_does(snapshots, monkeypatch):
    SongFactory()
    snapshots.current()
    SongFactory()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time_ns", lambda: 0)  # began before the other one published
        snapshots.build()
    assert len(folders(snapshots)) == 1
    snapshots.build()
    assert len(folders(snapshots)) == 2


def test_what_the_child_publishes_is_taken_over_before_it_ends(snapshots, tmp_path):
    SongFactory()
    snapshots.current()
    [newest] = snapshots.directory.finished()
    newer = newest.with_name(f"{time.time_ns():020d}-patched")
    SongFactory()
    # Publishes, and ends only when the process that serves has taken it over.
    serving = built_by(
        "import pathlib, shutil, time\n"
        f"shutil.copytree({str(newest)!r}, {str(tmp_path / 'draft')!r})\n"
        f"pathlib.Path({str(tmp_path / 'draft')!r}).rename({str(newer)!r})\n"
        f"taken = pathlib.Path({str(tmp_path / 'taken')!r})\n"
        "until = time.monotonic() + 20\n"
        "while not taken.exists() and time.monotonic() < until: time.sleep(0.02)\n"
        "raise SystemExit(0 if taken.exists() else 4)",
        snapshots.directory.path,
    )
    serving.load_newest()

    def tell_the_child() -> None:
        while serving.current().folder != newer.name:
            time.sleep(0.01)
        (tmp_path / "taken").touch()

    reader = threading.Thread(target=tell_the_child, daemon=True)
    reader.start()
    serving.check()
    reader.join(timeout=20)
    assert serving.current().folder == newer.name


def test_current_costs_nothing_once_loaded(snapshots, django_assert_num_queries):
    SongFactory()
    snapshots.current()
    with django_assert_num_queries(0):
        for _ in range(1000):
            snapshots.current()
