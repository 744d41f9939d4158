"""Joins two orders of the same songs into one."""

from __future__ import annotations

from collections.abc import Sequence

#: Dampens the weight of the very first places. Cormack, Clarke, Büttcher: "Reciprocal rank fusion
#: outperforms Condorcet and individual rank learning methods", SIGIR 2009, section 2.
RANK_CONSTANT = 60


def fuse(
    baseline: Sequence[int], picks: Sequence[int], *, model_weight: float = 0.5
) -> tuple[int, ...]:
    """All of `baseline`, in the order of reciprocal-rank fusion with `picks`.

    model_weight: 0 = the baseline as it is, 1 = the picks as they are.
    picks: best first; members of `baseline`, each at most once (others are ignored). A song that was
    not picked counts as ranked right behind the last pick, so that few picks do not push the rest
    out of sight. Ties keep the order of `baseline`.
    """
    place = {song: rank for rank, song in enumerate(picks)}
    behind = len(place)

    def score(rank: int, song: int) -> float:
        model_rank = place.get(song, behind)
        ours = (1 - model_weight) / (RANK_CONSTANT + rank)
        return ours + model_weight / (RANK_CONSTANT + model_rank)

    scored = [(-score(rank, song), rank, song) for rank, song in enumerate(baseline)]
    return tuple(song for _, _, song in sorted(scored))
