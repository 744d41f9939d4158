"""Builds the rows of the demo catalog and writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from django.db import models, router, transaction

from catalog.demo.members import PlannedMember, plan_members, read_songs
from catalog.factories import (
    AnimeFactory,
    MemberFactory,
    MemberRoleFactory,
    PlaylistFactory,
    PlaylistSongFactory,
    SongFactory,
    SongLikeFactory,
)
from catalog.models import Anime, Member, MemberRole, Playlist, PlaylistSong, Song, SongLike

#: The demo is the same on every machine, but for the dates, which count back from today.
SEED = 20240101
#: Children first: the order in which the tables can be emptied.
TABLES: tuple[type[models.Model], ...] = (
    PlaylistSong,
    Playlist,
    SongLike,
    MemberRole,
    Member,
    Song,
    Anime,
)
#: Pretended age of the app: older songs arrived together on its first day.
APP_AGE_DAYS = 3 * 365
BATCH_ROWS = 1_000

Progress = Callable[[str], None]


@dataclass(kw_only=True)
class DemoRows:
    """Unsaved rows with their ids set, in the order in which they are written."""

    animes: list[Anime] = field(default_factory=list)
    songs: list[Song] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    roles: list[MemberRole] = field(default_factory=list)
    likes: list[SongLike] = field(default_factory=list)
    playlists: list[Playlist] = field(default_factory=list)
    playlist_songs: list[PlaylistSong] = field(default_factory=list)

    def groups(self) -> tuple[tuple[str, Sequence[models.Model]], ...]:
        return (
            ("애니메이션", self.animes),
            ("곡", self.songs),
            ("회원", self.members),
            ("회원 역할", self.roles),
            ("좋아요", self.likes),
            ("플레이리스트", self.playlists),
            ("플레이리스트 곡", self.playlist_songs),
        )


def load(*, now: datetime, replace: bool, say: Progress) -> DemoRows:
    """Write the demo in one transaction; `replace` empties the catalog tables first."""
    rows = _build(now=now)
    database = router.db_for_write(Song)
    with transaction.atomic(using=database):
        if replace:
            for table in TABLES:
                say(f"  비움: {table._meta.verbose_name} {table._base_manager.all().delete()[0]:,}")
        for name, group in rows.groups():
            _write(group)
            say(f"  {name}: {len(group):,}")
    return rows


def _write(group: Sequence[models.Model]) -> None:
    if group:
        type(group[0])._base_manager.bulk_create(group, batch_size=BATCH_ROWS)


def _build(*, now: datetime) -> DemoRows:
    table = read_songs()
    rows = DemoRows()
    titles = sorted({row["anime"] for row in table if row["anime"]})
    first_day = now - timedelta(days=APP_AGE_DAYS)
    rows.animes = [
        AnimeFactory.build(anime_id=number, title=title, created_at=first_day)
        for number, title in enumerate(titles, start=1)
    ]
    animes = {anime.title: anime for anime in rows.animes}
    rows.songs = [_song(row, animes, now=now) for row in table]
    for number, planned in enumerate(plan_members(table, now=now, rng=Random(SEED)), start=1):
        _add_member(rows, planned, member_id=number)
    return rows


def _song(row: dict[str, str], animes: dict[str, Anime], *, now: datetime) -> Song:
    texts = {
        name: value
        for name, value in row.items()
        if name.startswith(("title_", "artist")) or name in {"lang", "genre", "mood", "anime_type"}
    }
    return SongFactory.build(
        song_id=int(row["song_id"]),
        tj_number=int(row["tj_number"]) if row["tj_number"] else None,
        ky_number=int(row["ky_number"]) if row["ky_number"] else None,
        anime=animes.get(row["anime"]),
        created_at=_added_at(row["released"], int(row["song_id"]), now=now),
        **texts,
    )


def _added_at(released: str, song_id: int, *, now: datetime) -> datetime:
    """When the app got the song: some days after its release, or on the app's first day.

    released: "", a year (taken as its middle) or an ISO date.
    """
    day = f"{released}-07-01" if len(released) == 4 else released or "1900-01-01"
    release = datetime.fromisoformat(day).replace(tzinfo=UTC)
    arrived = release + timedelta(days=3 + song_id % 11, hours=song_id % 24)
    return min(max(arrived, now - timedelta(days=APP_AGE_DAYS)), now - timedelta(days=1))


def _add_member(rows: DemoRows, planned: PlannedMember, *, member_id: int) -> None:
    member = MemberFactory.build(
        member_id=member_id, email=planned.email, created_at=planned.joined_at
    )
    rows.members.append(member)
    rows.roles += [MemberRoleFactory.build(member=member, role=role) for role in planned.roles]
    # The song is given by id: building a Song for every like would cost more than all the rest.
    rows.likes += [
        SongLikeFactory.build(
            id=len(rows.likes) + index,
            member=member,
            song=None,
            song_id=song_id,
            created_at=liked_at,
        )
        for index, (song_id, liked_at) in enumerate(planned.likes, start=1)
    ]
    for plan in planned.playlists:
        playlist = PlaylistFactory.build(
            playlist_id=len(rows.playlists) + 1,
            title=plan.title,
            member=member,
            created_at=plan.created_at,
        )
        rows.playlists.append(playlist)
        rows.playlist_songs += [
            PlaylistSongFactory.build(
                id=len(rows.playlist_songs) + order,
                playlist=playlist,
                song=None,
                song_id=song_id,
                song_order=order,
                created_at=plan.created_at,
            )
            for order, song_id in enumerate(plan.song_ids, start=1)
        ]
