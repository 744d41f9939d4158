"""Proposes groups beyond the member's own taste: artists, hidden gems, other genres, popular and new songs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.arrays import Rows
from engine.catalog.catalog import FRESH_RECENCY
from engine.presentation.group_rows import (
    GOOD_LENGTH,
    MIN_LENGTH,
    RowGroup,
    fills_a_group,
    special_group,
)
from engine.presentation.taste_groups import TasteName, value_group
from engine.presentation.wording import artist_of
from engine.ranking.boosts import are_new_artists
from engine.ranking.draft import Draft
from engine.types import GroupKind
from engine.weights import ScoreAdjustment

#: A genre below this share of the likes counts as new to the member.
_MAX_UNHEARD_SHARE = 0.03
#: A strong match scores at least this share of the best song of the pool.
_MIN_SCORE_SHARE = 0.25
#: Fame rank of an artist from which their songs come last among the hidden gems.
_STAR_RANK = 0.9
_MIN_POPULARITY_RANK = 0.9
#: Minimum likes of a popular song, whatever its rank.
_MIN_LIKES = 3
#: Most liked artists that are tried (fans have all songs of some), and those that take turns.
_MAX_ARTISTS_TRIED = 12
_ARTISTS_IN_ROTATION = 3
#: Songs of one artist that are sorted.
_MAX_SORTED_SONGS = 100


def artist_expansion(draft: Draft) -> list[RowGroup]:
    """The best song of each artist that is new to the member, the nearest artists first.

    Nearness of an artist = score of their best song and half of the next one, so that one stray hit counts less.
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
    return [special_group(draft, GroupKind.ARTIST_EXPANSION, rows)]


def hidden_gems(draft: Draft) -> list[RowGroup]:
    """Songs few members like that match strongly, those of little-known artists first.

    Empty in a catalog without likes.
    """
    catalog = draft.catalog
    if not len(draft.pool) or not catalog.liked_by_count.any():
        return []
    scores = draft.scores[draft.pool]
    strong = draft.pool[(scores > 0) & (scores >= _MIN_SCORE_SHARE * scores.max())]
    rare = strong[catalog.fame_rank[strong] < draft.settings.shaping.gem_popularity]
    stars = catalog.artist_fame_rank[rare] >= _STAR_RANK
    return [
        special_group(draft, GroupKind.HIDDEN_GEMS, np.concatenate([rare[~stars], rare[stars]]))
    ]


def crossover(draft: Draft) -> list[RowGroup]:
    """Genres that are new to the member, among the songs their likes lead to; the best one first."""
    terms, mix = draft.catalog.terms["genre"], draft.taste.mix["genre"]
    if not mix.any():
        return []
    codes, owners = terms.gather(draft.pool)
    heard = np.zeros(len(draft.pool), bool)
    heard[owners[mix[codes] >= _MAX_UNHEARD_SHARE]] = True
    found = []
    for code in np.unique(codes[~heard[owners]]).tolist():
        rows = draft.pool[np.unique(owners[(codes == code) & ~heard[owners]])]
        if fills_a_group(draft, rows):
            worth = float(draft.scores[rows[:GOOD_LENGTH]].sum())
            found.append(
                (worth, special_group(draft, GroupKind.CROSSOVER, rows, terms.names[code]))
            )
    return [group for _, group in sorted(found, key=lambda one: -one[0])]


def artist_picks(draft: Draft) -> list[RowGroup]:
    """More songs of a most liked artist, from the whole catalog; each day starts with another one."""
    share, terms = draft.taste.mix["artist"], draft.catalog.terms["artist"]
    liked = np.flatnonzero(share)
    # {smallest row of the versions of a song: the version that is in the pool}
    roots = draft.catalog.same_song[draft.pool]
    listed = dict(zip(roots.tolist(), draft.pool.tolist(), strict=True))
    full: list[RowGroup] = []
    thin: list[RowGroup] = []
    for code in liked[np.argsort(-share[liked], kind="stable")][:_MAX_ARTISTS_TRIED].tolist():
        if len(full) == _ARTISTS_IN_ROTATION:
            break
        rows = _one_version_each(draft, terms.rows_of(code), listed)
        if len(rows) < MIN_LENGTH:
            continue
        name = artist_of(draft.catalog.view(int(rows[0])), draft.query.locale)
        pick = special_group(draft, GroupKind.ARTIST, rows, str(name))
        (full if len(rows) >= GOOD_LENGTH else thin).append(pick)
    first = draft.query.seed % len(full) if full else 0
    return [*full[first:], *full[:first], *thin]


def _one_version_each(draft: Draft, rows: Rows, listed: dict[int, int]) -> Rows:
    """The best songs that may be shown and suit the moment, one version each: the listed one if there is."""
    rows = rows[draft.alive[rows]]
    if ScoreAdjustment.CONTEXT in draft.parts:
        rows = rows[draft.parts[ScoreAdjustment.CONTEXT][rows] >= 0]
    if len(rows) > _MAX_SORTED_SONGS:  # still more than any group can take
        best = np.argpartition(-draft.scores[rows], _MAX_SORTED_SONGS)[:_MAX_SORTED_SONGS]
        rows = rows[best]
    rows = rows[np.argsort(-draft.scores[rows], kind="stable")]
    chosen: dict[int, int] = {}
    for row, root in zip(rows.tolist(), draft.catalog.same_song[rows].tolist(), strict=True):
        chosen.setdefault(root, listed.get(root, row))
    return np.array(list(chosen.values()), np.int32)


def value_groups(draft: Draft) -> Iterable[RowGroup]:
    """Moods, genres and anime the pool is rich in, the richest first."""
    for kind, group_kind in (
        ("mood", GroupKind.MOOD),
        ("genre", GroupKind.GENRE),
        ("anime", GroupKind.ANIME),
    ):
        terms = draft.catalog.terms[kind]
        supply = terms.counts(draft.pool)
        for code in np.argsort(-supply, kind="stable")[:3].tolist():
            if supply[code] >= MIN_LENGTH:
                rows = terms.holding(draft.pool, code)
                yield value_group(draft, group_kind, TasteName(**{kind: code}), rows)


def popular(draft: Draft) -> list[RowGroup]:
    catalog = draft.catalog
    loved = catalog.liked_by_count[draft.pool] >= _MIN_LIKES
    rows = draft.pool[(catalog.popularity_rank[draft.pool] >= _MIN_POPULARITY_RANK) & loved]
    by_likes = np.argsort(-catalog.corpus.popularity[rows], kind="stable")
    return [special_group(draft, GroupKind.POPULAR, rows[by_likes])]


def fresh(draft: Draft) -> list[RowGroup]:
    if draft.catalog.is_mostly_new:
        return []
    recency = draft.catalog.corpus.recency[draft.pool]
    return [special_group(draft, GroupKind.FRESH, draft.pool[recency >= FRESH_RECENCY])]
