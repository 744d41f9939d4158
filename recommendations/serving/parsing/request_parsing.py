"""Builds a request from the values of a posted body, whether a serializer checked it or an old row holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.types import Exclude, Locale, Only, Strategy

from ..request import COUNT_OF_CALLERS, COUNT_OF_MEMBERS, NamedSong, Request, Unresolved
from .context_words import parse_context

LONGEST_MEMBER_KEY = 64
#: Song ids are sent as 32-bit integers (contract §1): no song can have a larger one.
LARGEST_SONG_ID = 2**31 - 1
_WHOLE = re.compile(r"\s*-?[0-9]{1,19}\s*")


# --- Single values --------------------------------------------------------------------------------
def parse_member_key(value: Any) -> str:
    """The key a member is stored under. Digits name a row of `member`, however they are written.

    Raises ValueError, with a message for the caller, for what is no id.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("Must be text of 1 to 64 characters.")
    key = value.strip()
    if not 1 <= len(key) <= LONGEST_MEMBER_KEY or not key.isprintable():
        raise ValueError("Must be text of 1 to 64 printable characters.")
    return str(int(key)) if key.isascii() and key.isdigit() else key


def parse_song_id(value: Any) -> int:
    """An id that is a number or the text of one. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(value)


@dataclass(frozen=True, kw_only=True)
class SongIds:
    """Ids as a caller sent them: those that can be songs, and those that can't."""

    ids: tuple[int, ...]
    impossible: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Iterable[int]) -> SongIds:
        distinct = dict.fromkeys(values)
        possible = tuple(number for number in distinct if 0 < number <= LARGEST_SONG_ID)
        return cls(
            ids=possible,
            impossible=tuple(number for number in distinct if not 0 < number <= LARGEST_SONG_ID),
        )

    def joined(self, others: SongIds) -> SongIds:
        return SongIds.of((*self.ids, *self.impossible, *others.ids, *others.impossible))

    def unresolved(self) -> tuple[Unresolved, ...]:
        # Beyond 32 bits as text: the backend's reader would fail on the number.
        return tuple(
            Unresolved(song_id=number if abs(number) <= LARGEST_SONG_ID else str(number))
            for number in self.impossible
        )


def named_song(values: Mapping[str, Any]) -> NamedSong:
    return NamedSong(
        title=values["title"],
        artist=values.get("artist") or "",
        genre=values.get("genre") or "",
    )


# --- The whole body -------------------------------------------------------------------------------
def request_from_values(values: Mapping[str, Any]) -> Request:
    """values: the fields of `RecommendInput`, checked and converted; what is absent has its default."""
    ids: SongIds | None = values.get("favorite_song_ids")
    parsed = parse_context(values.get("context") or {})
    usual = COUNT_OF_MEMBERS if values.get("memberId") is not None else COUNT_OF_CALLERS
    return Request(
        member_key=values["member_key"],
        favorite_ids=None if ids is None else ids.ids,
        favorite_songs=tuple(named_song(song) for song in values.get("favorite_songs") or ()),
        count=values.get("count") or usual,
        strategy=Strategy(values.get("strategy") or Strategy.DEFAULT),
        locale=Locale(values.get("locale") or Locale.KO),
        context=parsed.context,
        mood_word=parsed.mood_word,
        adventure=values.get("adventure"),
        diversity=values.get("diversity"),
        only=Only(**_sets(values.get("only"))),
        exclude=Exclude(**_sets(values.get("exclude"))),
        allow_known=values.get("allow_known", False),
        unresolved=(*(ids.unresolved() if ids else ()), *parsed.unresolved),
    )


def _sets(values: Mapping[str, Any] | None) -> dict[str, frozenset[Any]]:
    given = {name: value for name, value in (values or {}).items() if value}
    return {
        name: frozenset(value.ids if isinstance(value, SongIds) else value)
        for name, value in given.items()
    }


def request_from_body(body: Mapping[str, Any]) -> Request:
    """Read a posted body as a job's row of version 0.2 holds it; it was checked when it was posted."""
    members = [body[name] for name in ("memberId", "user_id") if body.get(name) is not None]
    songs = [song for song in body.get("favorite_songs") or () if song is not None]
    locale = body.get("locale") or ""
    if locale[2:3] in {"-", "_"}:
        locale = locale[:2]
    values = {
        "member_key": parse_member_key(members[0]),
        "memberId": body.get("memberId"),
        "favorite_song_ids": _song_ids(body.get("favorite_song_ids")),
        "favorite_songs": [{name: _text(text) for name, text in song.items()} for song in songs],
        "count": int(float(body.get("count") or 0)),
        "strategy": (body.get("strategy") or "").strip().lower(),
        "locale": locale.strip().lower(),
        "context": body.get("context"),
        "adventure": _number(body.get("adventure")),
        "diversity": _number(body.get("diversity")),
        "only": _filters(body.get("only"), Only),
        "exclude": _filters(body.get("exclude"), Exclude),
        "allow_known": str(body.get("allow_known")).strip().lower() in _YES,
    }
    return request_from_values(values)


_YES = {"true", "1", "1.0", "yes", "y", "t", "on"}


def _song_ids(values: Iterable[Any] | None) -> SongIds | None:
    if values is None:
        return None
    return SongIds.of(parse_song_id(value) for value in values if value is not None)


def _text(value: Any) -> str:
    return "" if value is None else str(value).replace("\x00", "").strip()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _filters(raw: Mapping[str, Any] | None, kind: type[Only | Exclude]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for name in kind.__dataclass_fields__:
        values = (raw or {}).get(name)
        if name == "song_ids":
            filters[name] = _song_ids(values)
        elif values is not None:
            names = [values] if isinstance(values, str) else values
            filters[name] = [str(one).strip() for one in names]
    return filters
