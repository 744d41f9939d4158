"""`make run`: prepares the installation, runs web, worker and scheduler, and shows a real recommendation."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.db import DatabaseError

from catalog.models import Member, SongLike
from infrastructure import heartbeats
from recommendations.management.supervisor import Child, Supervisor

#: A cold start on a slow machine imports SciPy and builds the first snapshot.
START_TIMEOUT_S = 90.0
#: Enough of the answer to judge it by, and no more than a screen.
SHOWN_GROUPS = 3
SHOWN_SONGS = 3
#: A member with so many likes has a taste worth showing.
LIKES_OF_A_TASTE = 8
MEMBERS_LOOKED_AT = 50


class Command(BaseCommand):
    help = "Prepare everything, run web, worker and scheduler, and print a real recommendation."
    requires_system_checks = ()  # `prepare` runs them, and tells a failure in one sentence

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        lock = self._claim_folder()
        self._refuse_busy_port()
        heartbeats.remove_dead()
        call_command("prepare", stdout=self.stdout)
        children = _children()
        self._say(f"Starting {', '.join(child.name for child in children)} …")
        supervisor = Supervisor(children, _environment(), self._say)
        supervisor.catch_signals()
        supervisor.start()
        try:
            if self._wait_for_web(supervisor):
                self._show(time.monotonic() - began)
            supervisor.run()
        finally:
            self._say("\nStopping …")
            supervisor.stop()
            lock.close()
            self._say("Stopped.")

    # --- before the start -------------------------------------------------------------------------
    def _claim_folder(self) -> IO[str]:
        """Take the lock of DATA_DIR, which the kernel frees when this process ends, however it ends.

        Containers share one DATA_DIR and do not run this command.
        """
        path = settings.DATA_DIR / "make-run.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            lock.close()
            raise CommandError(
                f"Songs AI already runs in {settings.DATA_DIR} ({owner}). Stop it first, or choose "
                f"another folder and port: DATA_DIR=… PORT={settings.PORT + 1} make run"
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}, port {settings.PORT}")
        lock.flush()
        return lock

    def _refuse_busy_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.HOST, settings.PORT))
            except OSError as error:
                raise CommandError(
                    f"Port {settings.PORT} can't be used ({error.strerror}). Stop what uses it, "
                    f"or choose another one: PORT={settings.PORT + 1} make run"
                ) from None

    # --- after the start --------------------------------------------------------------------------
    def _wait_for_web(self, supervisor: Supervisor) -> bool:
        """True once the server answers; False when stopped meanwhile."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not supervisor.stopping:
            supervisor.tick()
            if _answers("/health"):
                return True
            if time.monotonic() > deadline:
                self._say(f"The web server does not answer on port {settings.PORT} yet; see above.")
                return False
            time.sleep(0.2)
        return False

    def _show(self, seconds: float) -> None:
        base = f"http://127.0.0.1:{settings.PORT}"
        self._say(f"\nSongs AI is running (ready after {seconds:.1f} s). Ctrl-C stops it.")
        self._say(f"  API docs  {base}/docs")
        self._say(f"  Admin     {base}/admin/")
        try:
            member_id = _demo_member()
            if member_id is None:
                self._say("  No member has liked songs yet, so there is nothing to show here.")
                return
            answer, milliseconds = _recommendation(member_id)
        except (OSError, ValueError, DatabaseError) as error:
            self._say(f"  The first recommendation failed: {error}")
            return
        self._say(_readable(answer, member_id=member_id, milliseconds=milliseconds))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


# --- What is started ------------------------------------------------------------------------------
def _children() -> list[Child]:
    children = [
        Child(name="web", command=web_command()),
        Child(name="scheduler", command=_celery("beat")),
    ]
    if not settings.RABBITMQ_URL:
        # One process with threads: small, and files need no heartbeats between workers.
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        worker = _worker("worker", "songs_ai.default,songs_ai.nightly", "-P", "threads", *quiet)
        return [*children, Child(name="worker", command=worker)]
    children.append(Child(name="worker", command=_worker("worker", "songs_ai.default")))
    nightly = _worker("nightly", "songs_ai.nightly")
    children.append(Child(name="nightly worker", command=nightly, nice=10))
    if settings.SONGS_AI_CONSUME_QUEUE:
        consumer = (sys.executable, "manage.py", "consume")
        children.append(Child(name="queue consumer", command=consumer))
    return children


