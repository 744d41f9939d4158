"""Encodes an answer as the JSON that is stored under `recommend:{member}` and served from there."""

from __future__ import annotations

from typing import Any

import orjson

#: Our own values begin so; any other value under the key was written by another program.
OWN_PREFIX = b'{"favorite_song_ids":'


def encode_answer(
    *, favorite_song_ids: list[int], groups: list[Any], candidates: list[Any], generated_date: str
) -> bytes:
    """The value of `recommend:{member}`; `favorite_song_ids` stands first, see OWN_PREFIX."""
    return orjson.dumps(
        {
            "favorite_song_ids": favorite_song_ids,
            "groups": groups,
            "candidates": candidates,
            "generated_date": generated_date,
        }
    )
