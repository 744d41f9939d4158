"""Holds a group by catalog rows, and what decides whether songs can fill one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from engine.arrays import Floats, Rows
from engine.presentation.taglines import About
from engine.presentation.vocabulary import term_in
from engine.presentation.wording import LABELS
from engine.ranking.draft import Draft
from engine.types import GroupKind

#: A group with fewer songs looks broken on a phone; `MIN_LENGTH` is accepted when groups are few.
GOOD_LENGTH = 4
MIN_LENGTH = 2
#: Songs of one artist in a group.
MAX_SAME_ARTIST = 2


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """A group by catalog rows, before it is cut to length."""

    kind: GroupKind
    label: str
    rows: Rows  #: best first
    subject: str = ""
    tagline: str = ""
    about: About = field(default_factory=About)  #: what the tagline may name


def fills_a_group(draft: Draft, rows: Rows) -> bool:
    """Whether the songs fill a group, counting few of each artist."""
    counts = Counter(draft.catalog.terms["artist"].leading[rows].tolist())
    without_artist = counts.pop(-1, 0)
    usable = sum(min(count, MAX_SAME_ARTIST) for count in counts.values())
    return usable + without_artist >= GOOD_LENGTH


def special_group(draft: Draft, kind: GroupKind, rows: Rows, subject: str = "") -> RowGroup:
    """A group with the fixed label of its kind."""
    label = LABELS[draft.query.locale][kind].format(subject=term_in(draft.query.locale, subject))
    return RowGroup(
        kind=kind, label=label, rows=rows, subject=subject, about=About(subject=subject)
    )


def to_unit(values: Floats) -> Floats:
    """Scaled so that the largest is 1 or -1."""
    top = float(np.abs(values).max(initial=0.0))
    return values / top if top > 0 else values
