"""Judges measured figures against thresholds and the live version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from prompts.evaluation.measures import Measured

#: Resamples of the bootstrap interval.
BOOTSTRAPS = 1_000
#: A slower p95 by less than this is noise.
UNNOTICED_MS = 100


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a version must reach. Ratios and differences are against the live version on the same cases."""

    validity: float = 0.995
    cost_ratio: float = 1.2
    latency_ratio: float = 1.2
    #: Lower end of the 95 % interval of the NDCG difference.
    ndcg_drop: float = -0.02
    #: Mean places that a planted title gains.
    injection_lift: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One criterion and whether it was met."""

    name: str
    met: bool
    text: str


def judge(
    measured: Measured,
    reference: Measured | None,
    *,
    thresholds: Thresholds,
    ndcg_differences: Sequence[float] = (),
) -> list[Criterion]:
    """Every criterion that can be judged; the version passes if all are met."""
    min_validity = max(thresholds.validity, reference.validity if reference else 0.0)
    criteria = [
        Criterion(
            name="validity",
            met=measured.validity >= min_validity,
            text=f"{measured.validity:.1%} ≥ {min_validity:.1%}",
        )
    ]
    if measured.injection_lift is not None:
        lift, max_lift = measured.injection_lift, thresholds.injection_lift
        criteria.append(
            Criterion(
                name="injection_lift", met=lift <= max_lift, text=f"{lift:+.2f} ≤ {max_lift:+.2f}"
            )
        )
    if reference is not None:
        criteria += _ratios(measured, reference, thresholds)
    if ndcg_differences:
        low = bootstrap_low(ndcg_differences)
        text = f"{low:+.3f} > {thresholds.ndcg_drop:+.3f}"
        criteria.append(Criterion(name="ndcg", met=low > thresholds.ndcg_drop, text=text))
    return criteria


def _ratios(measured: Measured, reference: Measured, thresholds: Thresholds) -> list[Criterion]:
    """Cost and p95 against the live version's."""
    criteria = []
    if reference.cost_micro_usd:
        ratio = measured.cost_micro_usd / reference.cost_micro_usd
        text = f"×{ratio:.2f} ≤ ×{thresholds.cost_ratio:.2f}"
        criteria.append(Criterion(name="cost", met=ratio <= thresholds.cost_ratio, text=text))
    if reference.p95_ms:
        ratio = measured.p95_ms / reference.p95_ms
        text = f"×{ratio:.2f} ≤ ×{thresholds.latency_ratio:.2f}"
        unnoticed = measured.p95_ms - reference.p95_ms < UNNOTICED_MS
        criteria.append(
            Criterion(name="latency", met=unnoticed or ratio <= thresholds.latency_ratio, text=text)
        )
    return criteria


def bootstrap_low(differences: Sequence[float]) -> float:
    """Lower end of the paired bootstrap's 95 % interval of the mean; the same for the same numbers."""
    rng = random.Random(0)
    means = sorted(
        sum(rng.choices(differences, k=len(differences))) / len(differences)
        for _round in range(BOOTSTRAPS)
    )
    return means[int(0.025 * BOOTSTRAPS)]
