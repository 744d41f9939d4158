"""Reads the body of `POST /recommend/jobs` that the job's row stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..serving.request import Request
from .serializers import RecommendInput


def read(body: Mapping[str, Any]) -> tuple[Request, list[dict[str, Any]]]:
    """The request, and what of it was not understood; the body was valid when it was posted."""
    given = RecommendInput(data=body)
    given.is_valid(raise_exception=True)
    return given.request()
