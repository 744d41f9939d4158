"""What the studio's templates need beyond Django's own tags."""

from __future__ import annotations

from typing import Any

from django import template

from prompts import board

register = template.Library()


@register.simple_tag
def board_tiles() -> list[board.Tile]:
    return board.tiles()


@register.simple_tag
def board_banners() -> list[board.Banner]:
    return board.banners()


@register.filter
def percent(share: float) -> str:
    """0.9953 → 99.5%"""
    return f"{share:.1%}"


@register.filter
def dollars(micro_usd: float | None) -> str:
    """1234 → $0.00123"""
    return "–" if micro_usd is None else f"${micro_usd / 1e6:.5f}"


@register.filter
def get(mapping: Any, key: str) -> Any:
    return mapping.get(key)
