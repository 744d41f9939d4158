"""Holds what is known of a member at the moment of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Rows, no_floats, no_rows


@dataclass(frozen=True, kw_only=True)
class KnownSongs:
    """What is known of a member at the moment of the request."""

    #: (k,) distinct catalog rows, newest first.
    rows: Rows
    #: (k,) positive: strength of the signal, age decay included.
    weights: Floats
    #: Rows with a negative signal, and how strong (positive numbers).
    disliked: Rows = field(default_factory=no_rows)
    disliked_weights: Floats = field(default_factory=no_floats)
    #: (k,) how often each was sung or played; empty = once each.
    counts: Floats = field(default_factory=no_floats)
    #: (k,) days since the last time; empty = not known.
    age_days: Floats = field(default_factory=no_floats)
    #: Rows of the sitting that is going on (sung or played in the last hours), oldest first.
    session: Rows = field(default_factory=no_rows)
    #: (e,) every earlier time a song was sung or played, one row per time, and how many days ago.
    sung: Rows = field(default_factory=no_rows)
    sung_days_ago: Floats = field(default_factory=no_floats)

    @classmethod
    def nothing(cls) -> KnownSongs:
        return cls(rows=no_rows(), weights=no_floats())

    @classmethod
    def liked(cls, rows: Sequence[int] | Rows) -> KnownSongs:
        """Plain likes of equal strength."""
        array = np.asarray(rows, np.int32)
        return cls(rows=array, weights=np.ones(len(array), np.float32))

    @classmethod
    def in_sitting(
        cls, session: Rows, *, sung: Rows | None = None, sung_days_ago: Floats | None = None
    ) -> KnownSongs:
        """In the middle of a sitting, with or without earlier ones."""
        songs = np.unique(session).astype(np.int32)
        return cls(
            rows=songs,
            weights=np.ones(len(songs), np.float32),
            session=session.astype(np.int32),
            sung=no_rows() if sung is None else sung.astype(np.int32),
            sung_days_ago=no_floats() if sung_days_ago is None else sung_days_ago,
        )

    @property
    def count(self) -> int:
        return len(self.rows)

    def normalized(self, power: float = 1.0) -> KnownSongs:
        """Weights to this power, divided by their mean, as in training."""
        if not self.count:
            return self
        raised = self.weights ** np.float32(power)
        return replace(self, weights=raised / np.float32(raised.mean()))

    def vector(self, n_songs: int) -> csr_matrix:
        """(1, n) weights of the known songs."""
        return csr_matrix((self.weights, self.rows, [0, self.count]), shape=(1, n_songs))


def stack(knowns: Sequence[KnownSongs], n_songs: int) -> csr_matrix:
    """(len(knowns), n) weights of what is known of each."""
    if not knowns:
        return csr_matrix((0, n_songs), dtype=np.float32)
    ends = np.cumsum([0, *(known.count for known in knowns)])
    data = np.concatenate([known.weights for known in knowns])
    rows = np.concatenate([known.rows for known in knowns])
    return csr_matrix((data, rows, ends), shape=(len(knowns), n_songs), dtype=np.float32)