def web_command() -> tuple[str, ...]:
    workers = "1" if settings.EMBEDDED else str(max(2, os.cpu_count() or 2))
    return (
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "songs_ai.rsgi:application"),
        *("--host", settings.HOST, "--port", str(settings.PORT), "--workers", workers),
        *("--no-ws", "--respawn-failed-workers"),
        *("--workers-kill-timeout", "3", "--log-level", "error"),
    )


def _celery(*arguments: str) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "celery", "-A", "songs_ai", "-q", "--skip-checks", *arguments),
        *("--loglevel", "WARNING"),
    )


def _worker(name: str, queues: str, *more: str) -> tuple[str, ...]:
    concurrency = "4" if settings.EMBEDDED else "2"
    return _celery("worker", "-n", f"{name}@%h", "-Q", queues, "-c", concurrency, *more)


def _environment() -> dict[str, str]:
    """The children's environment: one fresh folder for the counters that all of them share."""
    folder = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or settings.DATA_DIR / "metrics")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


# --- What is shown --------------------------------------------------------------------------------
def _call(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    # http.client, not urllib: a proxy of the environment must not come between.
    host = "127.0.0.1" if settings.HOST == "0.0.0.0" else settings.HOST
    connection_ = http.client.HTTPConnection(host, settings.PORT, timeout=30)
    try:
        connection_.request(method, path, body, {"Content-Type": "application/json"})
        response = connection_.getresponse()
        return response.status, response.read()
    finally:
        connection_.close()


def _answers(path: str) -> bool:
    try:
        return _call("GET", path)[0] < 500
    except OSError:
        return False


def _demo_member() -> int | None:
    """The first member with enough likes to show a taste; of the first few, so that a big database is not counted."""
    first = list(Member.objects.order_by("pk").values_list("pk", flat=True)[:MEMBERS_LOOKED_AT])
    liked = SongLike.objects.filter(member_id__in=first).values_list("member_id", flat=True)
    likes = Counter(liked)
    tasteful = sorted(member for member, count in likes.items() if count >= LIKES_OF_A_TASTE)
    return next(iter(tasteful or sorted(likes)), None)


def _recommendation(member_id: int) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    status, body = _call("POST", "/recommend", json.dumps({"memberId": str(member_id)}).encode())
    milliseconds = (time.monotonic() - began) * 1000
    if status != 200:
        raise ValueError(f"/recommend answered {status}: {body[:200].decode('utf-8', 'replace')}")
    return json.loads(body), milliseconds


def _reason(run_id: str, song_id: int) -> str:
    """Why a song is in a run; "" when that can't be told now."""
    status, body = _call("GET", f"/recommend/{run_id}/why?song_id={song_id}")
    return str(json.loads(body).get("reason", "")) if status == 200 else ""


def _numbers(song: dict[str, Any]) -> str:
    shown = [
        f"{vendor} {song[key]}"
        for vendor, key in (("TJ", "tj_number"), ("KY", "ky_number"))
        if song.get(key)
    ]
    return " · ".join(shown)


def _readable(answer: dict[str, Any], *, member_id: int, milliseconds: float) -> str:
    """The answer as a person reads it: groups with taglines, then quick picks with their reasons."""
    lines = [
        f"\nRecommendation for demo member {member_id} ({milliseconds:.0f} ms, POST /recommend):"
    ]
    reasons = {song["song_id"]: song["reason"] for song in answer["candidates"]}
    for group in answer["groups"][:SHOWN_GROUPS]:
        for song in group["songs"][:SHOWN_SONGS]:
            if song["song_id"] not in reasons:  # a shelf may hold songs that are no quick picks
                reasons[song["song_id"]] = _reason(answer["run_id"], song["song_id"])
        lines.append(f"\n  ♪ {group['tagline']}   [{group['label']}]")
        lines += [_song_line(song, reasons) for song in group["songs"][:SHOWN_SONGS]]
    lines.append("\n  빠른 선곡")
    lines += [_song_line(song, reasons) for song in answer["candidates"][:SHOWN_SONGS]]
    command = f"""curl -s 127.0.0.1:{settings.PORT}/recommend -H 'Content-Type: application/json' -d '{{"memberId": "{member_id}"}}'"""
    return "\n".join([*lines, f"\nAsk it yourself:\n  {command}\n"])


def _song_line(song: dict[str, Any], reasons: dict[int, str]) -> str:
    title = song["title_jp"] or song["title_en"]
    artist = song["artist"] or song["artist_kr"]
    reason = song.get("reason") or reasons.get(song.get("song_id", 0), "")
    parts = [f"    {title} – {artist}", f"({_numbers(song)})" if _numbers(song) else "", reason]
    return "  ".join(part for part in parts if part)
