"""Messages of the backend's queue (contract §3): reads them, and prepares their next delivery."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from catalog.queries import MOST_FAVORITES
from engine.types import Locale, Strategy
from recommendations.serving.request import COUNT_OF_MEMBERS

MOST_CANDIDATES = 100
#: Larger bodies than this are refused; a database does not take rows of any size.
MAX_BODY_BYTES = 4 * 1024 * 1024
#: JSON nested deeper than this is refused, well before Python's own limit.
MAX_DEPTH = 100
#: What the column of a job's attempt can hold; any attempt beyond the third is the last one anyway.
MAX_ATTEMPT = 30_000
#: Ids of songs have 32 bits (contract §1).
MAX_SONG_ID = 2**31 - 1


class InvalidMessage(ValueError):
    """A message that can't be understood. `job_id` is what could be read of it, else ""."""

    def __init__(self, detail: str, *, job_id: str = "") -> None:
        super().__init__(detail)
        self.job_id = job_id


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message as the broker handed it over."""

    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    redelivered: bool

    def as_arguments(self) -> list[Any]:
        """The arguments of the task; kombu's JSON keeps dates and decimals of the headers."""
        body = base64.b64encode(self.body).decode()
        return [body, dict(self.headers), dict(self.properties), self.redelivered]

    @classmethod
    def of_arguments(
        cls, body: str, headers: dict[str, Any], properties: dict[str, Any], redelivered: bool
    ) -> Delivery:
        return cls(
            body=base64.b64decode(body),
            headers=headers,
            properties=properties,
            redelivered=redelivered,
        )


@dataclass(frozen=True, kw_only=True)
class JobMessage:
    """One request from the backend's queue."""

    job_id: UUID
    member_id: int
    #: None: the member's likes and playlist songs are to be used ([] means the same here).
    favorite_song_ids: tuple[int, ...] | None
    strategy: Strategy = Strategy.DEFAULT
    top_k: int = COUNT_OF_MEMBERS
    locale: Locale = Locale.KO
    source: str = ""
    #: When the backend queued it, aware; None when it can't be read.
    requested_at: datetime | None = None
    idempotency_key: str = ""
    trace_id: str = ""
    attempt: int = 0
    #: What was left out or changed on reading, for people; "" when nothing was.
    note: str = ""

    def arguments(self) -> dict[str, Any]:
        """What a job row keeps of it (JSON)."""
        return {
            "member_key": str(self.member_id),
            "favorite_ids": None
            if self.favorite_song_ids is None
            else list(self.favorite_song_ids),
            "count": self.top_k,
            "strategy": str(self.strategy),
            "locale": str(self.locale),
        }


def parse(body: bytes) -> JobMessage:
    """Read a message tolerantly: only `jobId` and `memberId` have to be right.

    Raises InvalidMessage and nothing else, whatever the bytes are.
    """
    raw = _json_object(body)
    job_id = _job_id(raw.get("jobId"))
    member_id = _integer(raw.get("memberId"))
    if member_id is None or member_id <= 0:
        raise InvalidMessage("memberId is no positive integer", job_id=str(job_id))
    favorites, note = _favorites(raw.get("favoriteSongIds"))
    top_k = _integer(raw.get("topK"))
    return JobMessage(
        job_id=job_id,
        member_id=member_id,
        favorite_song_ids=favorites,
        strategy=_strategy(raw.get("strategy")),
        top_k=min(MOST_CANDIDATES, max(1, COUNT_OF_MEMBERS if top_k is None else top_k)),
        locale=_locale(raw.get("locale")),
        source=_text(raw.get("source")),
        requested_at=_moment(raw.get("requestedAt")),
        idempotency_key=_text(raw.get("idempotencyKey")),
        trace_id=_text(raw.get("traceId")),
        attempt=min(MAX_ATTEMPT, max(0, _integer(raw.get("attempt")) or 0)),
        note=note,
    )


class _Number(str):
    """A JSON number as it was written: no size, exponent or precision of it is a reason to fail."""


#: Reads numbers as text.
_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise InvalidMessage(f"{len(body)} bytes are more than {MAX_BODY_BYTES}")
    try:
        raw = _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidMessage("not a JSON object")
    if _depth(raw) > MAX_DEPTH:
        raise InvalidMessage(f"nested deeper than {MAX_DEPTH}")
    return raw


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _job_id(value: Any) -> UUID:
    shown = _text(value)
    if isinstance(value, str) and not isinstance(value, _Number):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise InvalidMessage(f"jobId {shown!r} is no UUID", job_id=shown)


def _text(value: Any) -> str:
    """At most 64 characters of a text or number, else ""; half of a surrogate pair, which no database takes, is "?"."""
    return value[:64].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


#: Short enough that arithmetic on it has no limits to hit.
_SHORT_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?")


