"""Makes the dumps of tests/upgrade/0.2.0 anew: `python bench/make_upgrade_fixture.py` (minutes; needs MariaDB, Redis, RabbitMQ).

It unpacks version 0.2.0 into a temporary folder and uses it there as people do, once as `make run` starts it (SQLite,
nothing else) and once with MariaDB, Redis and RabbitMQ of its own: members of a trimmed demo and users of callers' own
ask over HTTP, with a model that mostly works; they change favourites, send feedback, block, and order jobs; staff edit
prompts, roll out, evaluate, override; schedules run. What that leaves behind goes to one folder per installation:

  database.sql.xz   the whole database, written by tests/upgrade/dumps.py
  redis.json.xz     every key with its value and its remaining life (MariaDB only)
  data.tar.gz       DATA_DIR without the database: models, snapshots, messages under way
  expected.json     what the test compares: digests of cached answers, runs, jobs

Passwords and sessions are removed. The answers would expire after a week: here they live for ten years.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.upgrade_dumps import dump_data, dump_mariadb, dump_redis, dump_sqlite  # noqa: E402

TARGET = ROOT / "tests" / "upgrade" / "0.2.0"
REVISION = "c9927ea"
MEMBERS, CALLERS, SONGS = 46, 6, 48
YEARS_S = 10 * 365 * 86_400
SETTINGS = {
    "SECRET_KEY": "upgrade fixture",
    "RESULT_TTL_S": str(YEARS_S),
    "EASE_MAX_ITEMS": "60",
    "LLM_DEADLINE_S": "20",
    "LLM_DEADLINE_DEEP_S": "20",
    "JOBS_PER_MINUTE": "50",
    "LOG_LEVEL": "WARNING",
    "OPENAI_API_KEY": "none",
}
#: The demo, trimmed to what fits into a small file: the songs most liked, and the members who like them.
TRIM = f"""
from django.db.models import Count
from catalog.models import Member, MemberRole, Playlist, PlaylistSong, Song, SongLike
likes = SongLike.objects.values("song_id").annotate(n=Count("pk")).order_by("-n", "song_id")
songs = list(likes.values_list("song_id", flat=True)[:{SONGS}])
members = list(Member.objects.order_by("pk").values_list("pk", flat=True)[:{MEMBERS}])
PlaylistSong.objects.exclude(song_id__in=songs).delete()
PlaylistSong.objects.exclude(playlist__member_id__in=members).delete()
Playlist.objects.exclude(member_id__in=members).delete()
SongLike.objects.exclude(song_id__in=songs).delete()
SongLike.objects.exclude(member_id__in=members).delete()
MemberRole.objects.exclude(member_id__in=members).delete()
Member.objects.exclude(pk__in=members).delete()
Song.objects.exclude(pk__in=songs).delete()
"""
#: No secret leaves: accounts cannot log in, and nobody is logged in.
CLEAN = """
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
User.objects.update(password="!")
Session.objects.all().delete()
"""
FEEDBACK: tuple[dict[str, Any], ...] = (
    {"type": "like"},
    {"type": "unlike"},
    {"type": "playlist"},
    {"type": "play", "value": 0.8},
    {"type": "complete"},
    {"type": "replay"},
    {"type": "skip"},
    {"type": "rating", "value": 4},
    {"type": "dislike"},
    {"type": "sang", "context": {"activity": "party"}},
)


def say(text: str) -> None:
    print(text, flush=True)


def unpacked(folder: Path) -> Path:
    """Version 0.2.0 in a folder, with its tests' tools on the path of this process."""
    packed = subprocess.run(
        ["git", "archive", REVISION], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    sys.path.insert(0, str(folder))
    return folder


# --- Callers --------------------------------------------------------------------------------------
class Api:
    """HTTP calls as callers make them."""

    def __init__(self, port: int) -> None:
        self._port = port

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        status, content = self.raw(method, path, sent)
        if status != expect:
            raise SystemExit(f"{method} {path}: {status}\n{content.decode()[:2000]}")
        return json.loads(content)

    def raw(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        with closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return self.call("POST", path, body, expect=expect)


def members_of(count: int) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        yield {"memberId": str(number)} if number % 2 else {"user_id": number}
    for number in range(1, CALLERS + 1):
        yield {"user_id": f"singer-{number}"}


def key_of(member: dict[str, Any]) -> str:
    return str(next(iter(member.values())))


def members_ask(api: Api, songs: list[dict[str, Any]]) -> None:
    """Everybody asks; most in some situation or language as well, and some report what they did."""
    contexts: tuple[dict[str, Any], ...] = (
        {"context": {"time_of_day": "밤", "mood": "비 오는 날"}},
        {"locale": "ja", "strategy": "deep"},
        {"locale": "en", "adventure": 0.9, "diversity": 0.5, "count": 10},
        {"strategy": "fast", "only": {"karaoke": ["tj"]}, "allow_known": True},
        {"context": {"activity": "출퇴근"}, "exclude": {"artists": [songs[0]["artist"]]}},
    )
    for place, member in enumerate(members_of(MEMBERS)):
        plain = dict(member)
        if "singer" in key_of(member):
            picked = songs[place % 7 : place % 7 + 4]
            plain["favorite_songs"] = [
                {"title": song["title_kr"] or song["title_jp"], "artist": song["artist_kr"]}
                for song in picked
            ]
            change = {"action": "add_favorite", "song_data": {"song_id": picked[0]["song_id"]}}
            api.post("/favorites/updated", member | change)
        api.post("/recommend", plain)
        if place % 3 == 0:
            api.post("/recommend", member | contexts[place // 3 % len(contexts)])
        if place % 23 == 0:
            report(api, member, songs)


def report(api: Api, member: dict[str, Any], songs: list[dict[str, Any]]) -> None:
    """Feedback of every kind, blocks of every kind, favourites in both forms."""
    key = key_of(member)
    events = [
        member
        | event
        | {
            "event_id": f"{key}-{place}",
            "song_id": songs[place]["song_id"],
            "occurred_at": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60 * place)
            ),
        }
        for place, event in enumerate(FEEDBACK)
    ]
    api.post("/feedback", {"events": events}, expect=202)
    blocks = f"/members/{key}/blocks"
    api.post(blocks, {"kind": "song", "song_id": songs[11]["song_id"]})
    api.post(blocks, {"kind": "genre", "name": songs[12]["genre"]})
    api.post(
        blocks,
        {"kind": "artist", "name": songs[13]["artist"], "until": "2036-01-01T00:00:00+09:00"},
    )
    api.post(
        "/favorites/updated", member | {"favorite_song_ids": [s["song_id"] for s in songs[:3]]}
    )
    remove = {"action": "remove_favorite", "song_data": {"song_id": songs[0]["song_id"]}}
    api.post("/favorites/updated", member | remove)


def meet_faults(api: Api, model: Any) -> None:
    """Runs whose model refused, talked nonsense, or was away."""
    for number, fault in enumerate(
        ("refusal", "out_of_range", "prose", "truncated", "429", "500"), 1
    ):
        model.fault = fault
        api.post("/recommend", {"memberId": str(number), "locale": "en", "count": 20 + number})
    model.fault = ""


def wait_for(true: Callable[[], Any], what: str, *, seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:g} s")
        time.sleep(0.5)
    return value


# --- An installation of 0.2.0 ---------------------------------------------------------------------
class Used:
    """One installation of 0.2.0 and what is done with it."""

    def __init__(self, name: str, folder: Path, tree: Path, model: Any) -> None:
        # Of version 0.2.0: `unpacked` put it on the path.
        installation = import_module("bench.installation")

        self.name, self.tree, self.model, self._tools = name, tree, model, installation
        away = {
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "RABBITMQ_URL": "",
            "SONGS_AI_CONSUME_QUEUE": "0",
        }
        chosen = SETTINGS | {"OPENAI_BASE_URL": model.url} | (away if self.embedded else {})
        self.made = installation.Installation(folder, **chosen)
        self.api = Api(self.made.web_port)
        self.jobs: dict[str, str] = {}

    @property
    def embedded(self) -> bool:
        return self.name == "sqlite"

    @property
    def data(self) -> Path:
        return Path(self.made.environment["DATA_DIR"])

    def use(self) -> None:
        self.prepare()
        self.made.start_web(workers=1)
        wait_for(lambda: self.api.raw("GET", "/health/ready")[0] == 200, "the web server")
        songs = self.songs()
        self.staff("before")
        say(f"{self.name}: members ask")
        members_ask(self.api, songs)
        meet_faults(self.api, self.model)
        say(f"{self.name}: jobs and schedules")
        self.start_workers()
        self.order_jobs()
        self.staff("after")
        wait_for(self.is_quiet, "jobs to end")
        self.stop_workers()
        self.leave_jobs_behind()

    def prepare(self) -> None:
        if not self.embedded:
            self.made.start_servers()
        self.made.manage("prepare")
        self.made.shell(TRIM)
        self.made.manage("train_model", "--seed", "1")

    def songs(self) -> list[dict[str, Any]]:
        code = (
            "import json\nfrom catalog.models import Song\n"
            "names = ('song_id', 'title_jp', 'title_kr', 'artist', 'artist_kr', 'genre')\n"
            "print(json.dumps(list(Song.objects.order_by('pk').values(*names)[:20])))"
        )
        return list(json.loads(self.made.shell(code)))

    def staff(self, part: str) -> None:
        code = (ROOT / "bench" / "upgrade_staff_0_2_0.txt").read_text("utf-8")
        self.made.shell(f"PART = {part!r}\n{code}")

    def start_workers(self) -> None:
        self.made.start_worker("worker", "songs_ai.default,songs_ai.nightly", processes=1)
        self.made.start_beat()
        if self.embedded:
            return
        with self.made.amqp() as channel:
            self._tools.declare_as_spring(channel)
        self.made.start_consumer(processes=1)

    def stop_workers(self) -> None:
        for name in ("worker", "beat", "consumer"):
            if name in self.made.processes:
                self.made.processes.pop(name).stop()

    def order_jobs(self) -> None:
        """Jobs over HTTP and, where there is a queue, from the backend: good ones and two that nobody can read."""
        for number in (1, 2, 7):
            job = self.order(number)
            wait_for(lambda job=job: self.status(job) == "succeeded", "a job")
            self.jobs[job] = "succeeded"
        if self.embedded:
            return
        good, body = self._tools.spring_body(9, strategy="default")
        with self.made.amqp() as channel:
            for sent in (body, b"{not json", b'{"memberId": "9"}'):
                self._tools.publish_as_spring(channel, sent)
        wait_for(lambda: self.status(good) == "succeeded", "the backend's job")
        self.jobs[good] = "succeeded"
        sql = "SELECT COUNT(*) FROM recommendations_deadletter"
        wait_for(lambda: self.made.rows(sql)[0][0] >= 2, "dead letters")

    def order(self, number: int) -> str:
        body = {"memberId": str(number), "count": 15, "locale": "ja"}
        return str(self.api.post("/recommend/jobs", body, expect=202)["job_id"])

    def status(self, job: str) -> str:
        status, content = self.api.raw("GET", f"/recommend/jobs/{job}")
        return json.loads(content)["status"] if status == 200 else ""

    def is_quiet(self) -> bool:
        code = (
            "from recommendations.models import Job, ScheduleRun\n"
            "print(Job.objects.open().count()"
            " + ScheduleRun.objects.filter(state__in=('queued', 'running')).count())"
        )
        return self.made.shell(code).strip() == "0"

    def leave_jobs_behind(self) -> None:
        """One job that was cancelled, one that still waits when the old version stops."""
        cancelled, waiting = self.order(11), self.order(12)
        self.api.call("DELETE", f"/recommend/jobs/{cancelled}")
        self.jobs |= {cancelled: self.status(cancelled), waiting: "queued"}

    def expected(self) -> dict[str, Any]:
        """What callers see at the end: digests of the bytes, a run with one of its songs, the jobs."""
        members = {}
        for member in members_of(MEMBERS):
            status, body = self.api.raw("POST", "/recommend/cached", json.dumps(member).encode())
            assert status == 200, (member, status)
            digest = hashlib.sha256(body).hexdigest()
            members[key_of(member)] = {"sha256": digest, "bytes": len(body)}
        return {"members": members, "jobs": self.jobs, "runs": self.runs()}

    def runs(self) -> list[dict[str, Any]]:
        """Runs of every kind, each with a song to ask about."""
        code = (
            "import json\nfrom recommendations.models import Run\n"
            "print(json.dumps([[str(r.pk), r.degraded, r.source, r.trigger, (r.snapshot or {}).get('final', [0])[0]]"
            " for r in Run.objects.order_by('created_at', 'pk')]))"
        )
        names = ("run_id", "degraded", "source", "trigger", "song_id")
        return [dict(zip(names, row, strict=True)) for row in json.loads(self.made.shell(code))]


# --- Dumps ----------------------------------------------------------------------------------------
def dump(used: Used, target: Path) -> None:
    expected = used.expected()
    used.made.processes["web"].stop()
    used.made.shell(CLEAN)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if used.embedded:
        dump_sqlite(used.data / "songs_ai.sqlite3", target)
    else:
        dump_mariadb(used.made.mysql_port, target)
        dump_redis(used.made.redis, target)
    dump_data(used.data, target)
    lines = json.dumps(expected, ensure_ascii=False, indent=1)
    (target / "expected.json").write_text(lines + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("sqlite", "mariadb"))
    parser.add_argument("--target", type=Path, default=TARGET)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-0.2.0-"))
    tree = unpacked(folder / "tree")
    FakeModel = import_module("bench.fake_model").FakeModel

    try:
        for name in ("sqlite", "mariadb") if given.only is None else (given.only,):
            (folder / name).mkdir()
            with FakeModel(keep=False) as model:
                used = Used(name, folder / name, tree, model)
                try:
                    used.use()
                    dump(used, given.target / name)
                finally:
                    used.made.stop()
            for file in sorted((given.target / name).iterdir()):
                say(f"{name}: {file.name} {file.stat().st_size / 1024:.0f} KiB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
