"""Holds the numbers staff may set; every table is checked against its bounds when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from engine.catalog.text import term_key
from engine.types import Activity, SignalType, TimeOfDay
from engine.weights import BlendWeights, InvalidWeights

T = TypeVar("T")


class InvalidSettings(ValueError):
    """A table of settings that cannot be used; the text names the entry and what it may be."""


def _bounded(default: float, least: float, most: float) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


def _check_numbers(table: Any) -> None:
    """Raise InvalidSettings unless every number of a settings dataclass is within its bounds."""
    for entry in fields(table):
        bounds = entry.metadata
        value = getattr(table, entry.name)
        if "least" not in bounds:
            continue
        whole = isinstance(entry.default, int)
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or not bounds["least"] <= value <= bounds["most"]:
            kind = "whole number" if whole else "number"
            raise InvalidSettings(
                f"{entry.name}: {value!r} is not a {kind} from {bounds['least']} to {bounds['most']}"
            )


def _from_table(cls: type[T], table: Any) -> T:
    """Build a settings dataclass; absent entries keep their default, unknown ones are refused."""
    if not isinstance(table, Mapping):
        raise InvalidSettings(f"{cls.__name__}: expected a table, got {type(table).__name__}")
    known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - known):
        raise InvalidSettings(f"unknown entry {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return cls(**table)


@dataclass(frozen=True, kw_only=True)
class SignalWeights:
    """Weight of each type of signal in a member's taste: 1.0 = as much as a like, below 0 = against."""

    like: float = _bounded(1.0, -5, 5)
    unlike: float = _bounded(-0.4, -5, 5)
    playlist: float = _bounded(0.7, -5, 5)
    play: float = _bounded(0.15, -5, 5)
    complete: float = _bounded(0.4, -5, 5)
    replay: float = _bounded(0.5, -5, 5)
    skip: float = _bounded(-0.25, -5, 5)
    rating: float = _bounded(
        1.0, -5, 5
    )  #: For 5 stars; 3 stars weigh a third, 2 nothing, 1 star the opposite.
    dislike: float = _bounded(-1.5, -5, 5)
    sang: float = _bounded(0.8, -5, 5)
    #: Signals fade to a half in this time, never below `floor`.
    half_life_days: float = _bounded(365.0, 1, 36_500)
    floor: float = _bounded(0.2, 0, 1)
    #: Time an unliked song is not recommended.
    unlike_rest_days: float = _bounded(30.0, 0, 3650)
    #: Maximum weight of many signals of one type about one song, in multiples of one signal.
    most_repeats: float = _bounded(16.0, 1, 100)

    def __post_init__(self) -> None:
        _check_numbers(self)

    def of(self, kind: SignalType) -> float:
        return float(getattr(self, kind.value))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: Any) -> SignalWeights:
        return _from_table(cls, table)


@dataclass(frozen=True, kw_only=True)
class ShapingSettings:
    """How a scored list becomes the answer: variety, caps, exploration, groups."""

    #: Best songs that variety and groups choose from.
    pool: int = _bounded(240, 40, 2000)
    #: Minimum songs kept for groups and curation, whatever the requested count.
    shortlist: int = _bounded(60, 10, 300)
    #: Songs of one artist (anime) per 20. A loyal fan gets more, see `loyalty`.
    artist_cap: int = _bounded(3, 1, 20)
    anime_cap: int = _bounded(4, 1, 20)
    #: Factor on an artist's share of the likes that gives their maximum share of the list; 0 = the cap always holds.
    loyalty: float = _bounded(0.75, 0, 1)
    #: 0 = by score alone, 1 = as varied as possible. .5 is λ = .85 of maximal marginal relevance.
    diversity: float = _bounded(0.5, 0, 1)
    #: How strongly the list follows the member's own mix of genres and moods.
    calibration: float = _bounded(0.05, 0, 5)
    #: Share of the list that is labelled exploration: 2 of 20.
    exploration: float = _bounded(0.1, 0, 0.5)
    #: Penalty, in standard deviations, of a song that was just shown once and ignored.
    rotation: float = _bounded(0.5, 0, 5)
    #: … and its half-life.
    rotation_half_life_days: float = _bounded(4.0, 0.1, 365)
    #: Score added to new artists, and taken from known ones, at adventure 1.
    adventure: float = _bounded(1.0, 0, 5)
    #: Score added for a genre, mood or artist pinned by staff, or derived by the model with weight 1.
    staff_pin: float = _bounded(1.5, 0, 10)
    model_lean: float = _bounded(0.5, 0, 10)
    groups: int = _bounded(6, 1, 10)
    songs_per_group: int = _bounded(6, 2, 20)
    #: A hidden gem has fewer members who like it than this share of all liked songs.
    gem_popularity: float = _bounded(0.5, 0, 1)

    def __post_init__(self) -> None:
        _check_numbers(self)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: Any) -> ShapingSettings:
        return _from_table(cls, table)


