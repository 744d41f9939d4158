"""Beside the backend's tables on a real server: ours are added, theirs are read and never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.conftest import missing_service

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "bench/shared_schema.sql"
THEIRS = {"anime", "member", "member_role_list", "playlist", "playlist_song", "song", "song_like"}
#: An account that may create databases and logins.
ADMIN = {
    "host": os.environ.get("TEST_MYSQL_HOST", "127.0.0.1"),
    "port": int(os.environ.get("TEST_MYSQL_PORT", "3306")),
    "user": os.environ.get("TEST_MYSQL_USER", "root"),
    "password": os.environ.get("TEST_MYSQL_PASSWORD", ""),
}
DATABASE = f"songs_ai_test_{os.getpid()}"
LOGIN = f"songs_ai_{os.getpid()}"
DRIVERS = pytest.mark.parametrize("pymysql_only", ["0", "1"], ids=["mysqlclient", "PyMySQL"])


@pytest.fixture(scope="module")
def admin() -> Iterator[Any]:
    try:
        connection = pymysql.connect(
            **ADMIN,
            charset="utf8mb4",
            autocommit=True,
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )
    except pymysql.OperationalError:
        missing_service("MySQL or MariaDB")
    with connection:
        yield connection


def ask(admin: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with admin.cursor() as cursor:
        cursor.execute(sql, values or None)
        while cursor.nextset():
            pass
        return list(cursor.fetchall())


@pytest.fixture
def shared(admin: Any) -> Iterator[str]:
    """The backend's database with a few rows; yields its name."""
    ask(admin, f"DROP DATABASE IF EXISTS {DATABASE}")
    ask(admin, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    ask(admin, f"USE {DATABASE}")
    ask(admin, SCHEMA.read_text("utf-8"))
    yield DATABASE
    ask(admin, f"DROP DATABASE IF EXISTS {DATABASE}; DROP DATABASE IF EXISTS test_{DATABASE}")
    for host in ("localhost", "127.0.0.1", "%"):
        ask(admin, f"DROP USER IF EXISTS '{LOGIN}'@'{host}'")


def url(login: str = "", password: str = "") -> str:
    who = f"{login or ADMIN['user']}:{password or ADMIN['password']}"
    return f"mysql://{who}@{ADMIN['host']}:{ADMIN['port']}/{DATABASE}"


def run(
    *command: str, tmp: Path, check: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run one of our commands as an installation of its own would."""
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_URL")}
    own = {"DATABASE_URL": url(), "SECRET_KEY": "test", "DATA_DIR": str(tmp), "CATALOG_OWNED": "0"}
    done = subprocess.run(
        [sys.executable, *command],
        env={**clean, **own, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def tables(admin: Any) -> set[str]:
    return {name for (name,) in ask(admin, f"SHOW TABLES FROM {DATABASE}")}


def checksums(admin: Any) -> dict[str, Any]:
    listed = ", ".join(f"{DATABASE}.{table}" for table in sorted(THEIRS))
    definitions = [
        ask(admin, f"SHOW CREATE TABLE {DATABASE}.{table}")[0] for table in sorted(THEIRS)
    ]
    return {"rows": ask(admin, f"CHECKSUM TABLE {listed}"), "definitions": definitions}


def grant_what_the_readme_says(admin: Any) -> None:
    """SELECT on theirs; rows of ours may be written, tables of nobody be changed."""
    for host in ("localhost", "127.0.0.1", "%"):
        who = f"'{LOGIN}'@'{host}'"
        ask(admin, f"CREATE USER {who} IDENTIFIED BY 'secret'")
        for table in tables(admin):
            may = "SELECT" if table in THEIRS else "SELECT, INSERT, UPDATE, DELETE"
            ask(admin, f"GRANT {may} ON {DATABASE}.{table} TO {who}")


SERVE = """
import json, django; django.setup()
from django.db import OperationalError, connection
from django.utils import timezone
from catalog import queries, snapshot
from profiles import services
catalog = snapshot.refresh().catalog
now = timezone.now()
services.record_feedback([services.Feedback(event_id="😀1", member_key="1", song_id=2, type="play")], now=now)
services.block("1", kind="artist", name="髙橋🌸", now=now)
services.record_favorites_update("1", action="add", song_ids=[4], now=now)
services.store_taste("1", text="𠮷野🌸", genres=["록"], moods=[], artists=[], favorites_sha="", source="model", now=now)
profile = services.member_profile("1", favorite_ids=None, now=now)
refused = 0
for statement in ("UPDATE song SET title_jp = 'x'", "DELETE FROM song_like", "ALTER TABLE song ADD x int", "DROP TABLE anime"):
    try:
        connection.cursor().execute(statement)
    except OperationalError:
        refused += 1
print(json.dumps({
    "titles": [catalog.view(row).title_jp for row in range(catalog.n)],
    "genres": [catalog.view(row).genre for row in range(catalog.n)],
    "anime": [catalog.view(row).anime for row in range(catalog.n)],
    "numbers": [[catalog.view(row).tj_number, catalog.view(row).ky_number] for row in range(catalog.n)],
    "active": queries.active_member_ids(),
    "liked_at": [signal.at.isoformat() for signal in queries.signals_of(1) if signal.type == "like"],
    "favorites": profile.favorite_ids, "taste": profile.taste_text, "blocked": sorted(profile.exclude.artists),
    "database_ok": profile.database_ok, "refused": refused,
}))
"""


def serve(tmp: Path, **env: str) -> dict[str, Any]:
    done = run("-c", SERVE, tmp=tmp, DJANGO_SETTINGS_MODULE="songs_ai.settings", **env)
    return json.loads(done.stdout.splitlines()[-1])


@DRIVERS
def test_migrate_adds_our_tables_and_leaves_theirs_alone(admin, shared, tmp_path, pymysql_only):
    before = checksums(admin)
    run("manage.py", "migrate", "-v0", tmp=tmp_path, USE_PYMYSQL=pymysql_only)
    assert {"profiles_tasteprofile", "recommendations_run", "django_migrations"} <= tables(admin)
    assert checksums(admin) == before
    references = ask(
        admin,
        "SELECT table_name FROM information_schema.key_column_usage WHERE table_schema = %s "
        "AND referenced_table_name IN %s AND table_name NOT IN %s",
        DATABASE,
        tuple(THEIRS),
        tuple(THEIRS),
    )
    assert references == []


@DRIVERS
def test_a_login_that_may_only_select_from_theirs_serves(admin, shared, tmp_path, pymysql_only):
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    grant_what_the_readme_says(admin)
    before = checksums(admin)
    told = serve(tmp_path, DATABASE_URL=url(LOGIN, "secret"), USE_PYMYSQL=pymysql_only)
    assert told["titles"] == ["𠮷野の桜🌸", "紅蓮華", "", "残響散歌"]
    assert told["genres"] == ["J-pop  서정 팝", "록", "", "록, J-pop"]
    assert told["anime"] == ["", "귀멸의 칼날", "", "귀멸의 칼날"]
    assert told["numbers"] == [[68001, None], [68002, 44002], [None, 44003], [68004, None]]
    assert told["active"] == [1]
    assert told["favorites"] == [4, 1, 2, 3]
    assert (told["taste"], told["blocked"]) == ("𠮷野🌸", ["髙橋🌸"])
    assert told["database_ok"]
    assert told["refused"] == 4
    assert checksums(admin) == before


def test_a_second_login_reads_theirs_while_ours_lie_elsewhere(admin, shared, tmp_path):
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    grant_what_the_readme_says(admin)
    ours = f"sqlite:///{tmp_path}/ours.sqlite3"
    own = {"DATABASE_URL": ours, "CATALOG_DATABASE_URL": url(LOGIN, "secret")}
    run("manage.py", "migrate", "-v0", tmp=tmp_path, **own)
    run("manage.py", "check", "--database", "default", "--database", "catalog", tmp=tmp_path, **own)
    told = serve(tmp_path, **own)
    assert told["favorites"] == [4, 1, 2, 3]


@pytest.mark.parametrize(
    ("zone", "instant"),
    [("Asia/Seoul", "2026-05-02T12:00:00+00:00"), ("UTC", "2026-05-02T21:00:00+00:00")],
)
def test_dates_are_read_in_the_zone_the_backend_writes_them(admin, shared, tmp_path, zone, instant):
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    script = (
        "import django; django.setup()\n"
        "from datetime import UTC\nfrom catalog import queries\n"
        "print(queries.signals_of(1)[0].at.astimezone(UTC).isoformat())"
    )
    env = {"DJANGO_SETTINGS_MODULE": "songs_ai.settings", "DATABASE_TIME_ZONE": zone}
    assert run("-c", script, tmp=tmp_path, **env).stdout.strip() == instant


def test_flush_leaves_their_rows_alone(admin, shared, tmp_path):
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    before = checksums(admin)
    run("manage.py", "flush", "--no-input", "-v0", tmp=tmp_path)
    assert checksums(admin) == before


@DRIVERS
def test_the_tests_themselves_leave_their_rows_alone(admin, shared, tmp_path, pymysql_only):
    before = checksums(admin)
    suite = [
        "-m",
        "pytest",
        "-q",
        "tests/profiles/test_favorites.py",
        "tests/profiles/test_member_profile.py",
    ]
    run(*suite, "-p", "no:cacheprovider", tmp=tmp_path, CATALOG_OWNED="1", USE_PYMYSQL=pymysql_only)
    assert checksums(admin) == before
    assert tables(admin) == THEIRS


def test_a_column_that_went_missing_is_named(admin, shared, tmp_path):
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    ask(admin, f"ALTER TABLE {DATABASE}.song DROP COLUMN mood; DROP TABLE {DATABASE}.playlist_song")
    done = run("manage.py", "check", "--database", "default", tmp=tmp_path, check=False)
    assert done.returncode == 1
    assert "song.mood is missing upstream. The table has: anime_id," in done.stderr
    assert "GRANT SELECT ON playlist_song" in done.stderr


FOLLOW = """
import json, sys, django; django.setup()
from catalog import snapshot
for line in sys.stdin:
    catalog = snapshot.current().catalog
    shown = catalog.song_ids[catalog.active].tolist()
    print(json.dumps([shown, catalog.text(0, "mood"), catalog.corpus.interactions.nnz]), flush=True)
"""
#: By hand: `modified_at` tells of none of these.
CHANGES = [
    ("SELECT 1", [[1, 2, 3, 4], "감성적", 4]),
    ("UPDATE song SET mood = '잔잔' WHERE song_id = 1", [[1, 2, 3, 4], "잔잔", 4]),
    ("UPDATE song SET is_active = 0 WHERE song_id = 2", [[1, 3, 4], "잔잔", 4]),
    ("INSERT INTO song (song_id, title_jp) VALUES (9, '新')", [[1, 3, 4, 9], "잔잔", 4]),
    ("DELETE FROM song WHERE song_id = 9", [[1, 3, 4], "잔잔", 4]),
]


def test_every_process_follows_changes_within_ten_seconds(admin, shared, tmp_path):
    """An edited song, one taken off, a new one, a removed one, in two processes with one snapshot."""
    run("manage.py", "migrate", "-v0", tmp=tmp_path)
    ask(admin, f"USE {DATABASE}; ALTER TABLE song ADD COLUMN is_active bit(1)")
    env = {
        **{k: v for k, v in os.environ.items() if not k.endswith("_URL")},
        "DATABASE_URL": url(),
        "SECRET_KEY": "test",
        "DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "songs_ai.settings",
    }
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", FOLLOW],
                    env=env,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for process in processes:
            shows(process, CHANGES[0][1], within_s=60)  # starting takes its time
        for sql, expected in CHANGES:
            ask(admin, sql)
            for process in processes:
                shows(process, expected, within_s=10)
        for process in processes:
            process.stdin.close()


def shows(process: subprocess.Popen[str], expected: list[Any], *, within_s: float) -> None:
    until, seen = time.monotonic() + within_s, None
    while time.monotonic() < until:
        process.stdin.write("look\n")
        process.stdin.flush()
        seen = json.loads(process.stdout.readline())
        if seen == expected:
            return
        time.sleep(0.1)
    pytest.fail(f"after {within_s} s: {seen}, expected {expected}")
