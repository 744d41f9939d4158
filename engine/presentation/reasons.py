"""Words the reasons of a recommended song: only facts that scores and catalog prove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats, Rows
from engine.catalog.catalog import Catalog
from engine.presentation.vocabulary import describing, is_readable, term_in
from engine.presentation.wording import CRITERIA, REASONS, Spoken, moment_of, title_of
from engine.ranking.boosts import are_new_artists
from engine.ranking.draft import Draft
from engine.ranking.situations import Situation, multiplier_of, situations_of
from engine.types import Evidence, Locale, SignalType
from engine.weights import ScoreAdjustment

#: Liked songs given as evidence of one recommendation.
_MAX_EVIDENCE = 3
#: Minimum share of the score.
_MIN_EVIDENCE_SHARE = 0.05
#: Minimum members who like both songs, for "liked together".
_MIN_COMMON_FANS = 2
_MAX_FANS_SAMPLED = 1000
_MIN_POPULARITY_RANK = 0.9
#: Minimum likes of a popular or trending song.
_MIN_LIKES = 5
_MIN_TREND = 0.7  # about twice as many new likes as usual
_MAX_FRESH_DAYS = 90.0
#: Minimum multiplier of a word that suits a situation.
_MIN_SITUATION_MULTIPLIER = 1.1
#: Minimum share among the likes of a genre or mood that counts as the member's own.
_MIN_OWN_SHARE = 0.1
_MAX_CRITERIA = 4
#: Uses of one kind of sentence in a list, before the next true one is taken.
_MAX_SAME_SENTENCE = 3


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """Why one song is recommended, each fact proved from the catalog or the scores."""

    evidence: tuple[Evidence, ...]
    criteria: tuple[str, ...]
    reason: str


def grounds(draft: Draft, rows: Sequence[int], *, likes: bool = True) -> list[Grounds]:
    """Find and word the grounds of every song of a list, in its order.

    likes: the known songs are songs the member likes; False when they are only what was asked about.
    """
    list_ = _SongList(draft, np.asarray(rows, np.int32), likes=likes)
    return [_SongFacts(list_, place).worded() for place in range(len(rows))]


def shares_of(draft: Draft, rows: Rows) -> Floats:
    """(r, k) share of each known song in the positive score of each row; at most 1 per row in all.

    Every additive scorer gives its part of the blended score to the known songs in proportion to their
    exact contributions; the parts of the others belong to no song.
    """
    known = draft.taste.known.normalized(draft.model.settings.strength)
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
            shares = np.maximum(scorer.contributions_many(known, rows), 0)
            total += shares * (gained / np.maximum(shares.sum(axis=1), 1e-12))[:, None]
    return np.asarray(total / np.maximum(positive, 1e-9)[:, None], np.float32)


def _largest(table: Floats, count: int) -> npt.NDArray[np.intp]:
    """(r, ≤ count) columns of the largest entries of each row, largest first."""
    if table.shape[1] <= 16 * count:
        return np.argsort(-table, axis=1, kind="stable")[:, :count]
    some = np.argpartition(-table, count, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(table, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


class _SongList:
    """Facts of a whole list, computed once for all of its songs."""

    def __init__(self, draft: Draft, rows: Rows, *, likes: bool) -> None:
        self.draft = draft
        self.catalog: Catalog = draft.catalog
        self.locale = draft.query.locale
        self.likes = likes
        self.rows: list[int] = rows.tolist()
        self.known: list[int] = draft.taste.known.rows.tolist()
        self.shares = shares_of(draft, rows)  # (r, k)
        best = _largest(self.shares, _MAX_EVIDENCE)
        enough = np.take_along_axis(self.shares, best, axis=1) >= _MIN_EVIDENCE_SHARE
        #: By song of the list: places in `known` that contributed most, best first.
        self.liked: list[list[int]] = [
            places[holds].tolist() for places, holds in zip(best, enough, strict=True)
        ]
        self.same_artist = self._liked_with("artist", rows)
        self.same_anime = self._liked_with("anime", rows)
        self.is_popular, self.is_trending, self.is_fresh, self.suits = self._flags(rows)
        self.situations = situations_of(draft)
        self.is_new_artist: list[bool] = are_new_artists(draft, rows).tolist()
        #: Known rows that are liked or on a playlist; the others were played, sung or rated.
        self.owned = set(draft.taste.owned.tolist())
        sung_ids = [s.song_id for s in draft.query.signals if s.type is SignalType.SANG]
        self.sung = set(self.catalog.rows_of(sung_ids).tolist())
        #: {kind: by song of the list, its codes}
        self.codes = {kind: self._codes(kind, rows) for kind in ("genre", "mood")}
        #: {kind: codes that are a good part of the likes}
        self.own = {
            kind: set(np.flatnonzero(draft.taste.mix[kind] >= _MIN_OWN_SHARE).tolist())
            for kind in ("genre", "mood")
        }
        self.used: dict[str, int] = {}
        self._liked_codes: dict[tuple[str, int], set[int]] = {}
        self._titles: dict[int, Spoken] = {}
        self._fans: dict[int, npt.NDArray[np.bool_]] = {}

    def _codes(self, kind: str, rows: Rows) -> list[list[int]]:
        codes, owners = self.catalog.terms[kind].gather(rows)
        found: list[list[int]] = [[] for _ in rows]
        for code, owner in zip(codes.tolist(), owners.tolist(), strict=True):
            found[owner].append(code)
        return found

    def codes_of_liked(self, kind: str, row: int) -> set[int]:
        key = (kind, row)
        if key not in self._liked_codes:
            self._liked_codes[key] = set(self.catalog.terms[kind].of(row).tolist())
        return self._liked_codes[key]

    def _liked_with(self, kind: str, rows: Rows) -> list[int]:
        """(r,) the known row of most weight with the same leading value of a kind, or -1."""
        if not self.known:
            return [-1] * len(rows)
        leading = self.catalog.terms[kind].leading
        codes = leading[rows][:, None]
        alike = (codes == leading[self.draft.taste.known.rows][None, :]) & (codes >= 0)
        best = np.where(alike, self.shares, -1).argmax(axis=1)
        rows_or_none: list[int] = np.where(
            alike.any(axis=1), self.draft.taste.known.rows[best], -1
        ).tolist()
        return rows_or_none

    def _flags(self, rows: Rows) -> tuple[list[bool], list[bool], list[bool], list[bool]]:
        """(r,) each: popular, on the rise, new, fit for the situation."""
        catalog, corpus = self.catalog, self.catalog.corpus
        many = catalog.liked_by_count[rows] >= _MIN_LIKES
        popular = many & (catalog.popularity_rank[rows] >= _MIN_POPULARITY_RANK)
        age_s = self.draft.query.now.timestamp() - catalog.created_s[rows].astype(np.float64)
        fresh = (age_s >= 0) & (age_s <= _MAX_FRESH_DAYS * 86_400)
        fresh &= not catalog.is_mostly_new
        context = (
            self.draft.parts.get(ScoreAdjustment.CONTEXT, np.zeros(catalog.n, np.float32))[rows]
            > 0.05
        )
        rising = many & (corpus.trend[rows] >= _MIN_TREND)
        return popular.tolist(), rising.tolist(), fresh.tolist(), context.tolist()

    def title(self, row: int) -> Spoken:
        if row not in self._titles:
            self._titles[row] = title_of(self.catalog.view(row), self.locale)
        return self._titles[row]

    def are_liked_together(self, row: int, liked_row: int) -> bool:
        """Enough members like both."""
        likes = self.catalog.corpus.liked_by
        fans = self._fans.get(liked_row)
        if fans is None:
            fans = self._fans[liked_row] = np.zeros(likes.shape[1], bool)
            fans[likes.indices[likes.indptr[liked_row] : likes.indptr[liked_row + 1]]] = True
        # A sample of the fans of a hit is enough: it can miss a true claim, but not make a false one.
        members = likes.indices[likes.indptr[row] : likes.indptr[row + 1]][:_MAX_FANS_SAMPLED]
        return int(np.count_nonzero(fans[members])) >= _MIN_COMMON_FANS


class _SongFacts:
    """What is true of one song of a list for one member."""

    def __init__(self, list_: _SongList, place: int) -> None:
        self.list = list_
        self.place = place
        self.catalog = list_.catalog
        self.locale = list_.locale
        self.row = list_.rows[place]
        self.liked = list_.liked[place]
        self.same_artist = list_.same_artist[place]
        self.same_anime = list_.same_anime[place]
        self.best_liked = list_.known[self.liked[0]] if self.liked else -1
        self.together = self.best_liked >= 0 and list_.are_liked_together(self.row, self.best_liked)
        self.explored = self.row in list_.draft.explored
        self.shared = {kind: self._shared(kind) for kind in ("genre", "mood")}
        self.suited = self._suited()
        #: Facts that need no name.
        self.facts = {
            "situation": list_.suits[place],
            "artist": self.same_artist >= 0,
            "anime": self.same_anime >= 0,
            "together": self.together,
            "trending": list_.is_trending[place],
            "popular": list_.is_popular[place],
            "fresh": list_.is_fresh[place],
        }

    def worded(self) -> Grounds:
        return Grounds(evidence=self._evidence(), criteria=self._criteria(), reason=self._reason())

    def _evidence(self) -> tuple[Evidence, ...]:
        ids, known = self.catalog.song_ids, self.list.known
        shares = self.list.shares[self.place]
        return tuple(
            Evidence(song_id=int(ids[known[place]]), share=round(float(shares[place]), 4))
            for place in self.liked
        )

    def _shared(self, kind: str) -> str:
        """A value this song and the best liked one hold, as the catalog writes it; "" without any."""
        theirs = self.list.codes_of_liked(kind, self.best_liked) if self.best_liked >= 0 else set()
        return self._named(kind, theirs)

    def _named(self, kind: str, among: set[int]) -> str:
        """The song's first value of a kind among the given ones that a reader can read; "" without any."""
        names = self.catalog.terms[kind].names
        for code in self.list.codes[kind][self.place]:
            if code in among and is_readable(self.locale, term_in(self.locale, names[code])):
                return names[code]
        return ""

    def _suited(self) -> tuple[Situation, str, str] | None:
        """The situation this song suits best, with the kind and name of the value that suits it."""
        best, worth = None, _MIN_SITUATION_MULTIPLIER
        if not self.list.suits[self.place]:
            return None
        for situation in self.list.situations:
            for kind in ("mood", "genre"):
                for code in self.list.codes[kind][self.place]:
                    name = self.catalog.terms[kind].names[code]
                    multiplier = multiplier_of(name, situation.words)
                    if multiplier > worth and is_readable(self.locale, term_in(self.locale, name)):
                        best, worth = (situation, kind, name), multiplier
        return best

    def _criteria(self) -> tuple[str, ...]:
        words, facts = CRITERIA[self.locale], self.facts
        found = [words["explored"]] if self.explored else []
        found += [
            words[fact] for fact in ("artist", "anime", "together", "situation") if facts[fact]
        ]
        for kind in ("genre", "mood"):
            if name := self._named(kind, self.list.own[kind]):
                found.append(words[kind].format(name=term_in(self.locale, name)))
        found += [words[fact] for fact in ("trending", "popular", "fresh") if facts[fact]]
        return tuple(found[:_MAX_CRITERIA])

    def _reason(self) -> str:
        """The strongest true sentence that is not used too often in this list."""
        used = self.list.used
        worn: list[str] = []
        for kind in self._sentence_kinds():
            if used.get(kind, 0) < _MAX_SAME_SENTENCE:
                break
            worn.append(kind)
        else:
            kind = min(worn, key=lambda kind: used[kind])
        used[kind] = used.get(kind, 0) + 1
        return REASONS[self.locale][kind].format_map(self._words_of(kind))

    def _sentence_kinds(self) -> Iterator[str]:
        """Kinds of sentences that are true, the most telling first. Never empty."""
        if self.explored:
            # Only a new artist is "a step away" from what the member usually hears.
            is_new_territory = bool(self.list.known) and self.list.is_new_artist[self.place]
            yield "explored" if is_new_territory else "tried"
            return
        kinds = list(self._true_kinds())
        yield from kinds or ["plain"]

    def _true_kinds(self) -> Iterator[str]:
        facts = self.facts
        if self.suited is not None:
            situation, kind, _ = self.suited
            yield "asked_mood" if situation.is_mood and kind == "mood" else f"situation_{kind}"
        if facts["artist"]:
            yield "artist"
        if facts["anime"]:
            readable = is_readable(self.locale, self.catalog.text(self.row, "anime"))
            yield "anime" if readable else "same_anime"
        if self.best_liked >= 0:
            yield from self._because_of_likes()
        yield from (fact for fact in ("trending", "popular", "fresh") if facts[fact])
        if not self.list.known and self._genre():
            yield "sample"

    def _genre(self) -> str:
        names = self.catalog.terms["genre"].names_of(self.row)
        genre = term_in(self.locale, names[0]) if names else ""
        return genre if is_readable(self.locale, genre) else ""

    def _because_of_likes(self) -> Iterator[str]:
        if self.together:
            yield "together"
        alike = [kind for kind in ("genre", "mood") if self.shared[kind]]
        if alike:
            yield "_".join(alike)
        if not self.list.likes:
            yield "alike"
            return
        mine = [self.list.known[place] in self.list.owned for place in self.liked[:2]]
        if not mine[0]:
            yield "sung" if self.best_liked in self.list.sung else "heard"
            return
        if all(mine[1:]) and len(mine) > 1:
            yield "two"
        yield "one"

    def _words_of(self, kind: str) -> dict[str, str]:
        """What the sentence of a kind names; only songs that are named are decoded."""
        if kind == "artist":
            own, other = (
                ("artist_kr", "artist") if self.locale is Locale.KO else ("artist", "artist_kr")
            )
            artist = self.catalog.text(self.row, own) or self.catalog.text(self.row, other)
            return {"liked": self.list.title(self.same_artist), "artist": Spoken.of(artist)}
        if kind in ("asked_mood", "situation_mood", "situation_genre") and self.suited:
            situation, value_kind, name = self.suited
            moment = moment_of(self.locale, situation.name)
            return {"moment": moment, value_kind: self._spoken(value_kind, name)}
        if kind == "same_anime":
            return {"liked": self.list.title(self.same_anime)}
        if kind == "anime":
            anime = Spoken.of(self.catalog.text(self.row, "anime"))
            return {"liked": self.list.title(self.same_anime), "anime": anime}
        if kind == "sample":
            return {"genre": Spoken.of(self._genre())}
        if self.best_liked < 0:
            return {}
        words: dict[str, str] = {"liked": self.list.title(self.best_liked)}
        if kind in ("genre_mood", "genre", "mood"):
            words |= {kind: self._spoken(kind, name) for kind, name in self.shared.items()}
        if kind == "two":
            words["second"] = self.list.title(self.list.known[self.liked[1]])
        return words

    def _spoken(self, kind: str, name: str) -> Spoken:
        """A genre, or a mood as it stands before a noun, in the reader's language."""
        word = describing(self.locale, name) if kind == "mood" else term_in(self.locale, name)
        return Spoken.of(word)
