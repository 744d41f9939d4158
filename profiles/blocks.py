"""Blocks songs, artists and genres a member does not want to be shown."""

from __future__ import annotations

from datetime import datetime

from engine.catalog.text import fold
from profiles.models import Block, BlockKind


def blocks_of(member_key: str, *, now: datetime) -> list[Block]:
    """Return blocks in force, newest first."""
    active = Block.objects.filter(member_key=member_key).active(now)
    return list(active.order_by("-created_at", "-pk"))


def block(
    member_key: str,
    *,
    kind: str,
    song_id: int | None = None,
    name: str = "",
    until: datetime | None = None,
    now: datetime,
) -> Block:
    """Block a song, artist or genre for a member; the same block again only changes its end."""
    values = {"song_id": song_id, "name": name.strip(), "until": until}
    row, _created = Block.objects.update_or_create(
        member_key=member_key,
        kind=kind,
        key=_block_key(kind, song_id, name),
        defaults=values,
        create_defaults=values | {"created_at": now},
    )
    return row


def unblock(member_key: str, *, kind: str, song_id: int | None = None, name: str = "") -> int:
    """Remove a block; returns the number of removed blocks (0 or 1)."""
    rows = Block.objects.filter(
        member_key=member_key, kind=kind, key=_block_key(kind, song_id, name)
    )
    return rows.delete()[0]


def _block_key(kind: str, song_id: int | None, name: str) -> str:
    return str(song_id) if kind == BlockKind.SONG else fold(name)
