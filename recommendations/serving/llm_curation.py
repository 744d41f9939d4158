"""Asks the language model about a slate that already stands: which songs first, which taglines above the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np

from engine.ranking.fusion import fuse
from engine.types import Group, Locale, Slate, SongView
from prompts import services as prompts
from prompts.errors import ModelUnavailable, PromptError

TASTE, CURATION = "taste_and_taglines", "curation"
#: Songs asked for: about two screens. The rest keeps the engine's order.
PICKS = 20
#: Most genres, moods and artists named in a prompt.
MOST_NAMES = 8


@dataclass(frozen=True, kw_only=True)
class TasteReading:
    """The model's reading of a member's favourites."""

    text: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    artists: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Curated:
    """The model's part of an answer. Each field is empty where the model was not asked, or failed."""

    picks: tuple[int, ...] = ()  #: indices into the shortlist, best first
    shown: tuple[int, ...] = ()  #: indices in the order shown
    taglines: dict[str, str] = field(default_factory=dict)
    taste: TasteReading | None = None
    degraded: str = ""
    prompt_versions: dict[str, str] = field(default_factory=dict)
    repairs: dict[str, Any] = field(default_factory=dict)
    #: The variables of each prompt without the song lines (their ids are in `shown`).
    prompt_variables: dict[str, Any] = field(default_factory=dict)
    #: 0 = the engine's order, 1 = the model's; a parameter of the prompt version.
    model_weight: float = 0.5

    @property
    def by_model(self) -> bool:
        return bool(self.picks)


def ask_model(
    slate: Slate,
    *,
    member_key: str,
    run_id: str,
    locale: Locale,
    taste_text: str,
    situation: str,
    deadline_s: float,
    seed: int,
    trigger: str,
) -> Curated:
    """Make two calls in parallel, both within `deadline_s`. Never raises when the model fails."""
    try:
        version = prompts.resolve(CURATION, member_key)
    except PromptError as error:
        return Curated(degraded=error.code.lower())
    shown = shown_order(slate, int(version.params["candidates"]), seed)
    common: dict[str, Any] = {
        "run_uuid": UUID(run_id),
        "member_key": member_key,
        "locale": locale.value,
        "trigger": trigger,
        "seed": seed,
    }
    curation = curation_variables(
        taste_text=taste_text, situation=situation, count=min(PICKS, len(shown))
    )
    taste = taste_variables(slate)
    answers = prompts.ask_many(
        [
            prompts.Ask(
                slug=CURATION,
                variables=curation | {"candidates": song_lines(slate, shown)},
                **common,
            ),
            prompts.Ask(slug=TASTE, variables=taste, **common),
        ],
        deadline_s,
    )
    empty = Curated(
        shown=shown,
        prompt_variables={CURATION: curation, TASTE: taste},
        model_weight=float(version.params["model_weight"]),
    )
    return _with_taste(_with_picks(empty, answers[0]), answers[1], slate.groups)


def shown_order(slate: Slate, lines: int, seed: int) -> tuple[int, ...]:
    """A seeded shuffle: models favour what stands first, so the order must carry no information."""
    order = np.random.default_rng(seed).permutation(min(lines, len(slate.shortlist)))
    return tuple(int(index) for index in order)


def curation_variables(*, taste_text: str, situation: str, count: int) -> dict[str, Any]:
    return {"taste": taste_text, "situation": situation, "count": count}


def song_lines(slate: Slate, shown: Sequence[int]) -> list[tuple[str, str, str, str]]:
    return [song_fields(slate.shortlist[index].song) for index in shown]


def song_fields(song: SongView) -> tuple[str, str, str, str]:
    """Title, artist, genre, mood as the catalog has them; prompts/ cleans and numbers them."""
    title = song.title_kr or song.title_jp or song.title_en
    return title, song.artist_kr or song.artist, song.genre, song.mood


def taste_variables(slate: Slate) -> dict[str, Any]:
    """The member's mix in per cent and the labels of the groups; no song title."""
    return {
        "favorites_count": len(slate.known_favorites),
        "genres": _percentages(slate, "genre"),
        "moods": _percentages(slate, "mood"),
        "artists": _percentages(slate, "artist"),
        "labels": [group.label for group in slate.groups],
    }


def _percentages(slate: Slate, kind: str) -> list[tuple[str, int]]:
    return [(name, round(100 * share)) for name, share in slate.taste.get(kind, [])[:MOST_NAMES]]


def taste_sentence(slate: Slate) -> str:
    """The counted mix as a line, where no model has read the taste: `장르 록 40%, 팝 20% · 분위기 …`."""
    titles = {"genre": "장르", "mood": "분위기", "artist": "가수"}
    parts = []
    for kind, title in titles.items():
        named = ", ".join(f"{name} {share}%" for name, share in _percentages(slate, kind)[:3])
        if named:
            parts.append(f"{title} {named}")
    return " · ".join(parts)


def _with_picks(curated: Curated, answer: prompts.Answer | ModelUnavailable) -> Curated:
    if isinstance(answer, ModelUnavailable):
        return replace(curated, degraded=answer.reason)
    return replace(
        curated,
        picks=tuple(curated.shown[number - 1] for number in answer.data["picks"]),
        repairs=dict(answer.repairs),
        prompt_versions={CURATION: answer.version},
    )


def _with_taste(
    curated: Curated, answer: prompts.Answer | ModelUnavailable, groups: Sequence[Group]
) -> Curated:
    if isinstance(answer, ModelUnavailable):
        return replace(curated, degraded=curated.degraded or answer.reason)
    data = answer.data
    lines = zip(groups, data["taglines"], strict=False)
    return replace(
        curated,
        taste=TasteReading(
            text=data["taste"],
            genres=tuple(data["genres"]),
            moods=tuple(data["moods"]),
            artists=tuple(data["artists"]),
        ),
        taglines={group.label: line for group, line in lines if line},
        prompt_versions=curated.prompt_versions | {TASTE: answer.version},
    )


def final_order(slate: Slate, curated: Curated) -> tuple[int, ...]:
    """Indices of the shortlist as they are served: the engine's order joined with the model's."""
    baseline = range(len(slate.shortlist))
    if not curated.picks:
        return tuple(baseline)
    return fuse(baseline, curated.picks, model_weight=curated.model_weight)


def arrange(groups: Sequence[Group], order: Sequence[int]) -> list[Group]:
    """The same groups, their songs in the served order."""
    place = {index: rank for rank, index in enumerate(order)}
    return [
        replace(group, members=tuple(sorted(group.members, key=place.__getitem__)))
        for group in groups
    ]
