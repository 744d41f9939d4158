"""The catalog every process serves from: built once per host, followed within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.db import OperationalError, connection

from catalog import queries, reading, snapshot
from catalog.factories import MemberFactory, SongFactory, SongLikeFactory
from catalog.models import Song, SongLike
from engine.catalog.catalog import Catalog

pytestmark = pytest.mark.django_db


@pytest.fixture
def snapshots(tmp_path: Path) -> snapshot.Snapshots:
    """Snapshots in a directory, looked at only when the test says so."""
    held = snapshot.Snapshots(tmp_path / "snapshots")
    held._thread_of = os.getpid()  # no thread: an in-memory test database belongs to one connection

    return held


@pytest.fixture
def as_if_due(monkeypatch: pytest.MonkeyPatch, settings: object) -> None:
    settings.CATALOG_REFRESH_S = 0
    monkeypatch.setattr(snapshot, "COMPARE_EVERY_S", 0)
    monkeypatch.setattr(snapshot, "LIKES_EVERY_S", 0)


def folders(snapshots: snapshot.Snapshots) -> list[str]:
    return [path.name for path in snapshots._finished()]


def test_songs_come_with_absent_text_as_empty_and_absent_numbers_as_none(snapshots):
    SongFactory(
        song_id=7, title_jp="𠮷野家🔥", title_en=None, genre=None, tj_number=0, ky_number=None
    )
    song = snapshots.current().catalog.view(0)
    assert (song.song_id, song.title_jp, song.title_en, song.genre) == (7, "𠮷野家🔥", "", "")
    assert (song.tj_number, song.ky_number) == (None, None)


def test_an_empty_catalog_is_a_catalog(snapshots):
    assert snapshots.current().catalog.n == 0


def test_a_new_an_edited_and_a_removed_song_show_at_the_next_look(snapshots, as_if_due):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    before = snapshots.current()
    Song.objects.filter(pk=first.pk).update(title_jp="壱")  # leaves no trace in modified_at
    snapshots.look()
    catalog = snapshots.current().catalog
    assert [catalog.view(row).title_jp for row in range(catalog.n)] == ["壱", "二"]
    second.delete()
    third = SongFactory(title_jp="三")
    snapshots.look()
    assert snapshots.current().catalog.song_ids.tolist() == [first.pk, third.pk]
    assert snapshots.current().version != before.version


def test_in_a_large_catalog_a_change_shows_before_the_whole_is_built(
    snapshots, as_if_due, monkeypatch
):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    snapshots.current()
    monkeypatch.setattr(snapshot, "PATCH_FROM_SONGS", 0)
    monkeypatch.setattr(snapshot, "_whole_catalog", _too_slow)
    Song.objects.filter(pk=first.pk).update(title_jp="壱")
    Song.objects.filter(pk=second.pk).delete()
    third = SongFactory(title_jp="三")
    with pytest.raises(TimeoutError):
        snapshots.look()
    snapshots._load_newest()
    assert titles(snapshots) == ["壱", "三"]
    catalog = snapshots.current().catalog
    assert catalog.song_ids.tolist() == [first.pk, second.pk, third.pk]


def _too_slow(_likes: reading.Likes) -> None:
    raise TimeoutError


def test_a_change_during_a_long_build_shows_meanwhile_and_stays(snapshots, as_if_due, monkeypatch):
    first, second = SongFactory(title_jp="一"), SongFactory(title_jp="二")
    snapshots.current()
    monkeypatch.setattr(snapshot, "PATCH_FROM_SONGS", 0)
    monkeypatch.setattr(snapshot.threading.Thread, "start", lambda self: None)  # we look ourselves
    build, shown_meanwhile = snapshot._whole_catalog, []

    def slowly(likes: reading.Likes) -> Catalog:
        catalog = build(likes)
        Song.objects.filter(pk=second.pk).update(title_jp="弐")
        SongFactory(title_jp="三")
        snapshots._show_further(watched[0])
        snapshots._load_newest()
        shown_meanwhile.extend(titles(snapshots))
        return catalog

    watched, watching = [], snapshots._showing_changes

    @contextmanager
    def watched_by_us(checked: snapshot.Checked) -> Iterator[object]:
        with watching(checked) as shown:
            watched.append(shown)
            yield shown

    monkeypatch.setattr(snapshots, "_showing_changes", watched_by_us)
    monkeypatch.setattr(snapshot, "_whole_catalog", slowly)
    Song.objects.filter(pk=first.pk).update(title_jp="壱")
    snapshots.look()
    assert shown_meanwhile == titles(snapshots) == ["壱", "弐", "三"]
    version = snapshots.current().version
    monkeypatch.setattr(snapshot, "_whole_catalog", build)
    snapshots.look()  # the whole follows
    assert titles(snapshots) == ["壱", "弐", "三"]
    assert snapshots.current().version not in (version, "")
    whole = snapshots.current().version
    snapshots.look()
    assert snapshots.current().version == whole


def titles(snapshots: snapshot.Snapshots) -> list[str]:
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


def test_an_unchanged_catalog_is_not_built_again(snapshots, as_if_due):
    SongFactory()
    served = snapshots.current()
    for _ in range(3):
        snapshots.look()
    assert len(folders(snapshots)) == 1
    assert snapshots.current() is served


def test_likes_are_taken_over_without_building_the_songs_anew(snapshots, as_if_due, monkeypatch):
    song, member = SongFactory(), MemberFactory()
    snapshots.current()
    SongLikeFactory(song=song, member=member)
    monkeypatch.setattr(reading, "read_songs", pytest.fail)
    snapshots.look()
    assert snapshots.current().catalog.member_ids.tolist() == [member.pk]


def test_likes_wait_for_their_turn(snapshots, as_if_due, monkeypatch):
    monkeypatch.setattr(snapshot, "LIKES_EVERY_S", 300)
    song, member = SongFactory(), MemberFactory()
    snapshots.current()
    SongLikeFactory(song=song, member=member)
    snapshots.look()
    assert snapshots.current().catalog.member_ids.tolist() == []
    assert snapshots.refresh().catalog.member_ids.tolist() == [member.pk]


def test_a_changed_song_keeps_the_likes_that_were_read(snapshots, as_if_due, monkeypatch):
    song, member = SongFactory(), MemberFactory()
    SongLikeFactory(song=song, member=member)
    snapshots.current()
    SongFactory()
    monkeypatch.setattr(snapshot, "LIKES_EVERY_S", 300)
    monkeypatch.setattr(reading, "read_likes", pytest.fail)
    snapshots.look()
    catalog = snapshots.current().catalog
    assert (catalog.n, catalog.corpus.interactions.nnz) == (2, 1)


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


def test_two_old_snapshots_are_kept_and_drafts_removed(snapshots, as_if_due):
    for _ in range(4):
        SongFactory()
        snapshots.refresh()
    assert len(folders(snapshots)) == snapshot.KEEP
    assert not list(snapshots._directory.glob(".building-*"))


def test_a_second_process_maps_what_the_first_one_built(snapshots, monkeypatch):
    SongFactory()
    snapshots.current()
    monkeypatch.setattr(reading, "read_songs", pytest.fail)
    second = snapshot.Snapshots(snapshots._directory)
    second._thread_of = os.getpid()
    catalog = second.current().catalog
    assert catalog.n == 1
    assert not catalog.song_ids.flags.writeable


def refuse(*_: object) -> None:
    raise OperationalError(2003, "refused")


def test_without_the_database_the_last_snapshot_is_served_from_disk(snapshots):
    SongFactory()
    snapshots.current()
    snapshots.forget()
    with connection.execute_wrapper(refuse):
        assert snapshots.current().catalog.n == 1


def test_without_database_and_snapshot_the_catalog_is_unavailable(snapshots):
    with connection.execute_wrapper(refuse), pytest.raises(snapshot.CatalogUnavailable):
        snapshots.current()


def test_a_database_that_goes_away_leaves_the_served_snapshot(snapshots, as_if_due):
    SongFactory()
    served = snapshots.current()
    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        snapshots.look()
    assert snapshots.current() is served


def test_a_damaged_snapshot_is_skipped_and_built_anew(snapshots, as_if_due):
    SongFactory()
    snapshots.current()
    (snapshots._newest() / "catalog" / "song_ids.npy").write_bytes(b"cut short")
    snapshots.forget()
    assert snapshots.current().catalog.n == 1


@pytest.mark.skipif(connection.vendor == "mysql", reason="DDL commits there")
def test_songs_taken_off_are_not_shown_where_the_column_exists(snapshots, as_if_due):
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
        snapshots.look()
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


def test_lyrics_are_never_read(snapshots, as_if_due):
    asked: list[str] = []

    def listen(execute, sql, params, many, context):
        asked.append(sql)
        return execute(sql, params, many, context)

    SongFactory()
    with connection.execute_wrapper(listen):
        snapshots.current()
        snapshots.look()
    assert asked
    assert not [sql for sql in asked if "lyrics" in sql or "SELECT *" in sql]


HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_of_a_host_looks_at_a_time(snapshots, as_if_due):
    """While another process holds the lock, this one builds nothing."""
    SongFactory()
    snapshots.current()
    SongFactory()
    lock = str(snapshots._directory / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        snapshots.look()
        assert snapshots.current().catalog.n == 1
        other.stdin.close()
    snapshots.look()
    assert snapshots.current().catalog.n == 2


@pytest.fixture
def built_apart(as_if_due, monkeypatch) -> Callable[[str], None]:
    """From then on, have a child process run this program instead of a build."""
    monkeypatch.setattr(snapshot, "LOOK_EVERY_S", 0.05)

    def by(program: str) -> None:
        monkeypatch.setattr(snapshot, "BUILD_IN_CHILD_FROM_SONGS", 1)
        monkeypatch.setattr(snapshot, "BUILD_COMMAND", (sys.executable, "-c", program))

    return by


def test_a_large_catalog_is_built_by_a_child_process(snapshots, built_apart, tmp_path):
    assert snapshot.BUILD_COMMAND[1:] == ("-m", "catalog.build_process")
    SongFactory()
    snapshots.current()
    SongFactory()
    built_apart(f"open({str(tmp_path / 'built')!r}, 'w').close()")
    snapshots.look()
    assert (tmp_path / "built").exists()
    built_apart("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        snapshots.look()


def test_the_first_snapshot_of_a_large_catalog_is_a_childs_work_too(
    snapshots, built_apart, tmp_path
):
    SongFactory()
    built_apart(f"open({str(tmp_path / 'built')!r}, 'w').close(); raise SystemExit(3)")
    with pytest.raises(snapshot.CatalogUnavailable):
        snapshots.current()
    assert (tmp_path / "built").exists()


def test_of_two_processes_that_want_to_build_one_does(snapshots, monkeypatch):
    SongFactory()
    snapshots.current()
    SongFactory()
    with monkeypatch.context() as earlier:
        earlier.setattr(snapshot.time, "time_ns", lambda: 0)  # began before the other one published
        snapshots.build()
    assert len(folders(snapshots)) == 1
    snapshots.build()
    assert len(folders(snapshots)) == 2


def test_what_the_child_publishes_is_taken_over_before_it_ends(snapshots, built_apart, tmp_path):
    SongFactory()
    snapshots.current()
    [newest] = snapshots._finished()
    newer = newest.with_name(f"{time.time_ns():020d}-patched")
    SongFactory()
    # Publishes, and ends only when the process that serves has taken it over.
    built_apart(
        "import pathlib, shutil, time\n"
        f"shutil.copytree({str(newest)!r}, {str(tmp_path / 'draft')!r})\n"
        f"pathlib.Path({str(tmp_path / 'draft')!r}).rename({str(newer)!r})\n"
        f"taken = pathlib.Path({str(tmp_path / 'taken')!r})\n"
        "until = time.monotonic() + 20\n"
        "while not taken.exists() and time.monotonic() < until: time.sleep(0.02)\n"
        "raise SystemExit(0 if taken.exists() else 4)"
    )
    load = snapshots._load_newest

    def load_and_tell() -> bool:
        loaded = load()
        if snapshots._name == newer.name:
            (tmp_path / "taken").touch()
        return loaded

    snapshots._load_newest = load_and_tell
    snapshots.look()
    assert snapshots._name == newer.name


def test_current_costs_nothing_once_loaded(snapshots, django_assert_num_queries):
    SongFactory()
    snapshots.current()
    began = time.perf_counter()
    with django_assert_num_queries(0):
        for _ in range(1000):
            snapshots.current()
    assert time.perf_counter() - began < 1
