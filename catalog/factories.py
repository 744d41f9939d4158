"""Builds rows of the neighbours' tables, for tests and for the demo (only where CATALOG_OWNED is on).

Import it inside the function that needs it: factory-boy brings Faker along, most of a second.
"""

from __future__ import annotations

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from catalog.models import (
    Anime,
    Member,
    MemberRole,
    Playlist,
    PlaylistSong,
    Role,
    Song,
    SongLike,
)


class AnimeFactory(DjangoModelFactory):
    class Meta:
        model = Anime

    title = factory.Sequence(lambda n: f"애니메이션 {n}")
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")


class SongFactory(DjangoModelFactory):
    """A song with a TJ number; pass `anime=AnimeFactory()` and `anime_type` for a theme song."""

    class Meta:
        model = Song

    title_jp = factory.Sequence(lambda n: f"曲その{n}")
    title_kr = factory.Sequence(lambda n: f"노래 {n}")
    title_en = ""
    title_en_kr = ""
    title_yomi = ""
    title_yomi_kr = ""
    lang = "ja"
    genre = "J-pop"
    mood = "에너지"
    artist = factory.Sequence(lambda n: f"歌手{n}")
    artist_kr = factory.Sequence(lambda n: f"가수 {n}")
    anime = None
    anime_type = ""
    # Far from real TJ numbers, so that a test's song is never mistaken for one.
    tj_number = factory.Sequence(lambda n: 900_000 + n)
    ky_number = None
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")


class MemberFactory(DjangoModelFactory):
    class Meta:
        model = Member

    email = factory.Sequence(lambda n: f"member{n}@example.invalid")
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")


class MemberRoleFactory(DjangoModelFactory):
    class Meta:
        model = MemberRole

    member = factory.SubFactory(MemberFactory)
    role = Role.USER


class SongLikeFactory(DjangoModelFactory):
    class Meta:
        model = SongLike

    member = factory.SubFactory(MemberFactory)
    song = factory.SubFactory(SongFactory)
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")


class PlaylistFactory(DjangoModelFactory):
    class Meta:
        model = Playlist

    title = factory.Sequence(lambda n: f"퇴근길 노래방 {n}")
    description = ""
    is_public = True
    member = factory.SubFactory(MemberFactory)
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")


class PlaylistSongFactory(DjangoModelFactory):
    class Meta:
        model = PlaylistSong

    playlist = factory.SubFactory(PlaylistFactory)
    song = factory.SubFactory(SongFactory)
    song_order = factory.Sequence(lambda n: n)
    created_at = factory.LazyFunction(timezone.now)
    modified_at = factory.SelfAttribute("created_at")
