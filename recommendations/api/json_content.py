"""Reads and writes bodies as JSON, whatever the Accept header says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

#: 10 000 ids of ten digits are 110 KB; a larger body is a mistake.
MAX_BODY_BYTES = 256 * 1024


class BodyTooLarge(APIException):
    """The body is larger than 256 KiB."""

    status_code = 413
    default_code = "BODY_TOO_LARGE"
    default_detail = "The body is larger than 256 KiB. Send at most 10 000 favourite ids."


class JsonParser(BaseParser):
    """Strict JSON: no NaN, no Infinity, UTF-8, an object at the top."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError("The body is no valid JSON in UTF-8.") from error
        if not isinstance(value, Mapping):
            raise ParseError("The body must be a JSON object.")
        return value


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8; the header carries no charset parameter

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)


class AlwaysJson(BaseContentNegotiation):
    """Answers every client with JSON, also one that prefers HTML or accepts none of our types."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        sent = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == sent), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
