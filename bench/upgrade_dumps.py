"""Writes what an installation leaves behind into small files, for make_upgrade_fixture.py; tests/upgrade reads them."""

from __future__ import annotations

import gzip
import io
import json
import re
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "upgrade"))

# By its file: the package `tests` is that of version 0.2.0 here.
from dumps import write_dump

HOST = rf"\b{re.escape(socket.gethostname())}\b"
#: Where version 0.2.0 is unpacked and used.
FOLDER = re.compile(re.escape(tempfile.gettempdir()) + r"/[\w./-]+")


def dump_sqlite(database: Path, target: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        text = "\n".join(connection.iterdump()) + "\n"
    write_dump(target / "database.sql.xz", _anonymous(text))


def dump_mariadb(port: int, target: Path) -> None:
    write_dump(target / "database.sql.xz", _anonymous(_mariadb_text(port)))


def dump_redis(server: Any, target: Path) -> None:
    keys = json.dumps(_redis_keys(server), ensure_ascii=False, indent=0)
    write_dump(target / "redis.json.xz", _anonymous(keys))


def dump_data(data: Path, target: Path) -> None:
    (target / "data.tar.gz").write_bytes(_packed(data))


def _anonymous(text: str) -> str:
    """Without the name of this machine. Folders of it that are named would be found by the check."""
    found = FOLDER.search(text)
    if found:
        raise SystemExit(f"The dump names a folder of this machine: {found[0]}")
    return re.sub(HOST, "old-host", text)


def _mariadb_text(port: int) -> str:
    command = (
        *("mariadb-dump", "--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=root"),
        *("--skip-comments", "--skip-dump-date", "--hex-blob", "--skip-add-drop-table"),
        *("--default-character-set=utf8mb4", "--skip-lock-tables", "songs"),
    )
    text = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    # The client's sandbox marker, which older clients do not understand.
    return "".join(line for line in text.splitlines(True) if not line.startswith("/*M!999999"))


def _redis_keys(server: Any) -> list[dict[str, Any]]:
    """Values by type, not DUMP bytes: those are read by the same version of Redis only."""
    readers: dict[str, Callable[[bytes], Any]] = {
        "string": lambda key: server.get(key).decode("latin-1"),
        "hash": lambda key: _texts(server.hgetall(key)),
        "set": lambda key: sorted(_text(member) for member in server.smembers(key)),
        "list": lambda key: [_text(item) for item in server.lrange(key, 0, -1)],
        "zset": lambda key: [[_text(m), s] for m, s in server.zrange(key, 0, -1, withscores=True)],
    }
    rows = []
    for key in sorted(server.scan_iter()):
        kind = server.type(key).decode()
        row = {"key": _text(key), "type": kind, "ttl_ms": server.pttl(key)}
        rows.append(row | {"value": readers[kind](key)})
    return rows


def _text(value: bytes) -> str:
    """Bytes as text, one character each: some values are compressed."""
    return value.decode("latin-1")


def _texts(values: dict[bytes, bytes]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}


def _packed(data: Path) -> bytes:
    """DATA_DIR without the database, the same bytes for the same content."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in sorted(data.rglob("*")):
            name = str(path.relative_to(data))
            if name.startswith(("songs_ai.sqlite3", "secret-key", "metrics")):
                continue
            member = archive.gettarinfo(path, name)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            if path.is_dir():
                archive.addfile(member)
                continue
            content = path.read_bytes()
            if name.startswith("broker"):  # messages name their sender
                content = re.sub(HOST.encode(), b"old-host", content)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
