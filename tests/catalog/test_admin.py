"""The admin's pages of songs and members: fast, tolerant to search, private."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from catalog import snapshot
from catalog.admin import masked_email
from catalog.factories import (
    AnimeFactory,
    MemberFactory,
    MemberRoleFactory,
    PlaylistFactory,
    PlaylistSongFactory,
    SongFactory,
    SongLikeFactory,
)
from catalog.models import Song

pytestmark = pytest.mark.django_db
SONGS = "admin:catalog_song_changelist"
MEMBERS = "admin:catalog_member_changelist"


@pytest.fixture
def lemon() -> Song:
    return SongFactory(
        title_jp="レモン",
        title_kr="레몬",
        title_en="Lemon",
        artist="米津玄師",
        artist_kr="요네즈 켄시",
    )


def shown(client, url: str, **query) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("typed", ["레몬", "lemn", "ㄹㅁ", "요네즈", "レモン"])
def test_songs_are_found_in_any_script_and_with_slips(admin_client, lemon, typed):
    SongFactory(
        title_jp="群青", title_kr="군청", title_en="", artist="YOASOBI", artist_kr="요아소비"
    )
    page = shown(admin_client, reverse(SONGS), q=typed)
    assert "レモン" in page
    assert "群青" not in page


def test_japanese_is_marked_as_such(admin_client, lemon):
    assert '<span lang="ja">レモン</span>' in shown(admin_client, reverse(SONGS))


def test_an_empty_list_is_a_page(admin_client):
    shown(admin_client, reverse(SONGS))
    shown(admin_client, reverse(MEMBERS))


def test_the_list_costs_the_same_for_one_song_and_for_thirty(
    admin_client, lemon, django_assert_max_num_queries
):
    snapshot.current()
    shown(admin_client, reverse(SONGS))  # the banners of every page are cached from here on
    for _ in range(29):
        SongLikeFactory(song=SongFactory(anime=AnimeFactory()), member=MemberFactory())
    with django_assert_max_num_queries(6):
        shown(admin_client, reverse(SONGS))


def test_songs_are_edited_where_they_are_ours_and_nowhere_else(admin_client, lemon, settings):
    url = reverse("admin:catalog_song_change", args=[lemon.pk])
    assert 'name="_save"' in shown(admin_client, url)
    settings.CATALOG_OWNED = False
    assert 'name="_save"' not in shown(admin_client, url)
    assert admin_client.post(url, {"title_jp": "x"}).status_code == 403
    with pytest.raises(PermissionDenied):
        lemon.save()


def test_filters_offer_the_values_there_are(admin_client, lemon):
    Song.objects.filter(pk=lemon.pk).update(genre="J-pop, 록", mood="감성적")
    snapshot.refresh()
    page = shown(admin_client, reverse(SONGS))
    assert "?genre_term=%EB%A1%9D" in page
    assert "レモン" in shown(admin_client, reverse(SONGS), genre_term="록", mood_term="감성적")
    assert "レモン" not in shown(admin_client, reverse(SONGS), genre_term="힙합")


@pytest.mark.parametrize(
    ("email", "masked"),
    [("dana@example.invalid", "d***@example.invalid"), ("", "***"), ("no-address", "***")],
)
def test_an_address_is_masked(email, masked):
    assert masked_email(email) == masked


def test_a_member_is_shown_without_the_address(admin_client, lemon):
    member = MemberFactory(email="dana@example.invalid")
    MemberRoleFactory(member=member, role="USER")
    SongLikeFactory(member=member, song=lemon)
    playlist = PlaylistFactory(member=member, title="노래방 18번")
    PlaylistSongFactory(playlist=playlist, song=lemon)
    for page in (
        shown(admin_client, reverse(MEMBERS)),
        shown(admin_client, reverse("admin:catalog_member_change", args=[member.pk])),
    ):
        assert "d***@example.invalid" in page
        assert "dana@" not in page
        assert "USER" in page
    assert "レモン" in page
    assert "노래방 18번 (1곡)" in page


def test_members_are_found_by_number_or_whole_address_only(admin_client):
    member = MemberFactory(email="dana@example.invalid")
    link = reverse("admin:catalog_member_change", args=[member.pk])
    assert link in shown(admin_client, reverse(MEMBERS), q=str(member.pk))
    assert link in shown(admin_client, reverse(MEMBERS), q="dana@example.invalid")
    assert link not in shown(admin_client, reverse(MEMBERS), q="dana")


def test_members_cannot_be_added_changed_or_deleted(admin_client):
    member = MemberFactory()
    assert admin_client.get(reverse("admin:catalog_member_add")).status_code == 403
    url = reverse("admin:catalog_member_delete", args=[member.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403


def test_without_login_there_is_nothing_to_see(client):
    assert client.get(reverse(MEMBERS)).status_code == 302
