"""Decides what may be said about a recommended song: only what the evidence holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.catalog import Catalog
from engine.scorers import Floats, Rows
from engine.steps import Draft
from engine.types import Evidence
from engine.wording import CRITERIA, REASONS, Spoken, artist_of, term_in, title_of

#: Liked songs named as the grounds of one recommendation.
_MOST_EVIDENCE = 3
#: A smaller share is not a reason.
_LEAST_SHARE = 0.05
#: Members who must like both songs before "liked together" is said.
_LEAST_TOGETHER = 2
_POPULAR_RANK = 0.95
_TREND = 0.7  # about twice as many new likes as usual
_FRESH_DAYS = 90.0
#: A genre or mood counts as the member's own from this share on.
_OWN_SHARE = 0.1
_MOST_CRITERIA = 4
#: Reasons of the same kind in a row tire; a next true one is taken after so many.
_SAME_KIND = 3


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What holds of one recommended song, each fact proved from the catalog or the scores."""

    evidence: tuple[Evidence, ...]
    criteria: tuple[str, ...]
    reason: str


def grounds(draft: Draft, rows: Sequence[int], *, likes: bool = True) -> list[Grounds]:
    """Find and word the grounds of every song of a list, in its order.

    likes: the known songs are songs the member likes; False when they are only what was asked about.
    """
    places = np.asarray(rows, np.int32)
    shares = shares_of(draft, places)
    used: dict[str, int] = {}
    return [
        _Facts(draft, int(row), share, likes=likes).worded(used)
        for row, share in zip(places, shares, strict=True)
    ]


def shares_of(draft: Draft, rows: Rows) -> Floats:
    """(r, k) share of each known song in the positive score of each row; at most 1 per row in all.

    Every additive scorer gives its part of the blended score to the known songs in proportion to their
    exact contributions; the parts of the others belong to no song.
    """
    known = draft.taste.known
    total = np.zeros((len(rows), known.count), np.float32)
    if not known.count or not len(rows):
        return total
    positive = np.zeros(len(rows), np.float32)
    scorers = draft.model.scorers(draft.catalog.corpus)
    for name, part in draft.parts.items():
        gained = np.maximum(part[rows], 0)
        positive += gained
        scorer = scorers.get(name)
        if scorer is not None and scorer.additive and gained.any():
            said = np.maximum(scorer.contributions_many(known, rows), 0)
            total += said * (gained / np.maximum(said.sum(axis=1), 1e-12))[:, None]
    return np.asarray(total / np.maximum(positive, 1e-9)[:, None], np.float32)


