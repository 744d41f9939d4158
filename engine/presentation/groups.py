"""Decides which shelves a member sees, and which song stands on which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.catalog.catalog import FRESH_RECENCY
from engine.presentation.taglines import About, tagline
from engine.presentation.vocabulary import term_in
from engine.presentation.wording import LABELS, artist_of, situation_label, value_label
from engine.ranking.steps import Draft, Situation, are_new_artists, situations_of, suiting
from engine.scoring.scorers import Floats, Rows
from engine.types import GroupKind

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
#: Values of each kind that may name a side of the taste.
_NAMES_TRIED = 4
#: "신나는 시티팝" says more than "신나는" or "시티팝" and is worth a somewhat smaller share of the likes.
_PAIR_WORTH = 1.25
#: An artist with this share of a side's likes, and two of them, stands for it.
_STANDS_FOR = 0.4
#: A strong match scores at least this share of the best song of the pool.
_STRONG = 0.25
#: Songs of artists more loved than this share of all artists are hardly hidden.
_STAR = 0.9
_POPULAR_RANK = 0.9
#: Fewer likes make nobody popular, whatever the rank.
_MANY_LIKES = 3
#: Of the artists liked most (fans have all songs of some), and those that take turns.
_ARTISTS_TRIED = 12
_ARTISTS_IN_TURN = 3
#: Songs of one artist that are sorted.
_LOOKED_AT = 100
#: Logarithm of a multiplier from which a song suits a situation.
_SUITS = 0.05
_ONE_VOICE = {GroupKind.ARTIST, GroupKind.ANIME}
#: Shelves the product promises to everybody whose taste is known.
_PROMISED = 4


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A group by catalog rows, before it is cut to length."""

    kind: GroupKind
    label: str
    rows: Rows  #: best first
    subject: str = ""
    tagline: str = ""
    about: About = field(default_factory=About)  #: what the tagline may speak of


def shelves(draft: Draft) -> list[Shelf]:
    """Deal the songs of the pool to shelves: each song once, no shelf of one.

    Proposals come in the order of their worth, each with alternatives of which one is taken; a thin one
    is only taken when there are few.
    """
    limit = draft.settings.shaping.groups
    draft = replace(draft, pool=_fitting_the_moment(draft))
    dealer = _Dealer(draft)
    waiting: list[Shelf] = []
    for alternatives in _proposals(draft):
        if len(dealer.dealt) == limit:
            break
        if not any(dealer.deal(shelf, least=_GOOD_LENGTH) for shelf in alternatives):
            waiting += alternatives[:1]
    for proposal in waiting:
        if len(dealer.dealt) >= min(_FEW_SHELVES, limit):
            break
        dealer.deal(proposal, least=_LEAST_LENGTH)
    return dealer.dealt


