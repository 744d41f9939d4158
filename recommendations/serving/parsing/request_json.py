"""Encodes a request as the JSON that a job's row stores, and decodes it in the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.types import Locale, Strategy

from ..query_json import context_from_json, encode, exclude_from_json, only_from_json
from ..request import NamedSong, Request, Unresolved

VERSION = 1
#: What a caller asks for. Trigger, job and the like belong to whoever computes the request.
_FIELDS = (
    "member_key",
    "favorite_ids",
    "favorite_songs",
    "count",
    "strategy",
    "locale",
    "context",
    "mood_word",
    "adventure",
    "diversity",
    "only",
    "exclude",
    "allow_known",
    "unresolved",
)


def request_to_json(request: Request) -> dict[str, Any]:
    return {"version": VERSION} | {name: encode(getattr(request, name)) for name in _FIELDS}


def request_from_json(record: Mapping[str, Any]) -> Request:
    """The request that was written. Raises ValueError for a version this release does not know."""
    if record["version"] != VERSION:
        raise ValueError(f"A request of version {record['version']!r} needs a newer release.")
    values = {name: record[name] for name in _FIELDS}
    ids = values["favorite_ids"]
    values |= {
        "favorite_ids": None if ids is None else tuple(ids),
        "favorite_songs": tuple(NamedSong(**song) for song in values["favorite_songs"]),
        "strategy": Strategy(values["strategy"]),
        "locale": Locale(values["locale"]),
        "context": context_from_json(values["context"]),
        "only": only_from_json(values["only"]),
        "exclude": exclude_from_json(values["exclude"]),
        "unresolved": tuple(
            Unresolved(**item | {"did_you_mean": tuple(item["did_you_mean"])})
            for item in values["unresolved"]
        ),
    }
    return Request(**values)
