"""Writes an engine query down as JSON and reads it back, so that a run can be asked "why" and replayed."""

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
    encoded: dict[str, Any] = _encoded(query)
    return encoded


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_encoded(item) for item in value]
    return value


def query_from_json(record: Mapping[str, Any]) -> Query:
    """The query as it was asked."""
    values = dict(record)
    context = values["context"]
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
        "context": Context(
            time_of_day=TimeOfDay(context["time_of_day"]) if context["time_of_day"] else None,
            mood=context["mood"],
            activity=Activity(context["activity"]) if context["activity"] else None,
        ),
        "only": Only(**{name: frozenset(items) for name, items in values["only"].items()}),
        "exclude": Exclude(**{name: frozenset(items) for name, items in values["exclude"].items()}),
        "strategy": Strategy(values["strategy"]),
        "locale": Locale(values["locale"]),
        "now": datetime.fromisoformat(values["now"]),
    }
    return Query(**values)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
