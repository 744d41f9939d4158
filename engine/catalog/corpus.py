"""Holds what training and scoring see of all songs and members: likes, content, popularity, dated events."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Ids, Rows, no_rows

#: A longer pause between two songs of a member ends the sitting.
SITTING_PAUSE_S = 3 * 3600


@dataclass(frozen=True, kw_only=True)
class Events:
    """Dated interactions, one element per event and in time order; what sequences are learned from."""

    member: Rows
    row: Rows
    #: Days since any fixed day.
    day: Floats
    #: Which sitting it belongs to: events of one member with the same number are one session.
    session: Rows

    @classmethod
    def of_log(cls, member: Ids, row: Rows, at_s: npt.NDArray[np.float64]) -> Events:
        """From dated events in any order: a new sitting begins when a member paused for hours."""
        order = np.lexsort((at_s, member))
        who, when = member[order], at_s[order]
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(who) != 0) | (np.diff(when) > SITTING_PAUSE_S)
        session = np.empty(len(order), np.int64)
        session[order] = np.cumsum(begins)
        in_time = np.argsort(at_s, kind="stable")
        return cls(
            member=member[in_time].astype(np.int32),
            row=row[in_time].astype(np.int32),
            day=(at_s[in_time] / 86_400).astype(np.float32),
            session=session[in_time].astype(np.int32),
        )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What training and scoring see. Row i everywhere is `song_ids[i]`."""

    #: (n,) int64
    song_ids: Ids
    #: (m, n) positive weights: likes with age decay, plays …; may have no rows in a serving process.
    interactions: csr_matrix
    #: (n, f) TF-IDF content, rows of length 1 (or 0 where a song has no text at all).
    features: csr_matrix
    #: (n,) decayed number of likes.
    popularity: Floats
    #: (n,) growth of a recent window over a longer one; 0 = as always.
    trend: Floats
    #: (n,) 0..1, 1 = added today.
    recency: Floats
    #: (n,) number of the artist, -1 = not known; empty = not known of any song.
    artist_code: Rows = field(default_factory=no_rows)
    events: Events | None = None

    @property
    def n_songs(self) -> int:
        return len(self.song_ids)

    @cached_property
    def log_popularity(self) -> Floats:
        return np.log1p(np.maximum(self.popularity, 0)).astype(np.float32)

    @cached_property
    def liked_binary(self) -> csr_matrix:
        """(m, n) 1 where there is any positive interaction."""
        return binary(self.interactions)

    def normalized(self, power: float) -> csr_matrix:
        """(m, n) interactions to this power, each divided by the mean of its member's."""
        kept = self.interactions.tocsr().astype(np.float32)
        kept.data = np.maximum(kept.data, 0)
        kept.eliminate_zeros()
        kept.data **= np.float32(power)
        sizes = np.diff(kept.indptr)
        means = np.asarray(kept.sum(axis=1)).ravel() / np.maximum(sizes, 1)
        kept.data /= np.repeat(np.where(means > 0, means, 1), sizes).astype(np.float32)
        return kept

    @cached_property
    def liked_by(self) -> csr_matrix:
        """(n, m), the transpose, to walk from a song to its members."""
        return self.liked_binary.T.tocsr()

    @cached_property
    def postings(self) -> csr_matrix:
        """(f, n), to walk from a feature to its songs."""
        return self.features.T.tocsr()


def binary(matrix: csr_matrix) -> csr_matrix:
    """The same places with 1 in them; zeros and negative weights are no interaction."""
    kept = matrix.copy()
    kept.data = (kept.data > 0).astype(np.float32)
    kept.eliminate_zeros()
    return kept
