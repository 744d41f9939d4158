"""What version 0.2.0 left behind is served by this one: its database, Redis and DATA_DIR, migrated as operators do.

The dumps are made by bench/make_upgrade_fixture.py. Only public doors are used: commands, HTTP, the stores.
"""

from __future__ import annotations

import hashlib
import http.cookiejar
import json
import re
import shutil
import sqlite3
import subprocess
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.installation import Installation, listens, wait_until
from tests.conftest import missing_service

from .dumps import read_dump, write_dump

DUMPS = Path(__file__).parent / "0.2.0"
#: As when the dumps were made: it signs what is stored about members.
SECRET_KEY = "upgrade fixture"
EMBEDDED = {
    "DATABASE_URL": "",
    "REDIS_URL": "",
    "RABBITMQ_URL": "",
}
PASSWORD = "only for this test"
#: Lists of the admin, and how many of their rows are opened.
ADMIN = {
    "recommendations/run": 12,
    "recommendations/job": 8,
    "recommendations/deadletter": 3,
    "recommendations/schedulerun": 5,
    "recommendations/modelartifact": 1,
    "recommendations/enginesettingsversion": 2,
    "recommendations/learnedsituations": 1,
    "django_celery_beat/periodictask": 10,
    "prompts/prompttemplate": 3,
    "prompts/promptversion": 8,
    "prompts/release": 8,
    "prompts/rollout": 2,
    "prompts/evalset": 2,
    "prompts/evalrun": 2,
    "prompts/modelcall": 6,
    "prompts/modelprofile": 2,
    "prompts/budget": 2,
    "prompts/auditevent": 8,
    "profiles/tasteprofile": 4,
    "profiles/block": 2,
    "profiles/feedbackevent": 2,
    "profiles/callerfavorite": 2,
    "catalog/song": 3,
    "catalog/member": 2,
}
#: Dead letters come from the queue, which this installation had not.
EMPTY = {("sqlite", "recommendations/deadletter")}


