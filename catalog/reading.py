"""Reads whole tables into columns, and detects changes in them cheaply."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connections
from django.db.models import BigIntegerField, Count, Func, IntegerField, Max, Model, Q, QuerySet
from django.db.models.expressions import RawSQL

from catalog.models import Anime, BitBoolean, PlaylistSong, Song, SongLike
from catalog.queries import catalog_alias, has_is_active
from engine.types import SongView

#: Rows per round trip: short queries keep timeouts short and memory small.
SONGS_PER_ROUND = 5_000
#: Ids per digest: the songs that have to be read again when one of them changed.
SONGS_PER_STRETCH = 500
LIKES_PER_ROUND = 20_000
#: Karaoke numbers and ids leave as 32-bit integers.
INT32_MAX = 2**31 - 1
_MICROSECOND = timedelta(microseconds=1)

#: Text columns of a song that are shown, searched or compared; not the lyrics.
SONG_TEXTS = (
    "title_jp",
    "title_kr",
    "title_en",
    "title_yomi",
    "title_yomi_kr",
    "title_en_kr",
    "artist",
    "artist_kr",
    "genre",
    "mood",
    "lang",
    "anime_type",
)
SONG_NUMBERS = ("song_id", "tj_number", "ky_number", "anime_id")

Ids = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Likes:
    """Likes and playlist places of all members, as columns of equal length within likes and within places."""

    members: Ids
    songs: Ids
    at_s: Seconds  #: epoch seconds, NaN = no date
    place_members: Ids
    place_songs: Ids
    places: Seconds
    place_at_s: Seconds

    @property
    def like_columns(self) -> tuple[Any, ...]:
        return self.members, self.songs, self.at_s

    @property
    def place_columns(self) -> tuple[Any, ...]:
        return self.place_members, self.place_songs, self.places, self.place_at_s

    def save(self, directory: Path) -> None:
        directory.mkdir()
        for name, column in vars(self).items():
            np.save(directory / f"{name}.npy", column, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Likes:
        """Map what `save` wrote. Raises OSError, EOFError or ValueError when it is not whole."""
        names = [column.name for column in fields(cls)]
        return cls(
            **{name: np.load(directory / f"{name}.npy", allow_pickle=False) for name in names}
        )


def read_songs(stretches: Sequence[int] | None = None) -> Iterator[SongView]:
    """Yield every song, inactive ones too, in the order of their ids; or those of some stretches of ids."""
    columns = ("song_id", "tj_number", "ky_number", "created_at", "anime__title", *SONG_TEXTS)
    songs = Song.objects.order_by("song_id").values_list(*columns)
    if stretches is not None:
        firsts = [stretch * SONGS_PER_STRETCH for stretch in stretches]
        ranges = [Q(song_id__range=(first, first + SONGS_PER_STRETCH - 1)) for first in firsts]
        songs = songs.filter(reduce(or_, ranges, Q(pk=None)))
    for song_id, tj_number, ky_number, created_at, anime, *texts in _by_key(
        songs, "song_id", SONGS_PER_ROUND
    ):
        yield SongView(
            song_id=song_id,
            tj_number=_karaoke_number(tj_number),
            ky_number=_karaoke_number(ky_number),
            created_at=created_at,
            anime=anime or "",
            **dict(zip(SONG_TEXTS, texts, strict=True)),
        )


def ids_in(song_ids: Ids, stretches: Sequence[int]) -> set[int]:
    """The ids that lie in the stretches."""
    return set(song_ids[np.isin(song_ids // SONGS_PER_STRETCH, stretches)].tolist())


def _karaoke_number(number: int | None) -> int | None:
    return number if number and 0 < number <= INT32_MAX else None


def read_inactive() -> list[int]:
    """Return the ids of songs that must not be shown; empty where the table has no `is_active`.

    NULL counts as active: rows older than the column hold it.
    """
    if not has_is_active(catalog_alias()):
        return []
    flags = Song.objects.annotate(flag=RawSQL("song.is_active", (), output_field=BitBoolean()))
    rows = _by_key(
        flags.order_by("song_id").values_list("song_id", "flag"), "song_id", LIKES_PER_ROUND
    )
    return [song_id for song_id, flag in rows if flag is False]


def read_likes() -> Likes:
    """Read every like and playlist place; dates as epoch seconds."""
    at = _WallClock("created_at")
    likes = SongLike.objects.order_by("id").values_list("id", "member_id", "song_id", at)
    places = PlaylistSong.objects.order_by("id").values_list(
        "id", "playlist__member_id", "song_id", "song_order", at
    )
    _, members, songs, at_us = _columns(_by_key(likes, "id", LIKES_PER_ROUND), "iiif")
    _, place_members, place_songs, order, place_at_us = _columns(
        _by_key(places, "id", LIKES_PER_ROUND), "iiiff"
    )
    zone = connections[catalog_alias()].timezone or UTC
    return Likes(
        members=members,
        songs=songs,
        at_s=_epoch_s(at_us, zone),
        place_members=place_members,
        place_songs=place_songs,
        places=order,
        place_at_s=_epoch_s(place_at_us, zone),
    )


def _by_key(rows: QuerySet[Any, Any], key: str, size: int) -> Iterator[tuple[Any, ...]]:
    """Yield all rows in pages by primary key, which the first column holds."""
    after = None
    while page := list((rows if after is None else rows.filter(**{f"{key}__gt": after}))[:size]):
        yield from page
        if len(page) < size:
            return
        after = page[-1][0]


def _columns(rows: Iterator[tuple[Any, ...]], kinds: str) -> list[Any]:
    """Collect rows into one array per column: i = integer, f = number or NaN.

    Rows pass through in pages, so Python objects of the whole table never exist at once.
    """
    parts: list[list[Any]] = [[] for _ in kinds]
    page: list[tuple[Any, ...]] = []
    for row in rows:
        page.append(row)
        if len(page) == LIKES_PER_ROUND:
            _append(parts, page, kinds)
            page = []
    _append(parts, page, kinds)
    return [np.concatenate(part) for part in parts]


def _append(parts: list[list[Any]], page: list[tuple[Any, ...]], kinds: str) -> None:
    for place, kind in enumerate(kinds):
        dtype = np.int64 if kind == "i" else np.float64
        parts[place].append(np.array([row[place] for row in page], dtype))


class _WallClock(Func):
    """Microseconds since 1970 by the clock the table's times are written in, NULL without one.

    A million numbers are read in a third of the time of a million datetimes.
    """

    template = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', %(expressions)s)"
    output_field = BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite knows milliseconds."""
        days = "(JULIANDAY(%(expressions)s) - 2440587.5)"
        template = f"CAST(ROUND({days} * 86400000) AS INTEGER) * 1000"
        return self.as_sql(compiler, connection, template=template, **context)


