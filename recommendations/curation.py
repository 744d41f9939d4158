"""Asks the language model about a slate that already stands: which songs first, which words above the shelves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.fusion import fuse
from engine.text import clean_for_model
from engine.types import Candidate, Group, Locale, Slate, Strategy
from prompts import services as prompts
from prompts.errors import ModelUnavailable

TASTE, CURATION = "taste_and_taglines", "curation"
#: Lines the model chooses from: longer lists cost tokens and their tail is not read.
LINES = {Strategy.DEFAULT: 40, Strategy.DEEP: 60}
#: Songs asked for: about two screens. The rest keeps the engine's order.
PICKS = 20
LANGUAGES = {Locale.KO: "한국어", Locale.JA: "日本語", Locale.EN: "English"}


@dataclass(frozen=True, kw_only=True)
class Taste:
    """What the model read out of a member's favourites."""

    text: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    artists: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Curated:
    """What came back. Each part is empty where the model was not asked, or failed."""

    picks: tuple[int, ...] = ()  #: indices into the shortlist, best first
    shown: tuple[int, ...] = ()  #: indices in the order shown
    taglines: dict[str, str] = field(default_factory=dict)
    taste: Taste | None = None
    degraded: str = ""
    prompt_versions: dict[str, str] = field(default_factory=dict)
    repairs: dict[str, Any] = field(default_factory=dict)
    buckets: dict[str, int] = field(default_factory=dict)

    @property
    def by_model(self) -> bool:
        return bool(self.picks)


def ask_model(
    slate: Slate,
    *,
    member_key: str,
    run_id: str,
    locale: Locale,
    strategy: Strategy,
    taste_text: str,
    situation: str,
    deadline_s: float,
    seed: int,
    interactive: bool,
) -> Curated:
    """Two calls side by side, both within `deadline_s`. Never raises for what the model does."""
    shown = _shown_order(slate, LINES.get(strategy, 40), seed)
    asks = [
        _curation_ask(slate, shown, taste_text=taste_text, situation=situation, locale=locale),
        _taste_ask(slate, locale=locale),
    ]
    answers = prompts.ask_many(
        asks,
        deadline_s=deadline_s,
        run_uuid=run_id,
        member_key=member_key,
        interactive=interactive,
    )
    curated = _with_picks(Curated(shown=shown), answers[0], shown)
    return _with_taste(curated, answers[1], slate.groups)


def _shown_order(slate: Slate, lines: int, seed: int) -> tuple[int, ...]:
    """A seeded shuffle: models favour what stands first, so the place must say nothing."""
    order = np.random.default_rng(seed).permutation(min(lines, len(slate.shortlist)))
    return tuple(int(index) for index in order)


def _curation_ask(
    slate: Slate, shown: Sequence[int], *, taste_text: str, situation: str, locale: Locale
) -> prompts.Ask:
    lines = [song_line(number, slate.shortlist[index]) for number, index in enumerate(shown, 1)]
    variables = {
        "taste": taste_text,
        "situation": situation,
        "candidates": "\n".join(lines),
        "count": min(PICKS, len(shown)),
        "locale": LANGUAGES[locale],
    }
    return prompts.Ask(slug=CURATION, variables=variables, n_items=len(shown), locale=locale)


def _taste_ask(slate: Slate, *, locale: Locale) -> prompts.Ask:
    labels = [group.label for group in slate.groups]
    variables = {
        "favorites": favorites_summary(slate),
        "labels": "\n".join(f"{number}. {label}" for number, label in enumerate(labels, 1)),
        "locale": LANGUAGES[locale],
    }
    return prompts.Ask(slug=TASTE, variables=variables, n_items=len(labels), locale=locale)


def song_line(number: int, candidate: Candidate) -> str:
    """`12 제목 / 가수 / 장르 / 분위기`, cleaned: titles are untrusted text."""
    song = candidate.song
    title = song.title_kr or song.title_jp or song.title_en
    parts = (title, song.artist_kr or song.artist, song.genre, song.mood)
    return f"{number} " + " / ".join(clean_for_model(part, 40) for part in parts if part)


def favorites_summary(slate: Slate, *, most: int = 8) -> str:
    """The member's mix as shares, without a title: `장르: 록 40%, 팝 20% …`."""
    names = {"genre": "장르", "mood": "분위기", "artist": "가수"}
    rows = []
    for kind, title in names.items():
        shares = slate.taste.get(kind, [])[:most]
        if shares:
            said = ", ".join(f"{clean_for_model(name, 30)} {share:.0%}" for name, share in shares)
            rows.append(f"{title}: {said}")
    return "\n".join(rows)


def _with_picks(
    curated: Curated, answer: prompts.Answer | ModelUnavailable, shown: Sequence[int]
) -> Curated:
    if isinstance(answer, ModelUnavailable):
        return replace(curated, degraded=answer.reason)
    picks = tuple(shown[number - 1] for number in answer.data["picks"])
    return replace(
        curated,
        picks=picks,
        repairs=answer.repairs,
        prompt_versions={CURATION: answer.version},
        buckets={CURATION: answer.bucket} if answer.bucket is not None else {},
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
        taste=Taste(
            text=data["taste"],
            genres=tuple(data["genres"]),
            moods=tuple(data["moods"]),
            artists=tuple(data["artists"]),
        ),
        taglines={group.label: line for group, line in lines if line},
        prompt_versions=curated.prompt_versions | {TASTE: answer.version},
    )


def final_order(slate: Slate, picks: Sequence[int]) -> tuple[int, ...]:
    """Indices of the shortlist as they are served: the engine's order joined with the model's."""
    return fuse(range(len(slate.shortlist)), picks)


def arranged(groups: Sequence[Group], order: Sequence[int]) -> list[Group]:
    """The same shelves, their songs in the served order."""
    place = {index: rank for rank, index in enumerate(order)}
    return [
        replace(group, members=tuple(sorted(group.members, key=place.__getitem__)))
        for group in groups
    ]
