"""The demo: what is in songs.csv, who the members are, and how `load_demo` behaves."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import combinations
from random import Random
from statistics import mean
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from catalog.demo.members import PlannedMember, plan_members, read_songs
from catalog.factories import SongFactory
from catalog.models import Anime, Member, MemberRole, Playlist, PlaylistSong, Song, SongLike

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
ROWS = read_songs()
COLUMNS = [
    "song_id",
    "title_jp",
    "title_kr",
    "title_en",
    "title_yomi",
    "title_yomi_kr",
    "title_en_kr",
    "artist",
    "artist_kr",
    "anime",
    "anime_type",
    "lang",
    "genre",
    "mood",
    "tj_number",
    "ky_number",
    "released",
]


@pytest.fixture(scope="module")
def planned() -> list[PlannedMember]:
    return plan_members(ROWS, now=NOW, rng=Random(7))


def load_demo(**options: bool) -> str:
    out = StringIO()
    call_command("load_demo", stdout=out, **options)
    return out.getvalue()


# --- The data -------------------------------------------------------------------------------------
def test_there_are_at_least_500_songs_with_the_agreed_columns() -> None:
    assert len(ROWS) >= 500
    assert list(ROWS[0]) == COLUMNS


def test_song_ids_count_up_from_one() -> None:
    assert [int(row["song_id"]) for row in ROWS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("column", ["title_jp", "title_kr", "artist", "artist_kr", "genre", "mood"])
def test_no_song_lacks(column: str) -> None:
    assert [row for row in ROWS if not row[column].strip()] == []


def test_no_song_stands_twice() -> None:
    twice = [
        name for name, n in Counter((r["title_jp"], r["artist"]) for r in ROWS).items() if n > 1
    ]
    assert twice == []


@pytest.mark.parametrize("column", ["tj_number", "ky_number"])
def test_karaoke_numbers_are_unique_and_of_the_machines_lengths(column: str) -> None:
    numbers = [row[column] for row in ROWS if row[column]]
    assert len(numbers) == len(set(numbers))
    # Japanese songs have four or five digits on both machines.
    assert [n for n in numbers if not re.fullmatch(r"[1-9]\d{3,4}", n)] == []


def test_most_songs_can_be_sung_by_number_and_unknown_numbers_stay_empty() -> None:
    with_number = [row for row in ROWS if row["tj_number"] or row["ky_number"]]
    assert 0.5 < len(with_number) / len(ROWS) < 1


def test_readings_are_kana_and_korean_titles_are_korean() -> None:
    assert [r["title_yomi"] for r in ROWS if re.search(r"[^ぁ-ゖー]", r["title_yomi"])] == []
    hangul = [row for row in ROWS if re.search("[가-힣]", row["title_kr"])]
    assert len(hangul) >= len(ROWS) - 3  # titles such as "W/X/Y" are the same in Korean


def test_theme_songs_name_their_anime() -> None:
    assert {row["anime_type"] for row in ROWS} == {"", "OP", "ED", "INSERT", "OST"}
    assert [row for row in ROWS if row["anime_type"] and not row["anime"]] == []


def test_words_of_genre_and_mood_are_a_small_vocabulary() -> None:
    """Free text with a thousand spellings would hide every taste."""
    genres = {word for row in ROWS for word in row["genre"].split(", ")}
    moods = {word for row in ROWS for word in row["mood"].split(", ")}
    assert {
        "팝",
        "록",
        "발라드",
        "일렉트로 팝",
        "보컬로이드",
        "애니송",
        "힙합",
        "R&B",
        "시티팝",
        "엔카",
    } <= genres
    assert {"J-pop 댄스팝", "J-pop 서정 팝"} <= genres
    assert {"에너지", "감성적", "강렬", "잔잔", "신나는", "서정적"} <= moods
    assert len(genres) < 25
    assert len(moods) < 20


# --- The members ----------------------------------------------------------------------------------
def test_there_are_at_least_80_members_and_two_of_them_are_deactivated(
    planned: list[PlannedMember],
) -> None:
    assert len(planned) >= 80
    assert len({member.email for member in planned}) == len(planned)
    assert sum(member.roles == ("GHOST",) for member in planned) == 2


def test_likes_are_of_the_last_18_months_and_none_is_repeated(planned: list[PlannedMember]) -> None:
    for member in planned:
        songs = [song_id for song_id, _ in member.likes]
        assert len(songs) == len(set(songs))
        assert all(NOW - timedelta(days=560) < at < NOW for _, at in member.likes)
        assert all(member.joined_at <= at for _, at in member.likes)


def test_tastes_are_distinct(planned: list[PlannedMember]) -> None:
    """Two members of one persona share far more songs than two members of different ones."""
    tastes = [(m.persona, {song for song, _ in m.likes}) for m in planned if m.persona]

    def overlap(alike: bool) -> float:
        pairs = [
            len(a & b) / len(a | b)
            for (left, a), (right, b) in combinations(tastes, 2)
            if (left == right) is alike
        ]
        return mean(pairs)

    assert overlap(alike=True) > 5 * overlap(alike=False)
    assert len({frozenset(songs) for _, songs in tastes}) == len(tastes)
    assert len({persona for persona, _ in tastes}) >= 16


def test_the_same_seed_makes_the_same_members(planned: list[PlannedMember]) -> None:
    assert plan_members(ROWS, now=NOW, rng=Random(7)) == planned
    assert plan_members(ROWS, now=NOW, rng=Random(8)) != planned


# --- The command ----------------------------------------------------------------------------------
@pytest.mark.django_db
def test_load_demo_fills_every_table() -> None:
    said = load_demo()
    assert "곡 616" in said
    assert Song.objects.count() == len(ROWS)
    assert Anime.objects.count() == len({row["anime"] for row in ROWS} - {""})
    assert Member.objects.count() >= 80
    assert MemberRole.objects.filter(role="GHOST").count() == 2
    assert PlaylistSong.objects.filter(playlist__title="퇴근길 노래방").exists()
    assert Playlist.objects.filter(is_public=True).exists()


@pytest.mark.django_db
def test_member_1_has_a_taste_worth_showing() -> None:
    load_demo()
    liked = Song.objects.filter(songlike__member_id=1)
    assert liked.count() == 15
    assert {"夜に駆ける", "Lemon"} <= {song.title_jp for song in liked}
    assert Member.objects.get(pk=1).email == "demo01@example.invalid"


@pytest.mark.django_db
def test_dates_count_back_from_today_and_are_never_in_the_future() -> None:
    load_demo()
    now = timezone.now()
    assert SongLike.objects.filter(created_at__gt=now).count() == 0
    assert Song.objects.filter(created_at__gt=now).count() == 0
    assert SongLike.objects.filter(created_at__gt=now - timedelta(days=30)).count() > 50


@pytest.mark.django_db
def test_a_second_load_changes_nothing(django_assert_num_queries: Any) -> None:
    load_demo()
    Song.objects.filter(pk=1).update(genre="직접 고친 장르")
    with django_assert_num_queries(1):
        assert "그대로" in load_demo()
    assert Song.objects.get(pk=1).genre == "직접 고친 장르"


@pytest.mark.django_db
def test_force_replaces_what_is_there() -> None:
    SongFactory(song_id=5000, title_jp="前からある曲")
    load_demo(force=True)
    assert Song.objects.count() == len(ROWS)
    assert not Song.objects.filter(pk=5000).exists()


@pytest.mark.django_db
def test_an_own_song_keeps_the_demo_out() -> None:
    SongFactory()
    load_demo()
    assert Song.objects.count() == 1


@pytest.mark.django_db
def test_a_shared_database_is_refused(settings: Any) -> None:
    settings.CATALOG_OWNED = False
    with pytest.raises(CommandError, match="CATALOG_OWNED"):
        load_demo()
    with pytest.raises(CommandError, match="CATALOG_OWNED"):
        load_demo(force=True)


@pytest.mark.django_db
def test_a_failure_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = type(SongLike._base_manager)

    def broken(self: object, rows: object, **_: object) -> None:
        raise OSError("disk full")

    original = manager.bulk_create
    monkeypatch.setattr(
        manager,
        "bulk_create",
        lambda self, rows, **kw: (broken if self.model is SongLike else original)(self, rows, **kw),
    )
    with pytest.raises(OSError, match="disk full"):
        load_demo()
    assert Song.objects.count() == 0
