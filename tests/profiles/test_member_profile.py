"""What is known of a member, put together from the shared tables and ours."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection

from catalog.models import Member, Playlist, PlaylistSong, Song, SongLike
from engine.types import SignalType
from profiles import models, services

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def yuna() -> Member:
    """Likes songs 1, 2 (newest), 1 again long ago; her playlist holds 2 and 3."""
    member = Member.objects.create(email="yuna@example.invalid")
    songs = [Song.objects.create(song_id=n, title_jp=f"歌{n}") for n in range(1, 6)]
    for song, days in ((songs[0], 400), (songs[0], 10), (songs[1], 2)):
        SongLike.objects.create(member=member, song=song, created_at=NOW - timedelta(days=days))
    playlist = Playlist.objects.create(member=member, title="노래방")
    for place, song in ((7, songs[1]), (9, songs[2]), (9, songs[2])):
        PlaylistSong.objects.create(playlist=playlist, song=song, song_order=place)
    return member


def look(member_key: object, **kwargs):
    return services.member_profile(str(member_key), **{"favorite_ids": None, "now": NOW, **kwargs})


def test_likes_come_newest_first_then_playlist_songs_each_once(yuna):
    assert look(yuna.pk).favorite_ids == (2, 1, 3)


def test_signals_hold_the_newest_like_and_the_place_in_the_playlist(yuna):
    said = [(s.song_id, s.type, s.value) for s in look(yuna.pk).signals]
    assert said == [
        (2, SignalType.LIKE, 1.0),
        (1, SignalType.LIKE, 1.0),
        (2, SignalType.PLAYLIST, 0.0),
        (3, SignalType.PLAYLIST, 1.0),
    ]
    assert look(yuna.pk).signals[1].at == NOW - timedelta(days=10)


def test_four_queries_tell_everything(yuna, django_assert_num_queries):
    services.store_taste(
        str(yuna.pk),
        text="밝은 곡",
        genres=["팝"],
        moods=[],
        artists=[],
        favorites_sha="x",
        source="model",
        now=NOW,
    )
    services.block(str(yuna.pk), kind="artist", name="  ＹＯＡＳＯＢＩ ", now=NOW)
    services.record_feedback(
        [services.Feedback(event_id="e1", member_key=str(yuna.pk), song_id=4, type="skip")], now=NOW
    )
    with django_assert_num_queries(4):
        profile = look(yuna.pk)
    assert profile.exclude.artists == {"yoasobi"}
    assert profile.taste_text == "밝은 곡"
    assert profile.signals[-1].type is SignalType.SKIP
    assert [(p.kind, p.name, p.source) for p in profile.preferences] == [("genre", "팝", "model")]


def test_ids_that_were_sent_are_used_exactly(yuna):
    profile = look(yuna.pk, favorite_ids=[5, 2, 5])
    assert profile.favorite_ids == (5, 2)
    assert {s.song_id for s in profile.signals} == {2}
    assert not models.FavoriteOverlay.objects.exists()


def test_an_explicit_empty_list_means_no_favourites(yuna):
    assert look(yuna.pk, favorite_ids=[]).favorite_ids == ()


def test_an_unknown_member_has_nothing(yuna):
    profile = look(999_999)
    assert (profile.favorite_ids, profile.signals, profile.database_ok) == ((), (), True)


def test_the_order_of_favourites_leaves_the_fingerprint_alone(yuna):
    one, other = look("a", favorite_ids=[1, 2, 3]), look("a", favorite_ids=[3, 1, 2])
    assert one.favorites_sha == other.favorites_sha != look("a", favorite_ids=[1, 2]).favorites_sha


def test_feedback_a_block_and_an_override_each_change_their_fingerprint(yuna, admin_user):
    key, before = str(yuna.pk), look(yuna.pk)
    services.block(key, kind="song", song_id=5, now=NOW)
    blocked = look(key)
    assert blocked.feedback_sha != before.feedback_sha
    services.record_feedback(
        [services.Feedback(event_id="e", member_key=key, song_id=1, type="play")], now=NOW
    )
    assert look(key).feedback_sha != blocked.feedback_sha
    services.override_taste(
        key, kind="genre", action="bar", value="록", reason="요청", by=admin_user, now=NOW
    )
    assert look(key).overrides_sha != before.overrides_sha
    assert look(key).favorites_sha == before.favorites_sha


def test_impressions_are_summed_by_song_over_the_last_month(yuna):
    first, second = UUID(int=1), UUID(int=2)
    shown = services.ShownAnswer(
        member_key=str(yuna.pk), run_uuid=first, places=[(4, "록", 1), (5, "", 2)], times=3
    )
    services.record_impressions([shown], now=NOW - timedelta(days=1))
    services.record_impressions([shown], now=NOW - timedelta(hours=1))
    again = services.ShownAnswer(member_key=str(yuna.pk), run_uuid=second, places=[(4, "", 1)])
    services.record_impressions([again], now=NOW - timedelta(days=40))
    seen = {i.song_id: (i.times, i.last_at) for i in look(yuna.pk).impressions}
    assert seen == {4: (6, NOW - timedelta(hours=1)), 5: (6, NOW - timedelta(hours=1))}


class Away:
    """A database that refuses every query."""

    def __call__(self, *_: object) -> None:
        raise OperationalError(2002, "refused")


@pytest.fixture
def database_away():
    @contextmanager
    def away():
        with connection.execute_wrapper(Away()):
            yield

    return away


def test_without_the_database_the_last_known_favourites_serve(yuna, database_away):
    look(yuna.pk)
    with database_away():
        profile = look(yuna.pk)
    assert (profile.favorite_ids, profile.database_ok) == ((2, 1, 3), False)


def test_without_the_database_an_unseen_member_is_asked_of_the_store(yuna, database_away):
    with database_away():
        profile = look(yuna.pk, last_known=lambda: [9, 8])
    assert (profile.favorite_ids, profile.database_ok) == ((9, 8), False)


def test_without_the_database_ids_that_were_sent_serve(yuna, database_away):
    with database_away():
        profile = look(yuna.pk, favorite_ids=[4])
    assert (profile.favorite_ids, profile.database_ok) == ((4,), False)


def test_after_a_failure_the_database_is_left_alone_for_a_moment(yuna, database_away):
    asked = []

    class Counted(Away):
        def __call__(self, *args: object) -> None:
            asked.append(1)
            super().__call__(*args)

    with connection.execute_wrapper(Counted()):
        for _ in range(20):
            look(yuna.pk)
    assert len(asked) == 1
