"""Finds members whose likes or playlists changed; songs_be sends no event, and an unlike only deletes a row."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, Max, Model, Sum
from django.db.models.functions import Coalesce

from catalog.models import PlaylistSong, SongLike
from catalog.queries import keep_active

from ..models import Job, LikeChunk
from . import member_refresh
from .kinds import DEFAULT_QUEUE, NIGHTLY_QUEUE

#: Rows per stretch. A whole look at 1 000 000 likes is 123 short queries over the primary key; a
#: stretch that changed is read again, 8 192 rows of two numbers.
STRETCH = 8_192


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A table in which a row appears or disappears when a member's taste changes."""

    name: str
    model: type[Model]
    #: Path to the member, and the columns whose sums tell that a row was changed in place.
    member: str
    song: str = "song_id"


TABLES = (
    Watched(name="song_like", model=SongLike, member="member_id"),
    Watched(name="playlist_song", model=PlaylistSong, member="playlist__member_id"),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a look found, to be noted together with whatever the caller makes of it."""

    #: Keys of active members whose likes or playlists changed, by id.
    members: list[str]
    chunks: list[LikeChunk]

    def note(self) -> None:
        """Remember what was seen, so that it is not found again."""
        for chunk in self.chunks:
            LikeChunk.objects.update_or_create(
                table=chunk.table,
                number=chunk.number,
                defaults={
                    "rows": chunk.rows,
                    "checksum": chunk.checksum,
                    "members": chunk.members,
                },
            )


def sync(job: Job) -> dict[str, Any]:
    """Refresh the members whose likes or playlists changed since the last look."""
    found = look()
    many = len(found.members) > member_refresh.BATCH
    with transaction.atomic():  # the jobs and what was seen are stored together
        queue_name = NIGHTLY_QUEUE if many else DEFAULT_QUEUE
        member_refresh.hand_out(job, found.members, queue_name=queue_name)
        found.note()
    return {"changed": len(found.members)}


def look() -> Found:
    """Compare the tables with what was last noted. The first look finds no changed members."""
    changed: set[int] = set()
    chunks: list[LikeChunk] = []
    for table in TABLES:
        known = {
            chunk.number: chunk
            for chunk in LikeChunk.objects.filter(table=table.name).defer("members")
        }
        fresh = [_read_again(table, *seen) for seen in _moved(table, known)]
        chunks += fresh
        if known:
            changed.update(*(_difference(chunk, known.get(chunk.number)) for chunk in fresh))
    return Found(members=[str(n) for n in keep_active(sorted(changed))], chunks=chunks)


def _moved(table: Watched, known: Mapping[int, LikeChunk]) -> Iterator[tuple[int, int, str]]:
    """(number, rows, checksum) of the stretches that are not as noted."""
    newest = table.model._default_manager.aggregate(newest=Max("pk"))["newest"] or 0
    for number in range(max([newest // STRETCH, *known]) + 1):
        rows, checksum = _summary(table, number)
        chunk = known.get(number)
        if (chunk.rows, chunk.checksum) != (rows, checksum) if chunk else rows > 0:
            yield number, rows, checksum


def _rows_of(table: Watched, number: int) -> Any:
    begin = number * STRETCH
    return table.model._default_manager.filter(pk__gte=begin, pk__lt=begin + STRETCH)


def _summary(table: Watched, number: int) -> tuple[int, str]:
    """Count and sums of a stretch: they differ when a row came, went or was changed."""
    sums = _rows_of(table, number).aggregate(
        rows=Count("pk"), ids=Sum("pk"), songs=Sum(table.song), owners=Sum(table.member)
    )
    return sums["rows"], f"{sums['ids']}/{sums['songs']}/{sums['owners']}"


def _read_again(table: Watched, number: int, rows: int, checksum: str) -> LikeChunk:
    # A row that comes between the summary and this read is found now, and the sums differ once more.
    columns = ("pk", Coalesce(table.member, 0), Coalesce(table.song, 0))
    return LikeChunk(
        table=table.name,
        number=number,
        rows=rows,
        checksum=checksum,
        members=_packed(set(_rows_of(table, number).values_list(*columns))),
    )


def _difference(chunk: LikeChunk, noted: LikeChunk | None) -> set[int]:
    """Members with a row that is there now and was not, or the other way round."""
    before = set(_unpacked(bytes(noted.members))) if noted is not None else set()
    return {
        member_id for _, member_id, _ in before ^ set(_unpacked(bytes(chunk.members))) if member_id
    }


def _packed(rows: set[tuple[int, int, int]]) -> bytes:
    """(id, member, song) of every row, sorted by id, so that neighbours differ little and compress well."""
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
    table[1:, 0] -= table[:-1, 0].copy()
    return zlib.compress(table.T.astype("<i8").tobytes(), 6)


def _unpacked(packed: bytes) -> Iterator[tuple[int, int, int]]:
    table = np.frombuffer(zlib.decompress(packed), dtype="<i8").reshape(3, -1).T.copy()
    table[:, 0] = np.cumsum(table[:, 0])
    return ((int(a), int(b), int(c)) for a, b, c in table)