def _epoch_s(wall_us: Seconds, zone: tzinfo) -> Seconds:
    """Epoch seconds of microseconds by the zone's clock. Its offset is computed once for each hour that occurs."""
    known = np.flatnonzero(~np.isnan(wall_us))
    hours, places = np.unique(wall_us[known] // 3.6e9, return_inverse=True)
    walls = (datetime(1970, 1, 1, tzinfo=zone) + timedelta(hours=hour) for hour in hours.tolist())
    ahead_us = np.array([(wall.utcoffset() or timedelta()) / _MICROSECOND for wall in walls])
    epoch_us = wall_us.copy()
    epoch_us[known] -= ahead_us[places]
    return epoch_us / 1e6


# --- Change detection -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Cheap signs that a table may have changed. Compared, never interpreted."""

    songs: str
    likes: str
    n_songs: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_marks() -> Marks:
    """Read the marks: a few milliseconds on a large catalog.

    MySQL knows when a table was last written to (by the second; unknown after its restart until the
    next write). SQLite knows whether another connection wrote anything.
    """
    counted = Song.objects.aggregate(n=Count("pk"), last=Max("pk"))
    written = _last_writes()
    songs = [counted["n"], counted["last"], written.get("song"), written.get("anime")]
    likes: list[object] = [
        written.get(table) for table in ("song_like", "playlist_song", "playlist")
    ]
    if None in likes:  # not written to since the server started, or SQLite
        likes += [_extent(SongLike), _extent(PlaylistSong)]
    return Marks(songs=json.dumps(songs), likes=json.dumps(likes), n_songs=counted["n"])


def _extent(model: type[Model]) -> list[int | None]:
    found = model._default_manager.aggregate(n=Count("pk"), last=Max("pk"))
    return [found["n"], found["last"]]


def _last_writes() -> dict[str, str]:
    """Return the time of the last write by table, as far as the database knows it.

    A write within the last two seconds is marked as unsettled: another one may follow in that second.
    """
    connection = connections[catalog_alias()]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA data_version")
            version = str(cursor.fetchone()[0])
            return dict.fromkeys(("song", "anime"), version)
        if not connection.mysql_is_mariadb:  # type: ignore[attr-defined]  # MySQL 8 answers from yesterday's statistics otherwise
            cursor.execute("SET SESSION information_schema_stats_expiry = 0")
        cursor.execute(
            "SELECT table_name, CAST(update_time AS CHAR), update_time > NOW() - INTERVAL 2 SECOND"
            " FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN"
            " ('song', 'anime', 'song_like', 'playlist', 'playlist_song')"
        )
        rows = cursor.fetchall()
    return {str(name).lower(): f"{at}{'~' if fresh else ''}" for name, at, fresh in rows if at}


def songs_checksum() -> str:
    """Return a digest of everything read of songs, by stretch of ids: equal content, equal digest.

    Costs one scan of the table, on the server where it can compute it, so it is computed only when
    `read_marks` differ, and at long intervals. `changed_stretches` finds where two of them differ.
    """
    if connections[catalog_alias()].vendor == "mysql":
        return json.dumps(_checksum_on_server())
    digests: dict[int, int] = {}
    columns = (*SONG_NUMBERS, "created_at", "anime__title", *SONG_TEXTS)
    for row in _by_key(
        Song.objects.order_by("song_id").values_list(*columns), "song_id", SONGS_PER_ROUND
    ):
        stretch = row[0] // SONGS_PER_STRETCH
        content = repr(row).encode("utf-8", "replace")
        digests[stretch] = zlib.crc32(content, digests.get(stretch, 0))
    inactive = zlib.crc32(repr(read_inactive()).encode())
    return json.dumps({"songs": {str(key): crc for key, crc in digests.items()}, "off": inactive})


def changed_stretches(before: str, after: str) -> list[int] | None:
    """The stretches of ids in which songs differ; None when the checksums can't be compared."""
    try:
        one, other = json.loads(before), json.loads(after)
        if one.get("anime") != other.get("anime"):
            return None  # the name of a work belongs to songs of any stretch
        names = {*one["songs"], *other["songs"]}
        return sorted(int(n) for n in names if one["songs"].get(n) != other["songs"].get(n))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _checksum_on_server() -> dict[str, Any]:
    names = [*SONG_NUMBERS, *SONG_TEXTS, "created_at"]
    if has_is_active(catalog_alias()):
        names.append("is_active")
    joined = ", '|', ".join(f"COALESCE(HEX(song.{name}), '-')" for name in names)
    stretch = RawSQL(f"song.song_id DIV {SONGS_PER_STRETCH}", (), output_field=IntegerField())
    songs = (
        Song.objects.annotate(stretch=stretch)
        .values("stretch")
        .annotate(n=Count("pk"), sum=_Crc(joined))
        .order_by()
        .values_list("stretch", "n", "sum")
    )
    anime = Anime.objects.aggregate(
        n=Count("pk"), sum=_Crc("anime.anime_id, '|', HEX(anime.title)")
    )
    return {
        "songs": {str(stretch): f"{n} {crc}" for stretch, n, crc in songs},
        "anime": [anime["n"], str(anime["sum"])],
    }


class _Crc(RawSQL):
    """Order-free digest over all rows of a query."""

    contains_aggregate = True

    def __init__(self, columns: str) -> None:
        super().__init__(f"BIT_XOR(CRC32(CONCAT({columns})))", (), output_field=IntegerField())

    def get_group_by_cols(self) -> list[Any]:
        return []
