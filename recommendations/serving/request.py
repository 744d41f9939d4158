"""What a caller asks for and what he gets, as values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from catalog.song_payloads import CandidateSong, WireGroup
from engine.types import Context, Exclude, Locale, Only, Strategy

from ..models import Source, Trigger

#: Candidates of an answer when the caller names no count: `memberId` bodies and the queue, others.
COUNT_OF_MEMBERS = 50
COUNT_OF_CALLERS = 20


@dataclass(frozen=True, kw_only=True)
class NamedSong:
    """A song a caller names by text."""

    title: str
    artist: str = ""
    genre: str = ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One recommendation asked for."""

    member_key: str
    #: None: use what is known of the member; (): he has none.
    favorite_ids: tuple[int, ...] | None = None
    favorite_songs: tuple[NamedSong, ...] = ()
    #: Length of `candidates`, 1–100.
    count: int = COUNT_OF_MEMBERS
    strategy: Strategy = Strategy.DEFAULT
    locale: Locale = Locale.KO
    context: Context = field(default_factory=Context)
    adventure: float | None = None
    diversity: float | None = None
    only: Only = field(default_factory=Only)
    exclude: Exclude = field(default_factory=Exclude)
    allow_known: bool = False
    trigger: str = Trigger.API
    #: Compute anew even where a fresh answer is there.
    refresh: bool = False
    #: False: answer locally whatever the strategy says (the model's version is made later).
    ask_model: bool = True
    #: Asked before the model is: True = answer locally, and want the model's version made later.
    hurried: Callable[[], bool] | None = None
    job_uuid: UUID | None = None
    #: Told how far the work is, 0–100.
    progress: Callable[[int], None] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the answer is the one written to `recommend:{member}`."""
        return self._dials() == _PLAIN

    @property
    def stored_count(self) -> int:
        """Candidates computed and kept: a caller who asks for three leaves a whole list behind."""
        usual = COUNT_OF_MEMBERS if self.member_key.isdecimal() else COUNT_OF_CALLERS
        return max(self.count, usual)

    @property
    def variant(self) -> str:
        """Names everything that makes this answer another one than the plain one."""
        return hashlib.blake2b(
            orjson.dumps(self._dials(), option=_SORTED), digest_size=10
        ).hexdigest()

    def _dials(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "locale": self.locale,
            "context": [self.context.time_of_day, self.context.mood, self.context.activity],
            "adventure": self.adventure,
            "diversity": self.diversity,
            "only": _sorted_sets(self.only),
            "exclude": _sorted_sets(self.exclude),
            "allow_known": self.allow_known,
        }


_SORTED = orjson.OPT_SORT_KEYS


def _sorted_sets(filters: Only | Exclude) -> dict[str, list[Any]]:
    return {name: sorted(values) for name, values in vars(filters).items() if values}


_PLAIN = Request(member_key="")._dials()


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """Something in the request that is not in the catalog, and what came near."""

    song_id: int | None = None
    title: str = ""
    artist: str = ""
    did_you_mean: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        if self.song_id is not None:
            return {"song_id": self.song_id}
        return {"title": self.title, "artist": self.artist, "did_you_mean": list(self.did_you_mean)}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One recommendation given."""

    run_id: str
    source: Source
    #: Why it is less than it could be; "" when it is not.
    degraded: str
    favorite_song_ids: list[int]
    groups: list[WireGroup]
    candidates: list[CandidateSong]
    generated_date: str
    unresolved: list[dict[str, Any]]
    locale: Locale = Locale.KO
    #: Made in a hurry: the edge should queue the model's version.
    wants_refresh: bool = False

    @property
    def message(self) -> str:
        """One sentence for people."""
        if not self.candidates:
            return _NOTHING_LEFT[self.locale]
        return _MESSAGES[self.locale].format(n=len(self.candidates))

    def to_wire(self) -> dict[str, Any]:
        """The body of `POST /recommend`: contract §1 and our own fields behind."""
        return {
            "status": "completed",
            "message": self.message,
            "generated_date": self.generated_date,
            "groups": self.groups,
            "candidates": self.candidates,
            "favorite_song_ids": self.favorite_song_ids,
            "run_id": self.run_id,
            "source": self.source,
            "degraded": self.degraded or None,
            "unresolved": self.unresolved,
        }


_MESSAGES = {
    Locale.KO: "추천 {n}곡을 준비했어요.",
    Locale.JA: "おすすめ{n}曲を用意しました。",
    Locale.EN: "{n} songs picked for you.",
}
#: Everything is liked already, filtered away, or the catalog is empty.
_NOTHING_LEFT = {
    Locale.KO: "지금은 새로 추천할 곡이 없어요.",
    Locale.JA: "今おすすめできる新しい曲はありません。",
    Locale.EN: "There is no new song to recommend just now.",
}
