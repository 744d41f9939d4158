"""Messages of the backend's queue (contract §3): reads them, and prepares their next delivery."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from catalog.queries import MOST_FAVORITES
from engine.types import Locale, Strategy

from ..serving.request import COUNT_OF_MEMBERS

MOST_CANDIDATES = 100


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
    """Read a message tolerantly: only `jobId` and `memberId` have to be right. Raises InvalidMessage."""
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
        attempt=max(0, _integer(raw.get("attempt")) or 0),
        note=note,
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(body.decode("utf-8-sig"), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidMessage("not a JSON object")
    return raw


def _job_id(value: Any) -> UUID:
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError) as error:
        shown = _text(value)
        raise InvalidMessage(f"jobId {shown!r} is no UUID", job_id=shown) from error


def _text(value: Any) -> str:
    """At most 64 characters; half of a surrogate pair, which no database takes, becomes "?"."""
    return "" if value is None else str(value)[:64].encode("utf-8", "replace").decode()


def _integer(value: Any) -> int | None:
    """7, "7" and 7.0 are 7; anything else is None."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or number != number.to_integral_value() or abs(number) >= 2**63:
        return None
    return int(number)


def _favorites(value: Any) -> tuple[tuple[int, ...] | None, str]:
    """The ids, newest first, and what was left out of them. Null, absent and [] mean "none given"."""
    if not isinstance(value, list) or not value:
        return None, ""
    numbers = [_integer(item) for item in value]
    ids = tuple(dict.fromkeys(n for n in numbers if n is not None and n > 0))
    notes = []
    if unreadable := sum(n is None or n <= 0 for n in numbers):
        notes.append(f"{unreadable} favoriteSongIds are no ids and were ignored")
    if len(ids) > MOST_FAVORITES:
        notes.append(too_many_favorites(len(ids)))
    return ids[:MOST_FAVORITES] or None, "; ".join(notes)


def too_many_favorites(given: int) -> str:
    """What a job says of favourites that were left out."""
    return f"{given} favourites given; the newest {MOST_FAVORITES} were used"


def _strategy(value: Any) -> Strategy:
    try:
        return Strategy(str(value).strip().lower())
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
    if value is None or isinstance(value, bool):
        return None
    text = str(value).strip()
    try:
        return datetime.fromtimestamp(float(Decimal(text)), tz=UTC)
    except (InvalidOperation, ValueError, OverflowError, OSError):
        pass
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
    decoder = json.JSONDecoder()

    def after_space(at: int) -> int:
        return _SPACE.match(text, at).end()  # type: ignore[union-attr]

    at = after_space(0) + 1
    while text[at := after_space(at)] != "}":
        key, at = decoder.raw_decode(text, at)
        start = after_space(after_space(at) + 1)
        _, end = decoder.raw_decode(text, start)
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
    # Java takes content_encoding for a charset; kombu's own "binary" would be fatal there.
    return kept | {
        "content_type": "application/json",
        "content_encoding": "UTF-8",
        "delivery_mode": 2,
    }


def plain_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as plain JSON, for people."""
    written = json.dumps(dict(headers), default=str)
    plain: dict[str, Any] = json.loads(written, parse_constant=str)  # no database keeps NaN as JSON
    return plain
