"""The neighbours' tables read from a real replica, ours written beside the originals."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.installation import Installation, available, listens, wait_until
from tests.conftest import missing_service

pytestmark = [pytest.mark.services, pytest.mark.django_db(databases=[])]
MEMBER = 7


@pytest.fixture(scope="module")
def made() -> Iterator[Installation]:
    """Two MariaDB, the second following the first, and a web process that reads songs_be's tables there."""
    if not available():
        missing_service("mariadbd")
    folder = Path(tempfile.mkdtemp(prefix="songs-ai-"))
    made = Installation(folder, REDIS_URL="", RABBITMQ_URL="", SONGS_AI_CONSUME_QUEUE="0")
    try:
        made.start_mariadb("--log-bin", "--server-id=1")
        wait_until(lambda: listens(made.mysql_port), "MariaDB")
        with made.mysql(database=None) as cursor:
            cursor.execute("CREATE DATABASE songs CHARACTER SET utf8mb4")
        made.manage("prepare")
        port = made.start_replica()
        wait_until(lambda: in_step(made, port), "the replica to be in step")
        made.environment["CATALOG_DATABASE_URL"] = f"mysql://root@127.0.0.1:{port}/songs"
        made.start_web(workers=1)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def replica_port(made: Installation) -> int:
    return int(made.environment["CATALOG_DATABASE_URL"].rpartition(":")[2].partition("/")[0])


def in_step(made: Installation, port: int) -> bool:
    """Whether the replica has run everything that the first server has written."""
    with made.mysql(database=None) as cursor:
        cursor.execute("SELECT @@gtid_binlog_pos")
        written = cursor.fetchone()[0]
    with made.mysql(database=None, port=port) as cursor:
        cursor.execute("SELECT @@gtid_slave_pos")
        return bool(cursor.fetchone()[0] == written)


def favorites(made: Installation) -> list[int]:
    """The member's favourites as an answer was computed with them."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{made.web_port}/recommend",
        data=json.dumps({"memberId": str(MEMBER)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        told: dict[str, Any] = json.load(answer)
    assert told["degraded"] != "database"
    return list(told["favorite_song_ids"])


def test_a_like_counts_as_soon_as_the_replica_has_it(made: Installation) -> None:
    before, port = favorites(made), replica_port(made)
    with made.mysql(port=port) as cursor:
        cursor.execute("STOP SLAVE")
    with made.mysql() as cursor:
        cursor.execute(
            f"SELECT song_id FROM song WHERE song_id NOT IN ({', '.join(map(str, before))}) LIMIT 1"
        )
        liked = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO song_like (member_id, song_id, created_at, modified_at)"
            f" VALUES ({MEMBER}, {liked}, NOW(), NOW())"
        )
    assert favorites(made) == before
    with made.mysql(port=port) as cursor:
        cursor.execute("START SLAVE")
    wait_until(lambda: liked in favorites(made), "the like")


def test_what_is_ours_is_written_to_the_first_server(made: Installation) -> None:
    favorites(made)
    assert made.rows(
        f"SELECT COUNT(*) FROM recommendations_storedanswer WHERE member_key = '{MEMBER}'"
    ) == [(1,)]
