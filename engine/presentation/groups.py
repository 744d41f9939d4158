"""Decides which groups a member sees, and which song is in which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from engine.arrays import Rows
from engine.presentation.group_rows import (
    GOOD_LENGTH,
    MAX_SAME_ARTIST,
    MIN_LENGTH,
    RowGroup,
    to_unit,
)
from engine.presentation.special_groups import (
    artist_expansion,
    artist_picks,
    crossover,
    fresh,
    hidden_gems,
    popular,
    value_groups,
)
from engine.presentation.taglines import About, tagline
from engine.presentation.taste_groups import taste_groups
from engine.presentation.wording import situation_label
from engine.ranking.draft import Draft
from engine.ranking.situations import situations_of, suiting
from engine.types import GroupKind
from engine.weights import ScoreAdjustment

#: With fewer groups than this, those of only `MIN_LENGTH` songs are taken as well.
_MIN_GROUPS = 4
#: Minimum logarithm of a multiplier for a song that suits a situation.
_MIN_SUITING = 0.05
_SINGLE_ARTIST_KINDS = {GroupKind.ARTIST, GroupKind.ANIME}
#: Groups every member with a known taste gets: artist, artist expansion, hidden gems, crossover.
_PROMISED_GROUPS = 4


def make_groups(draft: Draft) -> list[RowGroup]:
    """Distribute the songs of the pool to groups: each song once, two songs at least.

    Proposals come best first, each with alternatives of which the first that can be filled is taken.
    """
    limit = draft.settings.shaping.groups
    draft = replace(draft, pool=_fitting_the_moment(draft))
    builder = _GroupBuilder(draft)
    short: list[RowGroup] = []
    for alternatives in _proposals(draft):
        if len(builder.groups) == limit:
            break
        if not any(builder.add(group, min_length=GOOD_LENGTH) for group in alternatives):
            short += alternatives[:1]
    for proposal in short:
        if len(builder.groups) >= min(_MIN_GROUPS, limit):
            break
        builder.add(proposal, min_length=MIN_LENGTH)
    return builder.groups


def _fitting_the_moment(draft: Draft) -> Rows:
    """The pool without the songs that do not suit the situation, if enough are left to fill the groups."""
    part = draft.parts.get(ScoreAdjustment.CONTEXT)
    if part is None:
        return draft.pool
    fitting = draft.pool[part[draft.pool] >= 0]
    shaping = draft.settings.shaping
    enough = 2 * shaping.groups * shaping.songs_per_group
    return fitting if len(fitting) >= min(enough, len(draft.pool) // 3) else draft.pool


class _GroupBuilder:
    """Fills groups in turn and remembers which songs are taken."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.groups: list[RowGroup] = []
        self.taken: set[int] = set()
        self.roots: set[int] = set()

    def add(self, group: RowGroup, *, min_length: int) -> bool:
        """Fill the group with songs that are not taken; False when there are too few."""
        if any(group.label == other.label for other in self.groups):
            return False
        rows = self._free_rows(group)
        if len(rows) < min_length:
            return False
        self.taken.update(rows)
        self.roots.update(self.draft.catalog.same_song[rows].tolist())
        query = self.draft.query
        line = tagline(
            group.kind,
            query.locale,
            query.seed + len(self.groups),
            about=group.about,
            taken={other.tagline for other in self.groups},
        )
        self.groups.append(replace(group, rows=np.array(rows, np.int32), tagline=line))
        return True

    def _free_rows(self, group: RowGroup) -> list[int]:
        """The group's songs that are not taken, few of each artist, at most a group full."""
        catalog = self.draft.catalog
        artists, same_song = catalog.terms["artist"].leading, catalog.same_song
        limit = len(group.rows) if group.kind in _SINGLE_ARTIST_KINDS else MAX_SAME_ARTIST
        found: list[int] = []
        per_artist: Counter[int] = Counter()
        for row in group.rows.tolist():
            artist = int(artists[row])
            is_taken = row in self.taken or int(same_song[row]) in self.roots
            if is_taken or (artist >= 0 and per_artist[artist] >= limit):
                continue
            per_artist[artist] += 1
            found.append(row)
            if len(found) == self.draft.settings.shaping.songs_per_group:
                break
        return found


def _proposals(draft: Draft) -> Iterator[list[RowGroup]]:
    """Groups to try, the best first, each a list of alternatives."""
    situations = [[group] for group in _situations(draft)]
    yield from situations
    if draft.taste.known.count:
        tastes = ([group] for group in taste_groups(draft))
        room = draft.settings.shaping.groups - len(situations) - _PROMISED_GROUPS
        yield from islice(tastes, max(room, 1))
        # Beyond the member's own taste; where not all fit, each day starts with another one.
        special = (artist_picks, artist_expansion, hidden_gems, crossover)
        first = draft.query.seed % len(special) if room < 1 else 0
        for proposal in special[first:] + special[:first]:
            yield proposal(draft)
        yield from tastes
    else:
        yield from (popular(draft), fresh(draft))
    yield from ([group] for group in value_groups(draft))
    yield from (popular(draft), fresh(draft), hidden_gems(draft))


def _situations(draft: Draft) -> Iterable[RowGroup]:
    """A group for the requested activity and mood; for the time of day only without an activity.

    Those songs come first that also suit the member.
    """
    part = draft.parts.get(ScoreAdjustment.CONTEXT)
    if part is None:
        return
    fitting = draft.pool[part[draft.pool] > _MIN_SUITING]
    for situation in situations_of(draft):
        if situation.name == draft.query.context.time_of_day and draft.query.context.activity:
            continue
        suits = suiting(draft.catalog, situation.words)[fitting]
        rows, suits = fitting[suits > _MIN_SUITING], suits[suits > _MIN_SUITING]
        worth = to_unit(suits) + to_unit(draft.scores[rows])
        name, mood = situation.name, situation.name if situation.is_mood else ""
        yield RowGroup(
            kind=GroupKind.SITUATION,
            label=situation_label(draft.query.locale, name, is_mood=situation.is_mood),
            rows=rows[np.argsort(-worth, kind="stable")],
            subject=name,
            about=About(mood=mood, subject="" if mood else name, situation=name),
        )