def _integer(value: Any) -> int | None:
    """7, "7" and 7.0 are 7; anything else, and what has more than 63 bits, is None."""
    text = _text(value).strip()
    if not _SHORT_NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    if number != number.to_integral_value() or abs(number) >= 2**63:
        return None
    return int(number)


def _favorites(value: Any) -> tuple[tuple[int, ...] | None, str]:
    """The ids, newest first, and what was left out of them. Null, absent and [] mean "none given"."""
    if not isinstance(value, list) or not value:
        return None, ""
    numbers = [_integer(item) or 0 for item in value]
    ids = tuple(dict.fromkeys(n for n in numbers if 0 < n <= MAX_SONG_ID))
    notes = []
    if unreadable := sum(not 0 < n <= MAX_SONG_ID for n in numbers):
        notes.append(f"{unreadable} favoriteSongIds are no ids and were ignored")
    if len(ids) > MOST_FAVORITES:
        notes.append(too_many_favorites(len(ids)))
    return ids[:MOST_FAVORITES] or None, "; ".join(notes)


def too_many_favorites(given: int) -> str:
    """What a job says of favourites that were left out."""
    return f"{given} favourites given; the newest {MOST_FAVORITES} were used"


def _strategy(value: Any) -> Strategy:
    try:
        return Strategy(_text(value).strip().lower())
    except ValueError:
        return Strategy.DEFAULT


def _locale(value: Any) -> Locale:
    """`ja`, `ja-JP`, `JA_jp` are Japanese; rubbish is Korean."""
    match = re.match(r"\s*([a-z]{2})(?![a-z])", _text(value).lower())
    try:
        return Locale(match[1]) if match else Locale.KO
    except ValueError:
        return Locale.KO


def _moment(value: Any) -> datetime | None:
    """A decimal number of seconds (also as text) or ISO-8601."""
    text = _text(value).strip()
    try:
        if _SHORT_NUMBER.fullmatch(text):
            return datetime.fromtimestamp(float(text), tz=UTC)
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
        # In UTC, where a moment near the year 1 or 9999 may not exist.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None


# --- Publishing again -----------------------------------------------------------------------------
def with_attempt(body: bytes, attempt: int) -> bytes:
    """The same bytes with another `attempt`: every number, field and blank stays as it was written."""
    text = body.decode("utf-8")
    spans = [(start, end) for key, start, end in _members(text) if key == "attempt"]
    if not spans:
        last = text.rindex("}")
        comma = "" if text[:last].rstrip().endswith("{") else ","
        return f'{text[:last]}{comma}"attempt":{attempt}{text[last:]}'.encode()
    for start, end in reversed(spans):
        text = f"{text[:start]}{attempt}{text[end:]}"
    return text.encode()


_SPACE = re.compile(r"[ \t\n\r\ufeff]*")


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """(key, start, end) of the values of a JSON object's own members, in order."""

    def after_space(at: int) -> int:
        return _SPACE.match(text, at).end()  # type: ignore[union-attr]

    at = after_space(0) + 1
    while text[at := after_space(at)] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = after_space(after_space(at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield key, start, end
        at = after_space(end)
        if text[at] == ",":
            at += 1


#: Headers that the broker adds when it moves a message; sent along they would pile up.
_BROKER_HEADER = re.compile(r"x-death|x-first-death-|x-last-death-")


def headers_to_send(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The message's own headers, `__TypeId__` among them, without what the broker added."""
    return {name: value for name, value in headers.items() if not _BROKER_HEADER.match(name)}


#: Properties that travel with the message; `expiration` does not, nor `user_id`, which names the publisher.
_KEPT_PROPERTIES = (
    "app_id",
    "correlation_id",
    "message_id",
    "priority",
    "reply_to",
    "timestamp",
    "type",
)


def properties_to_send(properties: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: properties[name] for name in _KEPT_PROPERTIES if properties.get(name) is not None}
    if isinstance(kept.get("timestamp"), int):  # py-amqp reads a number and writes a datetime
        kept["timestamp"] = _moment(str(kept["timestamp"]))
        kept = {name: value for name, value in kept.items() if value is not None}
    # Java takes content_encoding for a charset; kombu's own "binary" would be fatal there.
    return kept | {
        "content_type": "application/json",
        "content_encoding": "UTF-8",
        "delivery_mode": 2,
    }


#: MariaDB takes JSON of 32 levels at most.
HEADER_DEPTH = 16
MAX_HEADER_TEXT = 10_000


def plain_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as JSON that every database takes, for people; deeply nested ones are shortened."""
    return {_storable(name): _plain(value, HEADER_DEPTH) for name, value in headers.items()}


def _storable(value: object) -> str:
    return str(value)[:MAX_HEADER_TEXT].encode("utf-8", "replace").decode()


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, bytes):
        return _storable(value.decode("utf-8", "backslashreplace"))
    if not isinstance(value, dict | list):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(
            str(value), _storable(value)
        )
    if depth == 0:
        return "…"
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    return {_storable(name): _plain(item, depth - 1) for name, item in value.items()}
