"""Decides which shelves a member sees, and which song stands on which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.scorers import Floats, Rows
from engine.steps import Draft
from engine.types import GroupKind
from engine.wording import LABELS, SITUATIONS, artist_of, tagline, term_in

#: Likes that are clustered: the newest say most about the taste of today.
_CLUSTERED_LIKES = 200
_MOST_CLUSTERS = 3
_CLUSTER_ROUNDS = 6
#: A shelf with fewer songs looks broken on a phone; two are taken only when shelves are few.
_GOOD_LENGTH = 4
_LEAST_LENGTH = 2
_FEW_SHELVES = 4
_SAME_ARTIST_ON_A_SHELF = 2
#: A genre with less than this share of the likes is one the member does not hear.
_UNHEARD_SHARE = 0.03
_POPULAR_RANK = 0.9
_FRESH_RECENCY = 0.35  # added in the last three months
#: Songs of one artist or situation that are sorted.
_LOOKED_AT = 100
_ONE_VOICE = {GroupKind.ARTIST, GroupKind.ANIME}


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A group by catalog rows, before it is cut to length."""

    kind: GroupKind
    label: str
    rows: Rows  #: best first
    subject: str = ""
    tagline: str = ""


def shelves(draft: Draft) -> list[Shelf]:
    """Deal the songs of the pool to shelves: each song once, no shelf of one.

    Proposals come in the order of their worth; a thin one is only taken when there are few.
    """
    limit = draft.settings.shaping.groups
    dealer = _Dealer(draft)
    waiting: list[Shelf] = []
    for proposal in _proposals(draft):
        if len(dealer.dealt) == limit:
            break
        if not dealer.deal(proposal, least=_GOOD_LENGTH):
            waiting.append(proposal)
    for proposal in waiting:
        if len(dealer.dealt) >= min(_FEW_SHELVES, limit):
            break
        dealer.deal(proposal, least=_LEAST_LENGTH)
    return dealer.dealt


class _Dealer:
    """Remembers which songs and which subjects are taken."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.dealt: list[Shelf] = []
        self.taken: set[int] = set()
        self.roots: set[int] = set()

    def deal(self, shelf: Shelf, *, least: int) -> bool:
        """Take what is still free; False when that is too little."""
        if any(shelf.label == other.label for other in self.dealt):
            return False
        rows = self._free(shelf)
        if len(rows) < least:
            return False
        self.taken.update(rows)
        self.roots.update(self.draft.catalog.same_song[rows].tolist())
        self.dealt.append(self._finished(shelf, rows))
        return True

    def _free(self, shelf: Shelf) -> list[int]:
        artists = self.draft.catalog.terms["artist"].leading
        most = len(shelf.rows) if shelf.kind in _ONE_VOICE else _SAME_ARTIST_ON_A_SHELF
        found: list[int] = []
        heard: dict[int, int] = {}
        for row in shelf.rows.tolist():
            artist = int(artists[row])
            if not self._is_free(row) or (artist >= 0 and heard.get(artist, 0) >= most):
                continue
            heard[artist] = heard.get(artist, 0) + 1
            found.append(row)
            if len(found) == self.draft.settings.shaping.songs_per_group:
                break
        return found

    def _is_free(self, row: int) -> bool:
        return row not in self.taken and int(self.draft.catalog.same_song[row]) not in self.roots

    def _finished(self, shelf: Shelf, rows: list[int]) -> Shelf:
        query = self.draft.query
        line = tagline(shelf.kind, query.locale, query.seed + len(self.dealt))
        return Shelf(
            kind=shelf.kind,
            label=shelf.label,
            rows=np.array(rows, np.int32),
            subject=shelf.subject,
            tagline=line,
        )


def _proposals(draft: Draft) -> Iterator[Shelf]:
    """Shelves worth having, the best first."""
    yield from _situations(draft)
    if draft.taste.known.count:
        yield from _tastes(draft)
        for special in (_artist_expansion, _hidden_gems, _crossover, _artist_picks):
            yield from special(draft)
    else:
        yield from (*_popular(draft), *_fresh(draft))
    yield from _by_value(draft)
    yield from (*_popular(draft), *_fresh(draft), *_hidden_gems(draft))


def _situations(draft: Draft) -> Iterable[Shelf]:
    """One shelf for the situation that was named; the activity says more than the hour."""
    context, part = draft.query.context, draft.parts.get("context")
    if part is None:
        return
    suiting = draft.pool[part[draft.pool] > 0.05]
    names = SITUATIONS[draft.query.locale]
    if situation := context.activity or context.time_of_day:
        label, subject = names[situation], situation.value
    else:
        label, subject = names["mood"].format(subject=context.mood), context.mood
    yield Shelf(
        kind=GroupKind.SITUATION, label=label, rows=_best_first(draft, suiting), subject=subject
    )


def _tastes(draft: Draft) -> Iterable[Shelf]:
    """One shelf per side of the member's taste, named by what tells that side apart."""
    known = draft.taste.known.rows[:_CLUSTERED_LIKES]
    features = draft.catalog.corpus.features
    liked_features = features[known].T.tocsr()
    alike = _dense(features[known] @ liked_features)
    near = _dense(features[draft.pool] @ liked_features)
    named: set[tuple[str, int]] = set()
    for members in _clusters(alike, draft.taste.known.weights[:_CLUSTERED_LIKES]):
        liked = known[members]
        found = _telling_value(draft, liked, named)
        if found is None:
            continue
        named.add(found)
        kind, code = found
        codes, owners = draft.catalog.terms[kind].gather(draft.pool)
        places = owners[codes == code]
        holding = draft.pool[places]
        fit = _unit(near[places][:, members].sum(axis=1)) + _unit(draft.scores[holding])
        rows = holding[np.argsort(-fit, kind="stable")]
        yield _value_shelf(draft, GroupKind.TASTE, kind, code, rows)


