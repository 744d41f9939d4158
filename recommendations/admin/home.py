"""Adds the runs of the last 24 hours to the admin's home page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.translation import gettext as _

from prompts import dashboard

from ..models import Run, Source

#: Newest runs that are counted.
MAX_RUNS = 3_000
#: A larger share of degraded answers is marked as a warning.
DEGRADED_WARNING_SHARE = 0.2


def run_tiles(now: datetime) -> list[dashboard.Tile]:
    """How many runs, the model's share of them, how quick, how many degraded."""
    rows = list(
        Run.objects.filter(created_at__gt=now - timedelta(hours=24))
        .order_by("-created_at")
        .values_list("created_at", "source", "degraded", "timings__total")[:MAX_RUNS]
    )
    url = reverse("admin:recommendations_run_changelist")
    by_model = sum(source == Source.MODEL for _at, source, _why, _ms in rows)
    degraded = sum(bool(why) for _at, _source, why, _ms in rows)
    times = sorted(ms or 0 for _at, _source, _why, ms in rows)
    share = f"{by_model / len(rows):.0%}" if rows else "–"
    warn = rows and degraded > DEGRADED_WARNING_SHARE * len(rows)
    return [
        dashboard.Tile(
            label=_("추천 실행(24시간)"),
            value=f"{len(rows):,}{'+' if len(rows) == MAX_RUNS else ''}",
            url=url,
            hours=dashboard.per_hour([at for at, *_rest in rows], now),
        ),
        dashboard.Tile(label=_("모델이 고른 비율"), value=share, url=f"{url}?source__exact=model"),
        dashboard.Tile(
            label=_("추천 시간 p50 / p95"),
            value=f"{_quantile(times, 0.5):,.0f} / {_quantile(times, 0.95):,.0f} ms",
            url=url,
        ),
        dashboard.Tile(
            label=_("저하된 답"),
            value=f"{degraded:,}",
            url=url,
            tone="warn" if warn else "",
        ),
    ]


def _quantile(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


dashboard.register_tiles(run_tiles)