def _situations() -> dict[str, dict[str, float]]:
    """Default multipliers; the words are those of the catalog's genre and mood columns."""
    calm = {"잔잔": 1.6, "감성적": 1.4, "서정적": 1.4, "발라드": 1.3}
    lively = {"신나는": 1.6, "에너지": 1.6, "강렬": 1.3, "댄스팝": 1.3}
    return {
        "morning": {"신나는": 1.2, "에너지": 1.2, "서정적": 1.15},
        "afternoon": {"에너지": 1.15, "신나는": 1.15},
        "evening": {"감성적": 1.2, "에너지": 1.1},
        "night": {"감성적": 1.35, "잔잔": 1.35, "서정적": 1.3, "강렬": 0.85},
        "workout": {**lively, "록": 1.3, "잔잔": 0.6, "발라드": 0.6},
        "study": {**calm, "강렬": 0.6, "신나는": 0.75},
        "rest": {**calm, "강렬": 0.65},
        "party": {**lively, "록": 1.2, "잔잔": 0.6, "서정적": 0.7},
        "commute": {"신나는": 1.25, "에너지": 1.25, "서정적": 1.1},
        "sleep": {**calm, "강렬": 0.4, "에너지": 0.5, "신나는": 0.5, "댄스팝": 0.5},
    }


def _occasions() -> dict[str, dict[str, float]]:
    """Default multipliers of occasions ("비 오는 날"); staff may add others."""
    loud = {"에너지": 0.6, "신나는": 0.6, "강렬": 0.7, "밝은": 0.7, "댄스팝": 0.7}
    return {
        "비 오는 날": {**loud, "감성적": 1.5, "잔잔": 1.5, "서정적": 1.4, "애절한": 1.3},
        "우울한 날": {**loud, "애절한": 1.5, "감성적": 1.4, "따뜻한": 1.3, "잔잔": 1.3},
        "기분 좋은 날": {"신나는": 1.5, "밝은": 1.5, "청량한": 1.3, "희망찬": 1.3, "애절한": 0.6},
        "화나는 날": {"강렬": 1.7, "에너지": 1.3, "메탈": 1.4, "록": 1.2, "잔잔": 0.6},
        "사랑에 빠진 날": {"설렘": 1.8, "따뜻한": 1.3, "밝은": 1.2, "어두운": 0.6},
        "이별한 날": {**loud, "애절한": 1.7, "감성적": 1.3, "발라드": 1.3, "설렘": 0.7},
        "위로가 필요한 날": {"따뜻한": 1.6, "희망찬": 1.5, "잔잔": 1.2, "강렬": 0.7},
    }