def _dense(sparse: csr_matrix) -> Floats:
    return np.asarray(sparse.todense(), np.float32)


def _clusters(table: Floats, weights: Floats) -> list[npt.NDArray[np.intp]]:
    """Places of the members of each cluster, the heaviest first.

    table: (k, k) cosine. Spherical k-means over similarities, started from the newest like and
    the ones least like those before: no chance involved.
    """
    size = len(table)
    if size < 2:
        return [np.arange(size)]
    belongs = table[:, _seeds(table, min(_MOST_CLUSTERS, size))].argmax(axis=1)
    for _ in range(_CLUSTER_ROUNDS):
        member = np.eye(belongs.max() + 1, dtype=np.float32)[belongs] * weights[:, None]
        towards = table @ member
        spread = np.sqrt(np.maximum((member * towards).sum(axis=0), 1e-9))
        moved = (towards / spread).argmax(axis=1)
        if (moved == belongs).all():
            break
        belongs = moved
    groups = [np.flatnonzero(belongs == number) for number in range(_MOST_CLUSTERS)]
    heavy = [group for group in groups if len(group)]
    return sorted(heavy, key=lambda group: -float(weights[group].sum()))


def _seeds(table: npt.NDArray[np.float32], wanted: int) -> list[int]:
    seeds = [0]
    while len(seeds) < wanted:
        seeds.append(int(table[:, seeds].max(axis=1).argmin()))
    return list(dict.fromkeys(seeds))


def _telling_value(
    draft: Draft, liked: Rows, named: set[tuple[str, int]]
) -> tuple[str, int] | None:
    """The value that most tells these likes from the catalog and that the pool can fill a shelf with.

    Worth = share among the likes × log of how much larger it is than among all songs.
    """
    best, worth = None, 0.0
    for kind in ("mood", "genre", "anime"):
        terms = draft.catalog.terms[kind]
        share = terms.counts(liked) / len(liked)
        lift = share * np.log((share + 0.01) / (draft.catalog.prior[kind] + 0.01))
        for code in np.argsort(-lift)[:3].tolist():
            if lift[code] <= worth or (kind, code) in named:
                continue
            if _fills(draft, terms.holding(draft.pool, code)):
                best, worth = (kind, code), float(lift[code])
    return best


def _fills(draft: Draft, rows: Rows) -> bool:
    """Whether the songs fill a shelf, counting few of each artist."""
    artists = draft.catalog.terms["artist"].leading[rows]
    _, counts = np.unique(artists[artists >= 0], return_counts=True)
    voices = int(np.minimum(counts, _SAME_ARTIST_ON_A_SHELF).sum())
    return voices + int((artists < 0).sum()) >= _GOOD_LENGTH


def _value_shelf(draft: Draft, shelf_kind: GroupKind, kind: str, code: int, rows: Rows) -> Shelf:
    name = draft.catalog.terms[kind].names[code]
    label = term_in(draft.query.locale, name)
    return Shelf(kind=shelf_kind, label=label, rows=rows, subject=name)


