"""Names the values that go into the engine and come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from engine.ranking.notes import StepTrace


class Strategy(StrEnum):
    """How much effort a request may cost."""

    FAST = "fast"  #: Local engine only; no model is asked.
    DEFAULT = "default"
    DEEP = "deep"  #: A longer shortlist and a longer deadline for the model.


class Locale(StrEnum):
    """The language of labels, taglines and reasons."""

    KO = "ko"
    JA = "ja"
    EN = "en"


class TimeOfDay(StrEnum):
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    NIGHT = "night"


class Activity(StrEnum):
    WORKOUT = "workout"
    STUDY = "study"
    REST = "rest"
    PARTY = "party"
    COMMUTE = "commute"
    SLEEP = "sleep"


class SignalType(StrEnum):
    """What a member did with a song; the weight of each is data (`engine.settings.SignalWeights`)."""

    LIKE = "like"
    UNLIKE = "unlike"
    PLAYLIST = "playlist"
    PLAY = "play"
    COMPLETE = "complete"
    REPLAY = "replay"
    SKIP = "skip"
    RATING = "rating"
    DISLIKE = "dislike"
    SANG = "sang"


class GroupKind(StrEnum):
    """Where a group comes from; taglines and labels are keyed by it."""

    TASTE = "taste"
    GENRE = "genre"
    MOOD = "mood"
    ARTIST = "artist"
    ANIME = "anime"
    HIDDEN_GEMS = "hidden_gems"
    CROSSOVER = "crossover"
    ARTIST_EXPANSION = "artist_expansion"
    SITUATION = "situation"
    POPULAR = "popular"
    FRESH = "fresh"


class CandidateKind(StrEnum):
    """How a song came onto the list; the values are those of the wire."""

    PREFERENCE = "preference"
    RANDOM = "random"  #: labelled exploration


class PreferenceSource(StrEnum):
    """Who stated a preference."""

    STAFF = "staff"
    MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class SongView:
    """One song as it is shown. Absent text is "", an absent karaoke number None (never 0)."""

    song_id: int
    title_jp: str = ""
    title_kr: str = ""
    title_en: str = ""
    title_yomi: str = ""
    title_yomi_kr: str = ""
    title_en_kr: str = ""
    artist: str = ""
    artist_kr: str = ""
    tj_number: int | None = None
    ky_number: int | None = None
    genre: str = ""  #: As the database holds it, for display.
    mood: str = ""
    anime: str = ""
    anime_type: str = ""
    lang: str = ""
    #: Timezone-aware; None when the row has no date.
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One thing a member did with one song."""

    song_id: int
    type: SignalType
    #: Rating 1–5, played share 0–1, place in a playlist (0 = first); 1.0 for the other types.
    value: float = 1.0
    #: Timezone-aware; None when unknown (counts as old as the oldest known one).
    at: datetime | None = None
    #: How often, where a caller sends a count instead of every event.
    times: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ImpressionCount:
    """How often a song was served to the member and not taken up."""

    song_id: int
    times: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A preference for (or against) one genre, mood or artist, and who stated it."""

    kind: str  #: "genre", "mood" or "artist"
    name: str  #: normalised (`engine.catalog.text.fold`)
    #: +1 pinned by staff, 0..1 read by the model, -1 barred (no song of it is shown).
    weight: float
    source: str  #: a `PreferenceSource`


@dataclass(frozen=True, kw_only=True)
class Context:
    """The situation a list is for."""

    time_of_day: TimeOfDay | None = None
    mood: str = ""  #: normalised mood word
    activity: Activity | None = None


@dataclass(frozen=True, kw_only=True)
class Only:
    """Hard filters a caller asks for. Empty means no filter."""

    song_ids: frozenset[int] = frozenset()
    artists: frozenset[str] = frozenset()
    genres: frozenset[str] = frozenset()
    moods: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    #: Subset of {"tj", "ky"}: only songs that have such a number.
    karaoke: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Exclude:
    """What must not appear. Blocks of the member and barred preferences are merged into this."""

    song_ids: frozenset[int] = frozenset()
    artists: frozenset[str] = frozenset()
    genres: frozenset[str] = frozenset()
    moods: frozenset[str] = frozenset()
    anime: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Query:
    """The member, what is known of them, and what the list is for."""

    member_key: str
    #: Distinct, newest first. Never recommended unless `allow_known`.
    favorite_ids: tuple[int, ...] = ()
    #: Likes with dates, playlist places, plays, skips, ratings …; favourites need not be repeated here.
    signals: tuple[Signal, ...] = ()
    impressions: tuple[ImpressionCount, ...] = ()
    preferences: tuple[Preference, ...] = ()
    context: Context = field(default_factory=Context)
    only: Only = field(default_factory=Only)
    exclude: Exclude = field(default_factory=Exclude)
    count: int = 20
    strategy: Strategy = Strategy.DEFAULT
    locale: Locale = Locale.KO
    #: 0 familiar … 1 discover; None = the recipe's own setting.
    adventure: float | None = None
    diversity: float | None = None
    #: Songs the member knows may be recommended again (the `repeat` scorer).
    allow_known: bool = False
    #: Timezone-aware.
    now: datetime
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A liked song and its exact share of a candidate's score."""

    song_id: int
    share: float  #: 0..1 of the whole positive score


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recommended song with the grounds for it."""

    song: SongView
    #: 0..1, comparable within one slate; 1.0 is the strongest match of the slate.
    match_score: float
    recommendation_type: CandidateKind
    #: Short facts the evidence holds, in the query's locale: "같은 가수", "장르: 록" …
    matched_criteria: tuple[str, ...]
    #: One sentence in the query's locale.
    reason: str
    evidence: tuple[Evidence, ...] = ()
    #: Blended parts, comparable by design: {"ease": 1.9, "content": 0.4 …}
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Group:
    """2–6 songs under one label."""

    kind: GroupKind
    label: str
    #: A reviewed line (≤ 20 characters, never empty); the model's may replace it.
    tagline: str
    #: Indices into `Slate.shortlist`.
    members: tuple[int, ...]
    #: Normalised name the group is about (a genre, a mood, an artist …), "" where there is none.
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class Slate:
    """What the engine answers: a scored shortlist, the groups of its songs, and how it came about."""

    #: Best first; `count` of them are the quick picks, the rest feeds groups and curation.
    shortlist: tuple[Candidate, ...]
    groups: tuple[Group, ...]
    trace: tuple[StepTrace, ...]
    #: Favourites that are in the catalog, and those that are not.
    known_favorites: tuple[int, ...] = ()
    unknown_favorites: tuple[int, ...] = ()
    #: The member's own mix, for display, prompts and the taste profile: {"genre": [(name, share)…], "mood": …, "artist": …}
    taste: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    #: Everything `why` needs later, JSON-able: excluded ids by rule, rank by step (bounded in size).
    why: dict[str, Any] = field(default_factory=dict)
    #: Versions that made it: {"catalog": "…", "model": "…", "weights": "…"}
    versions: dict[str, str] = field(default_factory=dict)