def _fitting_the_moment(draft: Draft) -> Rows:
    """The pool without what the situation speaks against, as long as shelves can be filled."""
    part = draft.parts.get("context")
    if part is None:
        return draft.pool
    fitting = draft.pool[part[draft.pool] >= 0]
    shaping = draft.settings.shaping
    enough = 2 * shaping.groups * shaping.songs_per_group
    return fitting if len(fitting) >= min(enough, len(draft.pool) // 3) else draft.pool


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
        line = tagline(
            shelf.kind,
            query.locale,
            query.seed + len(self.dealt),
            about=shelf.about,
            taken={other.tagline for other in self.dealt},
        )
        return replace(shelf, rows=np.array(rows, np.int32), tagline=line)


def _proposals(draft: Draft) -> Iterator[list[Shelf]]:
    """Shelves worth having, the best first, each with what may stand in for it."""
    situations = [[shelf] for shelf in _situations(draft)]
    yield from situations
    if draft.taste.known.count:
        tastes = ([shelf] for shelf in _tastes(draft))
        room = draft.settings.shaping.groups - len(situations) - _PROMISED
        yield from islice(tastes, max(room, 1))
        yield from _promised(draft, start=draft.query.seed if room < 1 else 0)
        yield from tastes
    else:
        yield from (_popular(draft), _fresh(draft))
    yield from ([shelf] for shelf in _by_value(draft))
    yield from (_popular(draft), _fresh(draft), _hidden_gems(draft))


def _promised(draft: Draft, *, start: int) -> Iterator[list[Shelf]]:
    """The shelves beyond the member's own taste; where not all fit, each day begins with another."""
    special = (_artist_picks, _artist_expansion, _hidden_gems, _crossover)
    first = start % len(special)
    for proposal in special[first:] + special[:first]:
        yield proposal(draft)


def _situations(draft: Draft) -> Iterable[Shelf]:
    """A shelf for the activity and the mood that were named; the hour only where no activity says more."""
    part = draft.parts.get("context")
    if part is None:
        return
    fitting = draft.pool[part[draft.pool] > _SUITS]
    for situation in situations_of(draft):
        if situation.name == draft.query.context.time_of_day and draft.query.context.activity:
            continue
        yield _situation_shelf(draft, situation, fitting)


def _situation_shelf(draft: Draft, situation: Situation, fitting: Rows) -> Shelf:
    """Songs the situation speaks for, those first that suit both it and the member."""
    suits = suiting(draft.catalog, situation.words)[fitting]
    rows, suits = fitting[suits > _SUITS], suits[suits > _SUITS]
    worth = _unit(suits) + _unit(draft.scores[rows])
    mood = situation.name if situation.is_mood else ""
    return Shelf(
        kind=GroupKind.SITUATION,
        label=situation_label(draft.query.locale, situation.name, is_mood=situation.is_mood),
        rows=rows[np.argsort(-worth, kind="stable")],
        subject=situation.name,
        about=About(mood=mood, subject="" if mood else situation.name, situation=situation.name),
    )


@dataclass(frozen=True)
class _Name:
    """What a side of a taste is called by: codes of a mood, a genre, both, or an anime; -1 = none."""

    mood: int = -1
    genre: int = -1
    anime: int = -1

    def overlaps(self, other: _Name) -> bool:
        """Whether both speak of the same: 신나는 록 and 신나는 팝 look like one shelf."""
        pairs = ((self.mood, other.mood), (self.genre, other.genre), (self.anime, other.anime))
        return any(mine == theirs >= 0 for mine, theirs in pairs)

    def holding(self, draft: Draft, rows: Rows) -> Rows:
        """Those of `rows` that hold all of it, in their order."""
        for kind, code in (("mood", self.mood), ("genre", self.genre), ("anime", self.anime)):
            if code >= 0:
                rows = draft.catalog.terms[kind].holding(rows, code)
        return rows


def _tastes(draft: Draft) -> Iterable[Shelf]:
    """One shelf per side of the member's taste, named by what tells that side apart."""
    known = draft.taste.known.rows[:_CLUSTERED_LIKES]
    features = draft.catalog.corpus.features
    liked_features = features[known].T.tocsr()
    alike = _dense(features[known] @ liked_features)
    near = _dense(features[draft.pool] @ liked_features)
    named: set[_Name] = set()
    for members in _clusters(alike, draft.taste.known.weights[:_CLUSTERED_LIKES]):
        liked = known[members]
        name = _telling_name(draft, liked, named)
        if name is None:
            continue
        named.add(name)
        holding = name.holding(draft, draft.pool)
        places = np.flatnonzero(np.isin(draft.pool, holding))
        fit = _unit(near[places][:, members].sum(axis=1)) + _unit(draft.scores[draft.pool[places]])
        rows = draft.pool[places[np.argsort(-fit, kind="stable")]]
        yield _value_shelf(draft, GroupKind.TASTE, name, rows, artist=_voice_of(draft, liked))


def _voice_of(draft: Draft, liked: Rows) -> str:
    """The artist that stands for some likes; "" where none does."""
    terms = draft.catalog.terms["artist"]
    codes = terms.leading[liked]
    counts = np.bincount(codes[codes >= 0], minlength=1)
    best = int(counts.argmax())
    if counts[best] < max(2.0, _STANDS_FOR * len(liked)):
        return ""
    row = int(liked[codes == best][0])
    return str(artist_of(draft.catalog.view(row), draft.query.locale))


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


def _telling_name(draft: Draft, liked: Rows, named: set[_Name]) -> _Name | None:
    """What most tells these likes from the catalog and what the pool can fill a shelf with.

    Worth = share among the likes × log of how much larger it is than among all songs.
    """
    found = {kind: _telling_values(draft, kind, liked) for kind in ("mood", "genre", "anime")}
    ranked = [
        (worth, _Name(**{kind: code})) for kind, values in found.items() for code, worth in values
    ]
    holders = {kind: _holders(draft, kind, liked) for kind in ("mood", "genre")}
    ranked += [
        (worth, _Name(mood=mood, genre=genre))
        for mood, _ in found["mood"]
        for genre, _ in found["genre"]
        if (worth := _pair_worth(draft, holders, mood, genre)) > 0
    ]
    for _, name in sorted(ranked, key=lambda one: -one[0]):
        if not any(name.overlaps(other) for other in named) and _fills(
            draft, name.holding(draft, draft.pool)
        ):
            return name
    return None


def _telling_values(draft: Draft, kind: str, liked: Rows) -> list[tuple[int, float]]:
    """Codes of a kind that some likes share more than the catalog, and what each is worth."""
    codes, counts = np.unique(draft.catalog.terms[kind].gather(liked)[0], return_counts=True)
    share = counts.astype(np.float32) / len(liked)
    worth = share * np.log((share + 0.01) / (draft.catalog.prior[kind][codes] + 0.01))
    best = np.argsort(-worth, kind="stable")[:_NAMES_TRIED].tolist()
    return [(int(codes[place]), float(worth[place])) for place in best if worth[place] > 0]


def _holders(draft: Draft, kind: str, rows: Rows) -> dict[int, set[int]]:
    """{code: places in `rows` that hold it}"""
    codes, owners = draft.catalog.terms[kind].gather(rows)
    held: dict[int, set[int]] = {-1: set(range(len(rows)))}
    for code, owner in zip(codes.tolist(), owners.tolist(), strict=True):
        held.setdefault(code, set()).add(owner)
    return held


def _pair_worth(
    draft: Draft, holders: dict[str, dict[int, set[int]]], mood: int, genre: int
) -> float:
    """As `_telling_name` says, of a mood and a genre together. holders: of the likes, by kind and code."""
    liked = holders["mood"][-1]
    both = len(holders["mood"][mood] & holders["genre"][genre]) / len(liked)
    # As if the two had nothing to do with each other: good enough to rank by.
    expected = float(draft.catalog.prior["mood"][mood] * draft.catalog.prior["genre"][genre])
    return _PAIR_WORTH * both * float(np.log((both + 0.01) / (expected + 0.01)))


def _fills(draft: Draft, rows: Rows) -> bool:
    """Whether the songs fill a shelf, counting few of each artist."""
    counts = Counter(draft.catalog.terms["artist"].leading[rows].tolist())
    nameless = counts.pop(-1, 0)
    voices = sum(min(count, _SAME_ARTIST_ON_A_SHELF) for count in counts.values())
    return voices + nameless >= _GOOD_LENGTH


def _value_shelf(
    draft: Draft, shelf_kind: GroupKind, name: _Name, rows: Rows, *, artist: str = ""
) -> Shelf:
    terms, locale = draft.catalog.terms, draft.query.locale
    mood = terms["mood"].names[name.mood] if name.mood >= 0 else ""
    genre = terms["genre"].names[name.genre] if name.genre >= 0 else ""
    anime = terms["anime"].names[name.anime] if name.anime >= 0 else ""
    return Shelf(
        kind=shelf_kind,
        label=anime or value_label(locale, mood=mood, genre=genre),
        rows=rows,
        subject=anime or " ".join(filter(None, (mood, genre))),
        about=About(mood=mood, genre=genre, subject=anime or genre or mood, artist=artist),
    )


def _artist_expansion(draft: Draft) -> list[Shelf]:
    """The best song each of artists the member has not heard, those first that are near as a whole.

    An artist is as near as his best song and half of the next one: one stray hit is no kinship.
    """
    terms = draft.catalog.terms["artist"]
    pool = draft.pool
    songs = pool[(terms.leading[pool] >= 0) & are_new_artists(draft, pool)]
    best: dict[int, int] = {}
    nearness: dict[int, float] = {}
    for row, artist in zip(songs.tolist(), terms.leading[songs].tolist(), strict=True):
        if artist not in best:
            best[artist], nearness[artist] = row, float(draft.scores[row])
        elif nearness[artist] == float(draft.scores[best[artist]]):
            nearness[artist] += float(draft.scores[row]) / 2
    near = sorted(best, key=lambda artist: -nearness[artist])
    rows = np.array([best[artist] for artist in near], np.int32)
    return [_special(draft, GroupKind.ARTIST_EXPANSION, rows)]


def _hidden_gems(draft: Draft) -> list[Shelf]:
    """Songs few members like that match strongly, those of little-known artists first.

    Without any likes nothing is hidden.
    """
    catalog = draft.catalog
    if not len(draft.pool) or not catalog.liked_by_count.any():
        return []
    scores = draft.scores[draft.pool]
    strong = draft.pool[(scores > 0) & (scores >= _STRONG * scores.max())]
    rare = strong[catalog.fame_rank[strong] < draft.settings.shaping.gem_popularity]
    stars = catalog.artist_fame_rank[rare] >= _STAR
    return [_special(draft, GroupKind.HIDDEN_GEMS, np.concatenate([rare[~stars], rare[stars]]))]


def _crossover(draft: Draft) -> list[Shelf]:
    """A genre the member does not hear, among the songs his likes lead to; the best one first."""
    terms, mix = draft.catalog.terms["genre"], draft.taste.mix["genre"]
    if not mix.any():
        return []
    codes, owners = terms.gather(draft.pool)
    heard = np.zeros(len(draft.pool), bool)
    heard[owners[mix[codes] >= _UNHEARD_SHARE]] = True
    found = []
    for code in np.unique(codes[~heard[owners]]).tolist():
        rows = draft.pool[np.unique(owners[(codes == code) & ~heard[owners]])]
        if _fills(draft, rows):
            worth = float(draft.scores[rows[:_GOOD_LENGTH]].sum())
            found.append((worth, _special(draft, GroupKind.CROSSOVER, rows, terms.names[code])))
    return [shelf for _, shelf in sorted(found, key=lambda one: -one[0])]


def _artist_picks(draft: Draft) -> list[Shelf]:
    """More songs of an artist liked most, from the whole catalog; another of the first ones each day."""
    share, terms = draft.taste.mix["artist"], draft.catalog.terms["artist"]
    liked = np.flatnonzero(share)
    listed = _versions_of_the_pool(draft)
    full: list[Shelf] = []
    thin: list[Shelf] = []
    for code in liked[np.argsort(-share[liked], kind="stable")][:_ARTISTS_TRIED].tolist():
        if len(full) == _ARTISTS_IN_TURN:
            break
        rows = _one_version_each(draft, terms.rows_of(code), listed)
        if len(rows) < _LEAST_LENGTH:
            continue
        name = artist_of(draft.catalog.view(int(rows[0])), draft.query.locale)
        pick = _special(draft, GroupKind.ARTIST, rows, str(name))
        (full if len(rows) >= _GOOD_LENGTH else thin).append(pick)
    first = draft.query.seed % len(full) if full else 0
    return [*full[first:], *full[:first], *thin]


def _versions_of_the_pool(draft: Draft) -> dict[int, int]:
    """{least row of the versions of a song: the version that is in the pool}"""
    return dict(zip(draft.catalog.same_song[draft.pool].tolist(), draft.pool.tolist(), strict=True))


def _one_version_each(draft: Draft, rows: Rows, listed: dict[int, int]) -> Rows:
    """The best songs that may be shown and suit the moment, one version each: the listed one if there is."""
    rows = rows[draft.alive[rows]]
    if "context" in draft.parts:
        rows = rows[draft.parts["context"][rows] >= 0]
    rows = _best_first(draft, rows)
    chosen: dict[int, int] = {}
    for row, root in zip(rows.tolist(), draft.catalog.same_song[rows].tolist(), strict=True):
        chosen.setdefault(root, listed.get(root, row))
    return np.array(list(chosen.values()), np.int32)


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
                rows = terms.holding(draft.pool, code)
                yield _value_shelf(draft, shelf_kind, _Name(**{kind: code}), rows)


def _popular(draft: Draft) -> list[Shelf]:
    catalog = draft.catalog
    loved = catalog.liked_by_count[draft.pool] >= _MANY_LIKES
    popular = draft.pool[(catalog.popularity_rank[draft.pool] >= _POPULAR_RANK) & loved]
    by_likes = np.argsort(-catalog.corpus.popularity[popular], kind="stable")
    return [_special(draft, GroupKind.POPULAR, popular[by_likes])]


def _fresh(draft: Draft) -> list[Shelf]:
    if draft.catalog.is_mostly_new:
        return []
    recency = draft.catalog.corpus.recency[draft.pool]
    return [_special(draft, GroupKind.FRESH, draft.pool[recency >= FRESH_RECENCY])]


def _special(draft: Draft, kind: GroupKind, rows: Rows, subject: str = "") -> Shelf:
    label = LABELS[draft.query.locale][kind].format(subject=term_in(draft.query.locale, subject))
    return Shelf(kind=kind, label=label, rows=rows, subject=subject, about=About(subject=subject))


def _best_first(draft: Draft, rows: Rows) -> Rows:
    """The best of the rows, more than any shelf can take."""
    if len(rows) > _LOOKED_AT:
        best = np.argpartition(-draft.scores[rows], _LOOKED_AT)[:_LOOKED_AT]
        rows = rows[best]
    return rows[np.argsort(-draft.scores[rows], kind="stable")]


def _unit(values: Floats) -> Floats:
    top = float(np.abs(values).max(initial=0.0))
    return values / top if top > 0 else values
