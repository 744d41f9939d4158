"""Encodes an engine query as JSON and decodes it, so that a run can be explained and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from engine.types import (
    Activity,
    Context,
    Exclude,
    ImpressionCount,
    Locale,
    Only,
    Preference,
    Query,
    Signal,
    SignalType,
    Strategy,
    TimeOfDay,
)


def query_to_json(query: Query) -> dict[str, Any]:
    """Every field of the query; sets as sorted lists, dates as ISO-8601."""
    encoded: dict[str, Any] = encode(query)
    return encoded


def encode(value: Any) -> Any:
    """A value of the engine as JSON."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def query_from_json(record: Mapping[str, Any]) -> Query:
    """The query that was written down."""
    values = dict(record)
    values |= {
        "favorite_ids": tuple(values["favorite_ids"]),
        "signals": tuple(
            Signal(**item | {"type": SignalType(item["type"]), "at": _moment(item["at"])})
            for item in values["signals"]
        ),
        "impressions": tuple(
            ImpressionCount(**item | {"last_at": _moment(item["last_at"])})
            for item in values["impressions"]
        ),
        "preferences": tuple(Preference(**item) for item in values["preferences"]),
        "context": context_from_json(values["context"]),
        "only": only_from_json(values["only"]),
        "exclude": exclude_from_json(values["exclude"]),
        "strategy": Strategy(values["strategy"]),
        "locale": Locale(values["locale"]),
        "now": datetime.fromisoformat(values["now"]),
    }
    return Query(**values)


def context_from_json(record: Mapping[str, Any]) -> Context:
    return Context(
        time_of_day=TimeOfDay(record["time_of_day"]) if record["time_of_day"] else None,
        mood=record["mood"],
        activity=Activity(record["activity"]) if record["activity"] else None,
    )


def only_from_json(record: Mapping[str, Any]) -> Only:
    return Only(**{name: frozenset(items) for name, items in record.items()})


def exclude_from_json(record: Mapping[str, Any]) -> Exclude:
    return Exclude(**{name: frozenset(items) for name, items in record.items()})


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