Multipliers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class SituationTable:
    """How much a genre or mood word suits a situation: 1 = neutral, 2 = twice as fitting."""

    #: {time of day or activity: {genre or mood, or one word of it: multiplier}}
    multipliers: Multipliers = field(default_factory=_situations)
    #: The same for occasions ("비 오는 날"), by name.
    occasions: Multipliers = field(default_factory=_occasions)
    #: Multiplier of songs of the requested mood.
    asked_mood: float = _bounded(5.0, 1, 10)
    #: Exponent of every multiplier: 0 = situations have no effect.
    strength: float = _bounded(3.0, 0, 5)
    #: Shrinkage prior: with so many events, staff's number and the observed one count half each.
    prior_events: int = _bounded(300, 0, 1_000_000)

    def __post_init__(self) -> None:
        _check_numbers(self)
        situations = {*TimeOfDay, *Activity}
        for table in (self.multipliers, self.occasions):
            _check_multipliers(table)
        if unknown := sorted(set(self.multipliers) - situations):
            raise InvalidSettings(f"no situation {unknown[0]!r}; known: {sorted(situations)}")

    def of(self, situation: str) -> dict[str, float]:
        """{key of the word: multiplier} of a time of day, activity or occasion; empty without an entry."""
        words = self.multipliers.get(situation) or self._occasions_by_key.get(
            term_key(situation), {}
        )
        return {term_key(word): value for word, value in words.items()}

    @cached_property
    def _occasions_by_key(self) -> dict[str, Mapping[str, float]]:
        return {term_key(name): words for name, words in self.occasions.items()}

    def occasion(self, name: str) -> str:
        """The name of the occasion as staff wrote it, whatever its spelling; "" when there is none."""
        key = term_key(name)
        return next((known for known in self.occasions if term_key(known) == key), "")

    def to_json(self) -> dict[str, Any]:
        tables = {"multipliers": self.multipliers, "occasions": self.occasions}
        return {
            **{name: {s: dict(words) for s, words in t.items()} for name, t in tables.items()},
            "asked_mood": self.asked_mood,
            "strength": self.strength,
            "prior_events": self.prior_events,
        }

    @classmethod
    def from_json(cls, table: Any) -> SituationTable:
        return _from_table(cls, table)


def _check_multipliers(table: Any) -> None:
    if not isinstance(table, Mapping):
        raise InvalidSettings("multipliers: expected a table of situations")
    for situation, words in table.items():
        if not isinstance(words, Mapping):
            raise InvalidSettings(f"{situation}: expected a table of word and multiplier")
        for word, multiplier in words.items():
            is_number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
            if not is_number or not 0.1 <= multiplier <= 10:
                raise InvalidSettings(
                    f"{situation}.{word}: {multiplier!r} is not a number from 0.1 to 10"
                )


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Every number a recommendation depends on besides the catalog and the model."""

    signals: SignalWeights = field(default_factory=SignalWeights)
    blend: BlendWeights = field(default_factory=BlendWeights)
    shaping: ShapingSettings = field(default_factory=ShapingSettings)
    situations: SituationTable = field(default_factory=SituationTable)
    #: Names the stored row they come from.
    version: str = "default"

    def to_json(self) -> dict[str, Any]:
        """The four tables, as staff edit them; the version is the row's own number."""
        return {name: getattr(self, name).to_json() for name in _READERS}

    @classmethod
    def from_json(cls, table: Any, *, version: str = "default") -> EngineSettings:
        """Absent tables and entries keep their defaults.

        Raises InvalidSettings, naming the entry, for anything unknown or out of bounds.
        """
        if not isinstance(table, Mapping):
            raise InvalidSettings(f"expected a table, got {type(table).__name__}")
        if unknown := sorted(set(table) - set(_READERS)):
            raise InvalidSettings(f"unknown table {unknown[0]!r}; known are {', '.join(_READERS)}")
        tables: dict[str, Any] = {name: _read(name, table[name]) for name in table}
        return cls(**tables, version=version)


_READERS: dict[str, Callable[[Any], Any]] = {
    "signals": SignalWeights.from_json,
    "blend": BlendWeights.from_json,
    "shaping": ShapingSettings.from_json,
    "situations": SituationTable.from_json,
}


def _read(name: str, table: Any) -> Any:
    try:
        return _READERS[name](table)
    except (InvalidSettings, InvalidWeights) as error:
        raise InvalidSettings(f"{name}.{error}") from error
