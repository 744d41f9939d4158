"""Favourites as callers change them: stored for their own users, an overlay for database members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from catalog.factories import MemberFactory, PlaylistFactory, PlaylistSongFactory, SongFactory
from catalog.models import SongLike
from profiles import models, services

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
pytestmark = pytest.mark.django_db


@pytest.fixture
def yuna() -> str:
    """A database member who likes 1, then 2."""
    member = MemberFactory()
    for song_id in range(1, 7):
        SongFactory(song_id=song_id)
    like(member.pk, 1, NOW - timedelta(days=9))
    like(member.pk, 2, NOW - timedelta(days=3))
    return str(member.pk)


def like(member_id, song_id, at):
    SongLike.objects.create(member_id=member_id, song_id=song_id, created_at=at)


def unlike(member_key, song_id):
    SongLike.objects.filter(member_id=int(member_key), song_id=song_id).delete()


def say(key, action, *song_ids, at=NOW):
    return services.record_favorites_update(key, action=action, song_ids=song_ids, now=at)


def favorites(key, at=LATER):
    return services.member_profile(key, favorite_ids=None, now=at).favorite_ids


# --- a caller's own user ------------------------------------------------------------------------
def test_own_users_favourites_are_kept_newest_first():
    say("user123", "add", 5)
    say("user123", "add", 7, at=LATER)
    assert favorites("user123") == (7, 5)
    assert say("user123", "remove", 5, at=LATER).favorite_ids == (7,)
    assert favorites("user123", at=NOW + timedelta(days=900)) == (7,)


def test_a_list_replaces_what_was_there_and_keeps_its_order():
    say("user123", "add", 5)
    assert say("user123", "list", 9, 3, 9, 4).favorite_ids == (9, 3, 4)
    assert favorites("user123") == (9, 3, 4)
    assert say("user123", "list").favorite_ids == ()


@pytest.mark.parametrize(("action", "songs"), [("add", (5,)), ("remove", (9,)), ("list", (5, 6))])
def test_repeats_change_nothing_for_own_users(action, songs):
    say("user123", "list", 5, 6)
    first = say("user123", action, *songs)
    rows = list(models.CallerFavorite.objects.values())
    again = say("user123", action, *songs, at=LATER)
    assert not again.changed
    assert again.favorite_ids == first.favorite_ids
    assert list(models.CallerFavorite.objects.values()) == rows


def test_keys_that_differ_in_case_are_different_users():
    say("User", "add", 5)
    assert favorites("user") == ()


def test_ten_thousand_favourites_are_kept():
    assert len(say("user123", "list", *range(1, 10_001)).favorite_ids) == 10_000
    assert favorites("user123")[:3] == (1, 2, 3)


# --- a member of the database -------------------------------------------------------------------
def test_an_add_counts_until_the_database_shows_it_and_not_after(yuna):
    assert say(yuna, "add", 5).favorite_ids == (5, 2, 1)
    assert favorites(yuna) == (5, 2, 1)
    like(int(yuna), 5, LATER)
    assert favorites(yuna) == (5, 2, 1)
    assert not models.FavoriteOverlay.objects.exists()
    unlike(yuna, 5)
    assert favorites(yuna) == (2, 1)


def test_a_remove_counts_until_the_database_shows_it(yuna):
    assert say(yuna, "remove", 2).favorite_ids == (1,)
    unlike(yuna, 2)
    assert favorites(yuna) == (1,)
    like(int(yuna), 2, LATER)
    assert favorites(yuna) == (2, 1)


@pytest.mark.parametrize(("action", "songs"), [("add", (5,)), ("remove", (2,)), ("list", (1, 2))])
def test_a_word_is_forgotten_after_a_day(yuna, action, songs):
    say(yuna, action, *songs)
    assert favorites(yuna, at=NOW + timedelta(hours=25)) == (2, 1)


def test_a_full_list_counts_with_what_was_liked_after_it(yuna):
    assert say(yuna, "list", 1, 4).favorite_ids == (1, 4)
    like(int(yuna), 6, LATER)
    assert favorites(yuna, at=LATER + timedelta(seconds=1)) == (6, 1, 4)


def test_a_list_that_the_database_shows_already_leaves_no_trace(yuna):
    assert not say(yuna, "list", 1, 2).changed
    assert not models.FavoriteOverlay.objects.exists()


def test_an_add_after_a_list_counts_on_top_of_it(yuna):
    say(yuna, "list", 4)
    assert say(yuna, "add", 5, at=LATER).favorite_ids == (5, 4)
    assert say(yuna, "remove", 4, at=LATER).favorite_ids == (5,)
    assert favorites(yuna) == (5,)


def test_the_last_word_about_a_song_counts(yuna):
    say(yuna, "add", 5)
    assert say(yuna, "remove", 5, at=LATER).favorite_ids == (2, 1)
    assert say(yuna, "remove", 2, at=LATER).favorite_ids == (1,)
    assert say(yuna, "add", 2, at=LATER).favorite_ids == (2, 1)


@pytest.mark.parametrize(("action", "songs"), [("add", (5,)), ("remove", (2,)), ("list", (4, 1))])
def test_repeats_change_nothing_for_members(yuna, action, songs):
    first = say(yuna, action, *songs)
    rows = list(models.FavoriteOverlay.objects.values())
    again = say(yuna, action, *songs, at=LATER)
    assert (first.changed, again.changed) == (True, False)
    assert list(models.FavoriteOverlay.objects.values()) == rows


def test_an_empty_list_means_no_favourites(yuna):
    assert say(yuna, "list").favorite_ids == ()
    assert favorites(yuna) == ()


def test_playlist_songs_are_favourites_that_can_be_removed(yuna):
    playlist = PlaylistFactory(member_id=int(yuna))
    PlaylistSongFactory(playlist=playlist, song_id=3)
    assert favorites(yuna) == (2, 1, 3)
    assert say(yuna, "remove", 3).favorite_ids == (2, 1)


def test_the_neighbours_tables_are_not_written(yuna):
    before = list(SongLike.objects.values())
    for action in ("add", "remove", "list"):
        say(yuna, action, 1, 5)
    assert list(SongLike.objects.values()) == before
