"""Answers as several web processes share them, and as the neighbours find them in Redis (contract §1 and §2)."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.installation import Installation, available, listens, wait_until
from tests.conftest import missing_service

pytestmark = [pytest.mark.services, pytest.mark.django_db(databases=[])]
WEEK_S, HOUR_S = 7 * 86_400, 3_600
#: Answers would live in a process's own memory far longer than any of these tests.
L1_TTL_S = "300"
PROCESSES, READS = 4, 40


@pytest.fixture(scope="module")
def made() -> Iterator[Installation]:
    """MariaDB and Redis of their own, and four web processes."""
    if not available():
        missing_service("mariadbd and redis-server")
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-"))
    made = Installation(folder, RABBITMQ_URL="", SONGS_AI_CONSUME_QUEUE="0", L1_TTL_S=L1_TTL_S)
    try:
        made.start_mariadb()
        made.start_redis()
        wait_until(lambda: listens(made.mysql_port), "MariaDB")
        with made.mysql(database=None) as cursor:
            cursor.execute("CREATE DATABASE songs CHARACTER SET utf8mb4")
        made.manage("prepare")
        made.start_web(workers=PROCESSES)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def post(made: Installation, path: str, body: Any) -> tuple[int, Any]:
    """Status and parsed answer, on a connection of its own: any of the processes may take it."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{made.web_port}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def recommended(made: Installation, **body: Any) -> Any:
    status, answer = post(made, "/recommend", body)
    assert status == 200, answer
    return answer


def cached(made: Installation, member: str) -> Any:
    status, answer = post(made, "/recommend/cached", {"memberId": member})
    assert status == 200, answer
    return answer


def songs_of(answer: Any) -> set[int]:
    listed = [
        *answer["candidates"],
        *(song for group in answer["groups"] for song in group["songs"]),
    ]
    return {song["song_id"] for song in listed}


# --- Several processes ----------------------------------------------------------------------------
def nobody_serves(made: Installation, member: str, song_id: int) -> bool:
    """Whether all processes know the song as a favourite and recommend it no more."""
    answers = [cached(made, member) for _ in range(READS)]
    return all(
        song_id in answer["favorite_song_ids"] and song_id not in songs_of(answer)
        for answer in answers
    )


def liked_after_everybody_remembers(made: Installation, member: str) -> int:
    """Let every process hold the member's answer, then say that the member likes its first song."""
    recommended(made, memberId=member)
    answers = [cached(made, member) for _ in range(READS)]
    liked = answers[0]["candidates"][0]["song_id"]
    change = {"action": "add_favorite", "song_data": {"song_id": liked}}
    assert post(made, "/favorites/updated", {"memberId": member, **change})[0] == 200
    return int(liked)


def test_a_song_just_liked_leaves_every_process(made: Installation) -> None:
    for member in ("5", "6", "7"):
        liked = liked_after_everybody_remembers(made, member)
        wait_until(
            lambda member=member, liked=liked: nobody_serves(made, member, liked),
            "one and the same answer from four processes",
            seconds=10,
        )


def test_it_leaves_them_too_while_redis_says_nothing(made: Installation) -> None:
    redis = made.processes["redis"].popen
    assert redis is not None
    recommended(made, memberId="8")
    for _ in range(READS):
        cached(made, "8")
    redis.send_signal(signal.SIGSTOP)
    try:
        liked = cached(made, "8")["candidates"][0]["song_id"]
        change = {"action": "add_favorite", "song_data": {"song_id": liked}}
        assert post(made, "/favorites/updated", {"memberId": "8", **change})[0] == 200
        wait_until(lambda: nobody_serves(made, "8", liked), "no old answer", seconds=15)
    finally:
        redis.send_signal(signal.SIGCONT)
    wait_until(lambda: everybody_has_redis(made), "Redis in every process")


def everybody_has_redis(made: Installation) -> bool:
    answers = (recommended(made, memberId="9") for _ in range(READS))
    return all(answer["degraded"] != "redis" for answer in answers)


# --- What lies in Redis ---------------------------------------------------------------------------
def test_the_plain_keys_are_readable_json_for_seven_days(made: Installation) -> None:
    answer = recommended(made, memberId="1")
    stored, preference = made.redis.get("recommend:1"), made.redis.get("preference:1")
    assert stored.startswith(b'{"favorite_song_ids":')
    value = json.loads(stored)
    assert list(value) == ["favorite_song_ids", "groups", "candidates", "generated_date"]
    assert value == {name: answer[name] for name in value}
    assert cached(made, "1") == value | {"cached": True}
    value = json.loads(preference)
    assert set(value) == {"favorite_song_ids", "preference", "generated_date"}
    assert value["favorite_song_ids"] == answer["favorite_song_ids"]
    taste = value["preference"]
    assert isinstance(taste.pop("overall_taste"), str)
    assert set(taste) == {"preferred_genres", "preferred_moods", "favorite_artists"}
    assert all(isinstance(name, str) for names in taste.values() for name in names)
    for key in ("recommend:1", "preference:1"):
        assert WEEK_S - 60 < made.redis.ttl(key) <= WEEK_S


def test_variants_live_an_hour_under_our_own_names_eight_to_a_member(made: Installation) -> None:
    plain = recommended(made, memberId="2")["run_id"]
    before = made.redis.get("recommend:2")
    for dial in range(12):
        assert recommended(made, memberId="2", adventure=dial / 20)["run_id"] != plain
    assert made.redis.get("recommend:2") == before
    variants = list(made.redis.scan_iter(match="*variant:2:*"))
    assert len(variants) == 8
    assert all(0 < made.redis.ttl(key) <= HOUR_S for key in variants)
    assert not any(key.startswith((b"recommend:", b"preference:", b"job:")) for key in variants)


def test_what_the_old_scheduler_left_is_served_in_todays_shape(made: Installation) -> None:
    old = {
        "favorites": ["1", 65],
        "recommendations": {
            "groups": [
                {"label": "록", "tagline": None, "songs": [{"title_jp": "夜", "tj_number": "0"}]}
            ]
        },
        "generated_date": "2026-01-31",
    }
    made.redis.set("recommend:901", json.dumps(old))
    answer = cached(made, "901")
    assert (answer["favorite_song_ids"], answer["cached"]) == ([1, 65], True)
    assert answer["groups"][0]["tagline"] == "록"
    assert answer["groups"][0]["songs"][0]["tj_number"] is None


@pytest.mark.parametrize(
    ("member", "junk"), [("911", b""), ("912", b"[1]"), ("913", b"{"), ("914", b'{"groups": NaN}')]
)
def test_rubbish_under_a_key_is_as_good_as_nothing(
    made: Installation, member: str, junk: bytes
) -> None:
    made.redis.set(f"recommend:{member}", junk)
    assert post(made, "/recommend/cached", {"memberId": member})[0] == 404
    assert recommended(made, memberId=member)["candidates"]
    assert cached(made, member)["candidates"]


def test_a_key_of_another_kind_harms_nobody_else(made: Installation) -> None:
    """Whoever wrote a hash where text belongs: Redis is well, and the key is made right."""
    for member in map(str, range(921, 929)):  # whichever processes meet them
        made.redis.hset(f"recommend:{member}", "a", "b")
        assert post(made, "/recommend/cached", {"memberId": member})[0] == 404
        assert recommended(made, memberId="10")["degraded"] != "redis"
        assert recommended(made, memberId=member)["degraded"] != "redis"
        assert json.loads(made.redis.get(f"recommend:{member}"))["candidates"]