def _artist_expansion(draft: Draft) -> Iterable[Shelf]:
    """One song each of artists the member has not liked yet, as the score orders them."""
    artists = draft.catalog.terms["artist"].leading[draft.pool]
    if not (artists >= 0).any():
        return
    unheard = draft.pool[(artists >= 0) & (draft.taste.mix["artist"][artists] == 0)]
    _, first = np.unique(draft.catalog.terms["artist"].leading[unheard], return_index=True)
    yield _special(draft, GroupKind.ARTIST_EXPANSION, unheard[np.sort(first)])


def _hidden_gems(draft: Draft) -> Iterable[Shelf]:
    """Songs few members like that match strongly. Without any likes nothing is hidden."""
    popularity = draft.catalog.corpus.popularity
    if not popularity.any():
        return
    strong = draft.pool[: max(len(draft.pool) // 2, 1)]
    rare = draft.catalog.popularity_rank[strong] < draft.settings.shaping.gem_popularity
    yield _special(draft, GroupKind.HIDDEN_GEMS, strong[rare])


def _crossover(draft: Draft) -> Iterable[Shelf]:
    """The best genre the member does not hear, among the songs his likes lead to."""
    terms, mix = draft.catalog.terms["genre"], draft.taste.mix["genre"]
    if not mix.any():
        return
    for code in dict.fromkeys(terms.leading[draft.pool].tolist()):
        if code < 0 or mix[code] >= _UNHEARD_SHARE:
            continue
        songs = terms.holding(draft.pool, code).tolist()
        new = [row for row in songs if (mix[terms.of(row)] < _UNHEARD_SHARE).all()]
        unheard = np.array(new, np.int32)
        if _fills(draft, unheard):
            yield _special(draft, GroupKind.CROSSOVER, unheard, terms.names[code])
            return


def _artist_picks(draft: Draft) -> Iterable[Shelf]:
    """More songs of the artists liked most, from the whole catalog."""
    share, terms = draft.taste.mix["artist"], draft.catalog.terms["artist"]
    liked = np.flatnonzero(share)
    for code in liked[np.argsort(-share[liked], kind="stable")][:3].tolist():
        rows = terms.rows_of(code)
        rows = rows[draft.alive[rows]]
        if len(rows) >= _LEAST_LENGTH:
            name = artist_of(draft.catalog.view(int(rows[0])), draft.query.locale)
            yield _special(draft, GroupKind.ARTIST, _best_first(draft, rows), str(name))


def _by_value(draft: Draft) -> Iterable[Shelf]:
    """Moods, genres and anime the pool is rich in, the richest first."""
    for kind, shelf_kind in (
        ("mood", GroupKind.MOOD),
        ("genre", GroupKind.GENRE),
        ("anime", GroupKind.ANIME),
    ):
        terms = draft.catalog.terms[kind]
        supply = terms.counts(draft.pool)
        for code in np.argsort(-supply, kind="stable")[:3].tolist():
            if supply[code] >= _LEAST_LENGTH:
                yield _value_shelf(draft, shelf_kind, kind, code, terms.holding(draft.pool, code))


def _popular(draft: Draft) -> Iterable[Shelf]:
    rank = draft.catalog.popularity_rank[draft.pool]
    popular = draft.pool[
        (rank >= _POPULAR_RANK) & (draft.catalog.corpus.popularity[draft.pool] > 0)
    ]
    by_likes = np.argsort(-draft.catalog.corpus.popularity[popular], kind="stable")
    yield _special(draft, GroupKind.POPULAR, popular[by_likes])


def _fresh(draft: Draft) -> Iterable[Shelf]:
    fresh = draft.pool[draft.catalog.corpus.recency[draft.pool] >= _FRESH_RECENCY]
    yield _special(draft, GroupKind.FRESH, fresh)


def _special(draft: Draft, kind: GroupKind, rows: Rows, subject: str = "") -> Shelf:
    label = LABELS[draft.query.locale][kind].format(subject=term_in(draft.query.locale, subject))
    return Shelf(kind=kind, label=label, rows=rows, subject=subject)


def _best_first(draft: Draft, rows: Rows) -> Rows:
    """The best of the rows, more than any shelf can take."""
    if len(rows) > _LOOKED_AT:
        best = np.argpartition(-draft.scores[rows], _LOOKED_AT)[:_LOOKED_AT]
        rows = rows[best]
    return rows[np.argsort(-draft.scores[rows], kind="stable")]


def _unit(values: Floats) -> Floats:
    top = float(np.abs(values).max(initial=0.0))
    return values / top if top > 0 else values
