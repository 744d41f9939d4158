"""The values of a recommendation: what a caller asks for, and the answer."""

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
class Unresolved:
    """Something in the request that is not in the catalog or was not understood."""

    #: An id without a song; as text where it is beyond 32 bits, which the backend could not read.
    song_id: int | str | None = None
    #: A song named by text, and titles that came near.
    title: str = ""
    artist: str = ""
    did_you_mean: tuple[str, ...] = ()
    #: A field of the request and the value that means nothing there.
    field: str = ""
    value: str = ""

    def to_wire(self) -> dict[str, Any]:
        if self.song_id is not None:
            return {"song_id": self.song_id}
        if self.field:
            return {"field": self.field, "value": self.value}
        return {"title": self.title, "artist": self.artist, "did_you_mean": list(self.did_you_mean)}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A recommendation to be made."""

    member_key: str
    #: None: use what is known of the member; (): the member has none.
    favorite_ids: tuple[int, ...] | None = None
    favorite_songs: tuple[NamedSong, ...] = ()
    #: Length of `candidates`, 1–100.
    count: int = COUNT_OF_MEMBERS
    strategy: Strategy = Strategy.DEFAULT
    locale: Locale = Locale.KO
    context: Context = field(default_factory=Context)
    #: A mood in the caller's words; becomes `context.mood` when the request is computed.
    mood_word: str = ""
    adventure: float | None = None
    diversity: float | None = None
    only: Only = field(default_factory=Only)
    exclude: Exclude = field(default_factory=Exclude)
    allow_known: bool = False
    trigger: str = Trigger.API
    #: Names and values of the request that could not be understood when it was parsed.
    unresolved: tuple[Unresolved, ...] = ()
    #: Compute a new answer even where a fresh one is stored.
    refresh: bool = False
    #: False: answer locally whatever the strategy says (a job asks the model later).
    ask_model: bool = True
    #: Asked before the model is: True = answer locally, and want the model's version made later.
    hurried: Callable[[], bool] | None = None
    job_uuid: UUID | None = None
    #: Called with the progress of the work, 0–100.
    progress: Callable[[int], None] | None = None

    @property
    def is_member_answer(self) -> bool:
        """Whether the answer is the one written to `recommend:{member}`.

        A job, a schedule and a change of favourites write it in any language and by any strategy
        (contract §3.3); a call over HTTP only without dials, which otherwise get a variant.
        """
        if self.trigger == Trigger.API:
            return self._dials() == _PLAIN
        usual = {"strategy": Strategy.DEFAULT, "locale": Locale.KO}
        return self._dials() | usual == _PLAIN

    @property
    def stored_count(self) -> int:
        """Candidates computed and stored: the full list, also for a caller who asks for three."""
        usual = COUNT_OF_MEMBERS if self.member_key.isdecimal() else COUNT_OF_CALLERS
        return max(self.count, usual)

    @property
    def variant(self) -> str:
        """A digest of everything that makes this answer differ from the plain one."""
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
class Recommendation:
    """The recommendation as every edge sends it."""

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
    #: Computed without waiting for the model: the edge should queue a refresh.
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
#: Everything is liked already or filtered out, or the catalog is empty.
_NOTHING_LEFT = {
    Locale.KO: "지금은 새로 추천할 곡이 없어요.",
    Locale.JA: "今おすすめできる新しい曲はありません。",
    Locale.EN: "There is no new song to recommend just now.",
}
