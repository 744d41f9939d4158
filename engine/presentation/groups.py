"""Decides which groups a member sees, and which song is in which."""

from __future__ import annotations

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
from engine.ranking.situations import Situation, situations_of, suiting
from engine.types import GroupKind
from engine.weights import ScoreAdjustment

_MIN_GROUPS = 4
#: Logarithm of a multiplier from which a song suits a situation.
_MIN_SUITING = 0.05
_SINGLE_ARTIST_KINDS = {GroupKind.ARTIST, GroupKind.ANIME}
#: Shelves the product promises to everybody whose taste is known.
_PROMISED_GROUPS = 4


def make_groups(draft: Draft) -> list[RowGroup]:
    """Deal the songs of the pool to groups: each song once, no group of one.

    Proposals come in the order of their worth, each with alternatives of which one is taken; a thin one
    is only taken when there are few.
    """
    limit = draft.settings.shaping.groups
    draft = replace(draft, pool=_fitting_the_moment(draft))
    dealer = _GroupBuilder(draft)
    waiting: list[RowGroup] = []
    for alternatives in _proposals(draft):
        if len(dealer.dealt) == limit:
            break
        if not any(dealer.deal(group, least=GOOD_LENGTH) for group in alternatives):
            waiting += alternatives[:1]
    for proposal in waiting:
        if len(dealer.dealt) >= min(_MIN_GROUPS, limit):
            break
        dealer.deal(proposal, least=MIN_LENGTH)
    return dealer.dealt


def _fitting_the_moment(draft: Draft) -> Rows:
    """The pool without what the situation speaks against, as long as the groups can be filled."""
    part = draft.parts.get(ScoreAdjustment.CONTEXT)
    if part is None:
        return draft.pool
    fitting = draft.pool[part[draft.pool] >= 0]
    shaping = draft.settings.shaping
    enough = 2 * shaping.groups * shaping.songs_per_group
    return fitting if len(fitting) >= min(enough, len(draft.pool) // 3) else draft.pool


class _GroupBuilder:
    """Remembers which songs and which subjects are taken."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.dealt: list[RowGroup] = []
        self.taken: set[int] = set()
        self.roots: set[int] = set()

    def deal(self, group: RowGroup, *, least: int) -> bool:
        """Take what is still free; False when that is too little."""
        if any(group.label == other.label for other in self.dealt):
            return False
        rows = self._free(group)
        if len(rows) < least:
            return False
        self.taken.update(rows)
        self.roots.update(self.draft.catalog.same_song[rows].tolist())
        self.dealt.append(self._finished(group, rows))
        return True

    def _free(self, group: RowGroup) -> list[int]:
        artists = self.draft.catalog.terms["artist"].leading
        most = len(group.rows) if group.kind in _SINGLE_ARTIST_KINDS else MAX_SAME_ARTIST
        found: list[int] = []
        heard: dict[int, int] = {}
        for row in group.rows.tolist():
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

    def _finished(self, group: RowGroup, rows: list[int]) -> RowGroup:
        query = self.draft.query
        line = tagline(
            group.kind,
            query.locale,
            query.seed + len(self.dealt),
            about=group.about,
            taken={other.tagline for other in self.dealt},
        )
        return replace(group, rows=np.array(rows, np.int32), tagline=line)


def _proposals(draft: Draft) -> Iterator[list[RowGroup]]:
    """Shelves worth having, the best first, each with what may stand in for it."""
    situations = [[group] for group in _situations(draft)]
    yield from situations
    if draft.taste.known.count:
        tastes = ([group] for group in taste_groups(draft))
        room = draft.settings.shaping.groups - len(situations) - _PROMISED_GROUPS
        yield from islice(tastes, max(room, 1))
        yield from _promised(draft, start=draft.query.seed if room < 1 else 0)
        yield from tastes
    else:
        yield from (popular(draft), fresh(draft))
    yield from ([group] for group in value_groups(draft))
    yield from (popular(draft), fresh(draft), hidden_gems(draft))


def _promised(draft: Draft, *, start: int) -> Iterator[list[RowGroup]]:
    """The groups beyond the member's own taste; where not all fit, each day begins with another."""
    special = (artist_picks, artist_expansion, hidden_gems, crossover)
    first = start % len(special)
    for proposal in special[first:] + special[:first]:
        yield proposal(draft)


def _situations(draft: Draft) -> Iterable[RowGroup]:
    """A group for the activity and the mood that were named; the hour only where no activity says more."""
    part = draft.parts.get(ScoreAdjustment.CONTEXT)
    if part is None:
        return
    fitting = draft.pool[part[draft.pool] > _MIN_SUITING]
    for situation in situations_of(draft):
        if situation.name == draft.query.context.time_of_day and draft.query.context.activity:
            continue
        yield _situation_group(draft, situation, fitting)


def _situation_group(draft: Draft, situation: Situation, fitting: Rows) -> RowGroup:
    """Songs the situation speaks for, those first that suit both it and the member."""
    suits = suiting(draft.catalog, situation.words)[fitting]
    rows, suits = fitting[suits > _MIN_SUITING], suits[suits > _MIN_SUITING]
    worth = to_unit(suits) + to_unit(draft.scores[rows])
    mood = situation.name if situation.is_mood else ""
    return RowGroup(
        kind=GroupKind.SITUATION,
        label=situation_label(draft.query.locale, situation.name, is_mood=situation.is_mood),
        rows=rows[np.argsort(-worth, kind="stable")],
        subject=situation.name,
        about=About(mood=mood, subject="" if mood else situation.name, situation=situation.name),
    )