class Upgraded:
    """An installation of this version on what 0.2.0 left behind."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.dumps = database, DUMPS / database
        self.expected: dict[str, Any] = json.loads(
            (self.dumps / "expected.json").read_text("utf-8")
        )
        away = EMBEDDED if database == "sqlite" else {"RABBITMQ_URL": ""}
        self.made = Installation(
            folder, SECRET_KEY=SECRET_KEY, SONGS_AI_CONSUME_QUEUE="0", LOG_LEVEL="WARNING", **away
        )
        self._cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), self._cookies)

    # --- Stores -----------------------------------------------------------------------------------
    def load_data(self) -> Path:
        data = Path(self.made.environment["DATA_DIR"])
        data.mkdir()
        with tarfile.open(self.dumps / "data.tar.gz") as archive:
            archive.extractall(data, filter="data")
        return data

    def load_sqlite(self) -> None:
        with closing(sqlite3.connect(self.load_data() / "songs_ai.sqlite3")) as database:
            database.executescript(read_dump(self.dumps / "database.sql.xz"))

    def load_mariadb(self) -> None:
        self.load_data()
        port = self.made.mysql_port
        self.made.start_mariadb()
        self.made.start_redis()
        wait_until(lambda: listens(port) and listens(self.made.redis_port), "MariaDB and Redis")
        with self.made.mysql(database=None) as cursor:
            cursor.execute("CREATE DATABASE songs CHARACTER SET utf8mb4")
        text = read_dump(self.dumps / "database.sql.xz")
        command = ("mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=root")
        options = ("--default-character-set=utf8mb4", "songs")
        subprocess.run([*command, *options], input=text.encode(), check=True, capture_output=True)
        self._load_redis()

    def _load_redis(self) -> None:
        rows = json.loads(read_dump(self.dumps / "redis.json.xz"))
        with self.made.redis as server:
            for row in rows:
                key, value = row["key"].encode("latin-1"), row["value"]
                if row["type"] == "string":
                    server.set(key, value.encode("latin-1"))
                elif row["type"] == "hash":
                    server.hset(key, mapping={_raw(name): _raw(value[name]) for name in value})
                elif row["type"] == "set":
                    server.sadd(key, *map(_raw, value))
                elif row["type"] == "list":
                    server.rpush(key, *map(_raw, value))
                else:
                    server.zadd(key, {_raw(member): score for member, score in value})
                if row["ttl_ms"] > 0:
                    server.pexpire(key, row["ttl_ms"])

    def start(self) -> None:
        self.made.manage("migrate", "--noinput")
        self.made.manage("prepare")
        self.made.start_web(workers=1)

    # --- HTTP -------------------------------------------------------------------------------------
    def call(self, path: str, body: Any = None, *, form: bool = False) -> tuple[int, bytes]:
        data, kind = None, "application/json"
        if form:
            data, kind = urllib.parse.urlencode(body).encode(), "application/x-www-form-urlencoded"
        elif body is not None:
            data = json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.made.web_port}{path}"
        request = urllib.request.Request(address, data, {"Content-Type": kind})
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def json(self, path: str, body: Any = None) -> Any:
        status, content = self.call(path, body)
        assert status == 200, (path, body, content.decode()[:1000])
        return json.loads(content)

    def log_in(self) -> None:
        self.made.shell(
            "from django.contrib.auth.models import User\n"
            "admin = User.objects.get(username='admin')\n"
            f"admin.set_password({PASSWORD!r})\nadmin.save()"
        )
        self.call("/admin/login/")
        tokens = {cookie.name: cookie.value for cookie in self._cookies.cookiejar}
        form = {
            "username": "admin",
            "password": PASSWORD,
            "csrfmiddlewaretoken": tokens["csrftoken"],
            "next": "/admin/",
        }
        status, page = self.call("/admin/login/", form, form=True)
        assert status == 200
        assert b"/admin/logout/" in page


def _raw(text: str) -> bytes:
    return text.encode("latin-1")


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("mariadb", marks=pytest.mark.services)],
)
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    database = request.param
    if database == "mariadb" and not all(
        map(shutil.which, ("mariadbd", "mariadb-install-db", "mariadb", "redis-server"))
    ):
        missing_service("mariadbd and redis-server")
    folder = tmp_path_factory.mktemp(database)
    one = Upgraded(database, folder)
    try:
        one.load_sqlite() if database == "sqlite" else one.load_mariadb()
        one.start()
        yield one
    finally:
        one.made.stop()


def test_members_are_served_what_was_stored_and_new_answers(upgraded: Upgraded) -> None:
    members = upgraded.expected["members"]
    assert len(members) >= 50
    for key, stored in members.items():
        status, body = upgraded.call("/recommend/cached", {"memberId": key})
        found = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
        assert (status, found) == (200, stored), key
    for key in members:
        answer = upgraded.json("/recommend", {"user_id": key})
        assert answer["candidates"], key
        assert answer["degraded"] in (None, "no_model"), key


def test_old_runs_say_why(upgraded: Upgraded) -> None:
    runs = upgraded.expected["runs"]
    assert {run["trigger"] for run in runs} >= {"api", "favorites", "queue"}
    assert {run["source"] for run in runs} == {"local", "model"}
    assert len({run["degraded"] for run in runs}) > 4
    for run in runs[::3]:
        told = upgraded.json(f"/recommend/{run['run_id']}/why?song_id={run['song_id']}")
        assert told["run_id"] == run["run_id"]
        assert told["when_served"], run
        assert told["served_in"], run


def test_old_jobs_can_be_read_and_those_that_wait_are_done(upgraded: Upgraded) -> None:
    jobs = upgraded.expected["jobs"]
    assert set(jobs.values()) == {"succeeded", "canceled", "queued"}
    for job, status in jobs.items():
        told = upgraded.json(f"/recommend/jobs/{job}")
        assert told["status"] == status, job
        assert bool(told["result"]) == (status == "succeeded"), job
    # The message under way, or the sweep at the worker's start, names the task as 0.2.0 did.
    upgraded.made.start_worker("worker", "songs_ai.default,songs_ai.nightly", processes=1)
    waiting = [job for job, status in jobs.items() if status == "queued"]
    wait_until(
        lambda: all(
            upgraded.json(f"/recommend/jobs/{job}")["status"] == "succeeded" for job in waiting
        ),
        "the job that 0.2.0 left waiting",
    )


def test_staff_see_what_was_recorded(upgraded: Upgraded) -> None:
    upgraded.log_in()
    for name, opened in ADMIN.items():
        status, page = upgraded.call(f"/admin/{name}/")
        links = list(dict.fromkeys(re.findall(rf"/admin/{name}/[^/\"?]+/change/", page.decode())))
        assert status == 200, name
        assert links or (upgraded.database, name) in EMPTY, name
        newest, oldest = links[: -(-opened // 2)], links[len(links) - opened // 2 :]
        for link in dict.fromkeys(newest + oldest):
            assert upgraded.call(link)[0] == 200, link


def test_a_dump_reads_back_as_it_was_written(tmp_path: Path) -> None:
    streams = [zlib.compress(b"[1, 2, 3]" * 9, level).hex().upper() for level in (6, 9)]
    text = f"VALUES (X'{streams[0]}', 0x{streams[1]}, X'789CFFFFFFFF', '곡');\n"
    write_dump(tmp_path / "dump", text)
    assert read_dump(tmp_path / "dump") == text
