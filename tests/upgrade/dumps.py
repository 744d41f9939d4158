"""Keeps SQL dumps small: columns that hold zlib streams are stored inflated, so that xz sees how alike their rows are.

A literal `X'789C…'` (SQLite) or `0x789C…` (MariaDB) becomes `Z6'…'`: the inflated bytes in hexadecimal, and the level that
makes the same stream of them again.
"""

from __future__ import annotations

import lzma
import re
import zlib
from pathlib import Path

_STREAM = re.compile(
    r"(?:X'(78(?:01|5E|9C|DA)[0-9A-F]{8,})'|0x(78(?:01|5E|9C|DA)[0-9A-F]{8,}))", re.I
)
_INFLATED = re.compile(r"Z([0-9])([x'])([0-9a-f]+)'")
LEVELS = (6, 1, 9, 3)


def write_dump(path: Path, text: str) -> None:
    path.write_bytes(lzma.compress(_STREAM.sub(_inflated, text).encode(), preset=9))


def read_dump(path: Path) -> str:
    return _INFLATED.sub(_deflated, lzma.decompress(path.read_bytes()).decode())


def _inflated(found: re.Match[str]) -> str:
    stream = bytes.fromhex(found[1] or found[2])
    try:
        content = zlib.decompress(stream)
    except zlib.error:
        return found[0]
    for level in LEVELS:
        if zlib.compress(content, level) == stream:
            return f"Z{level}{chr(39) if found[1] else 'x'}{content.hex()}'"
    return found[0]


def _deflated(found: re.Match[str]) -> str:
    stream = zlib.compress(bytes.fromhex(found[3]), int(found[1])).hex().upper()
    return f"X'{stream}'" if found[2] == "'" else f"0x{stream}"
