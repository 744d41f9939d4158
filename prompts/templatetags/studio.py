"""What the studio's templates need beyond Django's own tags."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.translation import gettext_lazy as _

from prompts import dashboard

#: What an evaluation judges by (prompts/evaluation/runs.py).
CRITERIA = {
    "validity": _("올바른 답"),
    "injection_lift": _("오염된 제목이 오른 칸"),
    "cost": _("비용"),
    "latency": _("p95"),
    "ndcg": _("NDCG 차이"),
    "broker": _("작업자"),
}

register = template.Library()


@register.simple_tag
def board_tiles() -> list[dashboard.Tile]:
    return dashboard.tiles()


@register.simple_tag
def board_banners() -> list[dashboard.Banner]:
    return dashboard.banners()


@register.filter
def percent(share: float) -> str:
    """0.9953 → 99.5%"""
    return f"{share:.1%}"


@register.filter
def dollars(micro_usd: float | None) -> str:
    """1234 → $0.00123"""
    return "–" if micro_usd is None else f"${micro_usd / 1e6:.5f}"


@register.filter
def criterion(name: str) -> str:
    """A verdict's criterion in staff's words."""
    return str(CRITERIA.get(name, name))


@register.filter
def get(mapping: Any, key: str) -> Any:
    return mapping.get(key)
