"""Bounds the inexact comparisons that resolving the names of one request may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

#: What an inexact lookup costs besides its letters: it compares up to 80 songs however short the name is.
LETTERS_PER_LOOKUP = 80


@dataclass(kw_only=True)
class FuzzyBudget:
    """Letters that may still be compared. A lookup is made whole or not at all."""

    letters: float = inf

    def take(self, keys: Iterable[str]) -> bool:
        """Pay for an inexact lookup of some keys; False when the budget does not cover it."""
        cost = LETTERS_PER_LOOKUP + sum(map(len, keys))
        if cost > self.letters:
            return False
        self.letters -= cost
        return True
