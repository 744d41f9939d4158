"""Finds the sides of a member's taste: clusters of the likes, each named by its most distinctive value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows
from engine.presentation.group_rows import RowGroup, fills_a_group, to_unit
from engine.presentation.taglines import About
from engine.presentation.wording import artist_of, value_label
from engine.ranking.draft import Draft
from engine.types import GroupKind

#: Only the newest likes are clustered: taste changes.
_MAX_CLUSTERED_LIKES = 200
_MAX_CLUSTERS = 3
_CLUSTER_ROUNDS = 6
#: Values of each kind that are tried as the name of a cluster.
_MAX_NAMES_TRIED = 4
#: Bonus of a pair: "신나는 시티팝" is more specific than "신나는" or "시티팝", at a smaller share of likes.
_PAIR_BONUS = 1.25
#: Name a taste cluster after an artist who holds this share of its likes and at least two of them.
_MIN_ARTIST_SHARE = 0.4


@dataclass(frozen=True)
class TasteName:
    """The name of a taste cluster: codes of a mood, a genre, both, or an anime; -1 = none."""

    mood: int = -1
    genre: int = -1
    anime: int = -1

    def overlaps(self, other: TasteName) -> bool:
        """Whether both share a value: 신나는 록 and 신나는 팝 look like one group."""
        pairs = ((self.mood, other.mood), (self.genre, other.genre), (self.anime, other.anime))
        return any(mine == theirs >= 0 for mine, theirs in pairs)

    def holding(self, draft: Draft, rows: Rows) -> Rows:
        """Those of `rows` that hold all of it, in their order."""
        for kind, code in (("mood", self.mood), ("genre", self.genre), ("anime", self.anime)):
            if code >= 0:
                rows = draft.catalog.terms[kind].holding(rows, code)
        return rows


def taste_groups(draft: Draft) -> Iterable[RowGroup]:
    """One group per cluster of the likes, named by its most distinctive value."""
    known = draft.taste.known.rows[:_MAX_CLUSTERED_LIKES]
    features = draft.catalog.corpus.features
    liked_features = features[known].T.tocsr()
    alike = _to_dense(features[known] @ liked_features)
    near = _to_dense(features[draft.pool] @ liked_features)
    named: set[TasteName] = set()
    for members in _clusters(alike, draft.taste.known.weights[:_MAX_CLUSTERED_LIKES]):
        liked = known[members]
        name = _distinctive_name(draft, liked, named)
        if name is None:
            continue
        named.add(name)
        holding = name.holding(draft, draft.pool)
        places = np.flatnonzero(np.isin(draft.pool, holding))
        fit = to_unit(near[places][:, members].sum(axis=1)) + to_unit(
            draft.scores[draft.pool[places]]
        )
        rows = draft.pool[places[np.argsort(-fit, kind="stable")]]
        yield value_group(draft, GroupKind.TASTE, name, rows, artist=_typical_artist(draft, liked))


def _typical_artist(draft: Draft, liked: Rows) -> str:
    """The artist who dominates some likes; "" without one."""
    terms = draft.catalog.terms["artist"]
    codes = terms.leading[liked]
    counts = np.bincount(codes[codes >= 0], minlength=1)
    best = int(counts.argmax())
    if counts[best] < max(2.0, _MIN_ARTIST_SHARE * len(liked)):
        return ""
    row = int(liked[codes == best][0])
    return str(artist_of(draft.catalog.view(row), draft.query.locale))


def _to_dense(sparse: csr_matrix) -> Floats:
    return np.asarray(sparse.todense(), np.float32)


def _clusters(table: Floats, weights: Floats) -> list[npt.NDArray[np.intp]]:
    """Places of the members of each cluster, the heaviest first.

    table: (k, k) cosine. Spherical k-means over similarities, started from the newest like and
    the ones least like those before, so it is deterministic.
    """
    size = len(table)
    if size < 2:
        return [np.arange(size)]
    seeds = [0]
    while len(seeds) < min(_MAX_CLUSTERS, size):
        seeds.append(int(table[:, seeds].max(axis=1).argmin()))
    belongs = table[:, list(dict.fromkeys(seeds))].argmax(axis=1)
    for _ in range(_CLUSTER_ROUNDS):
        member = np.eye(belongs.max() + 1, dtype=np.float32)[belongs] * weights[:, None]
        towards = table @ member
        spread = np.sqrt(np.maximum((member * towards).sum(axis=0), 1e-9))
        moved = (towards / spread).argmax(axis=1)
        if (moved == belongs).all():
            break
        belongs = moved
    groups = [np.flatnonzero(belongs == number) for number in range(_MAX_CLUSTERS)]
    heavy = [group for group in groups if len(group)]
    return sorted(heavy, key=lambda group: -float(weights[group].sum()))


def _distinctive_name(draft: Draft, liked: Rows, named: set[TasteName]) -> TasteName | None:
    """The most distinctive value of these likes that the pool can fill a group with.

    Worth = share among the likes × log of its ratio to the share among all songs.
    """
    found = {kind: _distinctive_values(draft, kind, liked) for kind in ("mood", "genre", "anime")}
    ranked = [
        (worth, TasteName(**{kind: code}))
        for kind, values in found.items()
        for code, worth in values
    ]
    holders = {kind: _holders(draft, kind, liked) for kind in ("mood", "genre")}
    ranked += [
        (worth, TasteName(mood=mood, genre=genre))
        for mood, _ in found["mood"]
        for genre, _ in found["genre"]
        if (worth := _pair_worth(draft, holders, mood, genre)) > 0
    ]
    for _, name in sorted(ranked, key=lambda one: -one[0]):
        if not any(name.overlaps(other) for other in named) and fills_a_group(
            draft, name.holding(draft, draft.pool)
        ):
            return name
    return None


def _distinctive_values(draft: Draft, kind: str, liked: Rows) -> list[tuple[int, float]]:
    """Codes of a kind that some likes share more than the catalog, and what each is worth."""
    codes, counts = np.unique(draft.catalog.terms[kind].gather(liked)[0], return_counts=True)
    share = counts.astype(np.float32) / len(liked)
    worth = share * np.log((share + 0.01) / (draft.catalog.prior[kind][codes] + 0.01))
    best = np.argsort(-worth, kind="stable")[:_MAX_NAMES_TRIED].tolist()
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
    """Worth of a mood and a genre together, see `_distinctive_name`. holders: of the likes, by kind and code."""
    liked = holders["mood"][-1]
    both = len(holders["mood"][mood] & holders["genre"][genre]) / len(liked)
    # As if the two were independent: good enough to rank by.
    expected = float(draft.catalog.prior["mood"][mood] * draft.catalog.prior["genre"][genre])
    return _PAIR_BONUS * both * float(np.log((both + 0.01) / (expected + 0.01)))


def value_group(
    draft: Draft, kind: GroupKind, name: TasteName, rows: Rows, *, artist: str = ""
) -> RowGroup:
    """A group labelled with the mood, genre or anime its songs share."""
    terms, locale = draft.catalog.terms, draft.query.locale
    mood = terms["mood"].names[name.mood] if name.mood >= 0 else ""
    genre = terms["genre"].names[name.genre] if name.genre >= 0 else ""
    anime = terms["anime"].names[name.anime] if name.anime >= 0 else ""
    return RowGroup(
        kind=kind,
        label=anime or value_label(locale, mood=mood, genre=genre),
        rows=rows,
        subject=anime or " ".join(filter(None, (mood, genre))),
        about=About(mood=mood, genre=genre, subject=anime or genre or mood, artist=artist),
    )
