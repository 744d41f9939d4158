"""Reads the request that a job's row stores, in each form that rows may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.types import Locale, Strategy

from ..request import Request
from .request_json import request_from_json
from .request_parsing import request_from_body


def read_request(arguments: Mapping[str, Any]) -> Request:
    """arguments: of a job named "serve"."""
    if "request" in arguments:
        return request_from_json(arguments["request"])
    if "body" in arguments:  # posted to /recommend/jobs while version 0.2 ran
        return request_from_body(arguments["body"])
    # A message of the backend's queue: `rabbitmq_messages.JobMessage.arguments`.
    ids = arguments.get("favorite_ids")
    return Request(
        member_key=arguments["member_key"],
        favorite_ids=None if ids is None else tuple(ids),
        count=arguments["count"],
        strategy=Strategy(arguments["strategy"]),
        locale=Locale(arguments["locale"]),
    )