class _Facts:
    """Looks up what is true of one song for one member, when it is asked."""

    def __init__(self, draft: Draft, row: int, share: Floats, *, likes: bool) -> None:
        self.likes = likes
        self.draft = draft
        self.catalog: Catalog = draft.catalog
        self.locale = draft.query.locale
        self.row = row
        self.share = share  # (k,)

    @cached_property
    def liked(self) -> list[int]:
        """Places in `known` of the songs that contributed most, best first."""
        best = np.argsort(-self.share, kind="stable")[:_MOST_EVIDENCE]
        return [int(place) for place in best if self.share[place] >= _LEAST_SHARE]

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        rows, ids = self.draft.taste.known.rows, self.catalog.song_ids
        return tuple(
            Evidence(song_id=int(ids[rows[place]]), share=round(float(self.share[place]), 4))
            for place in self.liked
        )

    def _liked_with(self, kind: str) -> int | None:
        """The known song with the most weight that shares the leading value of a kind, as its row."""
        terms, rows = self.catalog.terms[kind], self.draft.taste.known.rows
        code = int(terms.leading[self.row])
        if code < 0:
            return None
        alike = np.flatnonzero(terms.leading[rows] == code)
        return int(rows[alike[np.argmax(self.share[alike])]]) if len(alike) else None

    def _shared(self, kind: str) -> str:
        """A value this song and the best liked one hold, in the reader's language; "" without any."""
        terms = self.catalog.terms[kind]
        own = set() if self.best_liked is None else set(terms.of(self.best_liked).tolist())
        both = [code for code in terms.of(self.row).tolist() if code in own]
        return term_in(self.locale, terms.names[both[0]]) if both else ""

    def _own_value(self, kind: str) -> str:
        """A value of the song that is a good part of the member's likes."""
        terms, mix = self.catalog.terms[kind], self.draft.taste.mix[kind]
        own = [code for code in terms.of(self.row).tolist() if mix[code] >= _OWN_SHARE]
        return term_in(self.locale, terms.names[own[0]]) if own else ""

    @cached_property
    def same_artist(self) -> int | None:
        return self._liked_with("artist")

    @cached_property
    def same_anime(self) -> int | None:
        return self._liked_with("anime")

    @cached_property
    def best_liked(self) -> int | None:
        """Row of the liked song that contributed most."""
        return int(self.draft.taste.known.rows[self.liked[0]]) if self.liked else None

    @cached_property
    def together(self) -> bool:
        """Enough members like both this song and the one that contributed most."""
        if self.best_liked is None:
            return False
        likes = self.catalog.corpus.liked_by
        one, other = (
            likes.indices[likes.indptr[row] : likes.indptr[row + 1]]
            for row in (self.row, self.best_liked)
        )
        few, many = sorted((one, other), key=len)
        if not len(few):
            return False
        place = np.searchsorted(many, few).clip(max=len(many) - 1)
        return int((many[place] == few).sum()) >= _LEAST_TOGETHER

    @property
    def is_popular(self) -> bool:
        rank, popularity = self.catalog.popularity_rank, self.catalog.corpus.popularity
        return bool(rank[self.row] >= _POPULAR_RANK and popularity[self.row] > 0)

    @property
    def is_trending(self) -> bool:
        return bool(self.catalog.corpus.trend[self.row] >= _TREND)

    @property
    def is_fresh(self) -> bool:
        age_s = self.draft.query.now.timestamp() - float(self.catalog.created_s[self.row])
        return 0 <= age_s <= _FRESH_DAYS * 86_400

    @property
    def suits(self) -> bool:
        context = self.draft.parts.get("context")
        return context is not None and bool(context[self.row] > 0.05)

    def worded(self, used: dict[str, int]) -> Grounds:
        return Grounds(evidence=self.evidence, criteria=self._criteria(), reason=self._reason(used))

    def _criteria(self) -> tuple[str, ...]:
        words = CRITERIA[self.locale]
        plain = {
            "explored": self.row in self.draft.explored,
            "artist": self.same_artist is not None,
            "anime": self.same_anime is not None,
            "together": self.together,
            "situation": self.suits,
        }
        found = [words[fact] for fact, holds in plain.items() if holds]
        for kind in ("genre", "mood"):
            if name := self._own_value(kind):
                found.append(words[kind].format(name=name))
        late = {"trending": self.is_trending, "popular": self.is_popular, "fresh": self.is_fresh}
        found += [words[fact] for fact, holds in late.items() if holds]
        return tuple(found[:_MOST_CRITERIA])

    def _reason(self, used: dict[str, int]) -> str:
        """The strongest true sentence that has not been said too often in this list."""
        sayable = self._sayable()
        unworn = (kind for kind in sayable if used.get(kind, 0) < _SAME_KIND)
        kind = next(unworn, min(sayable, key=lambda kind: used.get(kind, 0)))
        used[kind] = used.get(kind, 0) + 1
        return REASONS[self.locale][kind].format_map(self._words_of(kind))

    def _sayable(self) -> list[str]:
        """Kinds of sentences that are true, the most telling first. Never empty."""
        if self.row in self.draft.explored:
            return ["explored"]
        found = {
            "situation": self.suits,
            "artist": self.same_artist is not None,
            "anime": self.same_anime is not None,
            **self._because_of_likes(),
            "trending": self.is_trending,
            "popular": self.is_popular,
            "fresh": self.is_fresh,
        }
        return [kind for kind, holds in found.items() if holds] or ["plain"]

    def _because_of_likes(self) -> dict[str, bool]:
        if self.best_liked is None:
            return {}
        genre, mood = self._shared("genre"), self._shared("mood")
        return {
            "together": self.together,
            "genre_mood": bool(genre and mood),
            "genre": bool(genre and not mood),
            "mood": bool(mood and not genre),
            "two": self.likes and len(self.liked) > 1,
            "one": self.likes,
            "alike": not self.likes,
        }

    def _words_of(self, kind: str) -> dict[str, str]:
        """What the sentence of a kind names; only songs that are named are decoded."""
        if kind == "artist" and self.same_artist is not None:
            artist = artist_of(self.catalog.view(self.row), self.locale)
            return {"liked": self._title(self.same_artist), "artist": artist}
        if kind == "anime" and self.same_anime is not None:
            anime = Spoken.of(self.catalog.text(self.row, "anime"))
            return {"liked": self._title(self.same_anime), "anime": anime}
        if self.best_liked is None:
            return {}
        words = {"liked": self._title(self.best_liked)}
        if kind in ("genre_mood", "genre", "mood"):
            words |= {"genre": self._shared("genre"), "mood": self._shared("mood")}
        if kind == "two":
            second = int(self.draft.taste.known.rows[self.liked[1]])
            words["second"] = self._title(second)
        return words

    def _title(self, row: int) -> str:
        return title_of(self.catalog.view(row), self.locale)
