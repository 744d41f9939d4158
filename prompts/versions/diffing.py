"""Word-by-word difference of two texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORD = re.compile(r"\{\{\s*\w+\s*\}\}|\w+|\n|[^\S\n]+|[^\w\s]")
#: Beyond this many words the texts are compared line by line: word matching is quadratic.
MAX_WORDS = 4_000


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of unchanged, removed or added text."""

    kind: Literal["same", "gone", "new"]
    text: str


def words(before: str, after: str) -> list[Piece]:
    """The pieces of both texts, word by word."""
    left, right = _split(before), _split(after)
    if len(left) + len(right) > MAX_WORDS:
        left, right = before.splitlines(keepends=True), after.splitlines(keepends=True)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    return _joined(list(_pieces(matcher, left, right)))


def _split(text: str) -> list[str]:
    return _WORD.findall(text)


def _pieces(matcher: SequenceMatcher[str], left: list[str], right: list[str]) -> Iterator[Piece]:
    for tag, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        if tag == "equal":
            yield Piece(kind="same", text="".join(left[left_from:left_to]))
            continue
        if left_to > left_from:
            yield Piece(kind="gone", text="".join(left[left_from:left_to]))
        if right_to > right_from:
            yield Piece(kind="new", text="".join(right[right_from:right_to]))


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Changes with nothing but spaces between them read as one change."""
    found: list[Piece] = []
    gone = new = ""

    def flush() -> None:
        if gone:
            found.append(Piece(kind="gone", text=gone))
        if new:
            found.append(Piece(kind="new", text=new))

    for at, piece in enumerate(pieces):
        between = piece.kind == "same" and piece.text.isspace() and "\n" not in piece.text
        if piece.kind == "gone":
            gone += piece.text
        elif piece.kind == "new":
            new += piece.text
        elif between and (gone or new) and at + 1 < len(pieces):
            gone, new = gone + piece.text, new + piece.text
        else:
            flush()
            gone = new = ""
            found.append(piece)
    flush()
    return found
