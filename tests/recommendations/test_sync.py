"""Who liked, unliked or moved a song behind our back is found, and nobody else."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.factories import MemberFactory, MemberRoleFactory, SongFactory
from catalog.models import Member, Playlist, PlaylistSong, SongLike
from recommendations.jobs import like_changes, queue
from recommendations.models import Job, LikeChunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def members() -> list[Member]:
    """Three active members with three likes each; the last has a playlist of two songs."""
    songs = [SongFactory() for _ in range(5)]
    made = [MemberFactory() for _ in range(3)]
    for member in made:
        MemberRoleFactory(member=member)
        for song in songs[:3]:
            SongLike.objects.create(member=member, song=song)
    playlist = Playlist.objects.create(title="밤", member=made[2])
    for song in songs[:2]:
        PlaylistSong.objects.create(playlist=playlist, song=song, song_order=1)
    return made


def seen() -> list[str]:
    found = like_changes.look()
    found.note()
    return found.members


def keys(*members: Member) -> list[str]:
    return [str(member.pk) for member in members]


def test_the_first_look_takes_note_and_finds_nobody(members):
    assert seen() == []
    assert seen() == []


def test_a_new_like_is_found_once(members):
    seen()
    SongLike.objects.create(member=members[1], song=SongFactory())
    assert seen() == keys(members[1])
    assert seen() == []


def test_an_unlike_is_found_although_its_row_is_gone(members):
    seen()
    SongLike.objects.filter(member=members[0]).last().delete()
    assert seen() == keys(members[0])


def test_an_unlike_and_a_like_at_once_are_both_found(members):
    # The number of rows is the same as before.
    seen()
    SongLike.objects.filter(member=members[0]).last().delete()
    SongLike.objects.create(member=members[1], song=SongFactory())
    assert seen() == keys(members[0], members[1])


def test_a_like_moved_to_another_song_is_found(members):
    seen()
    SongLike.objects.filter(member=members[2]).update(song=SongFactory())
    assert seen() == keys(members[2])


def test_a_playlist_counts_as_well_and_so_does_emptying_it(members):
    seen()
    PlaylistSong.objects.create(playlist=Playlist.objects.get(), song=SongFactory(), song_order=9)
    assert seen() == keys(members[2])
    PlaylistSong.objects.all().delete()
    assert seen() == keys(members[2])


def test_a_table_that_was_emptied_is_noticed(members):
    seen()
    SongLike.objects.all().delete()
    assert seen() == keys(*members)


def test_a_deactivated_member_gets_no_work(members):
    seen()
    MemberRoleFactory(member=members[0], role="GHOST")
    SongLike.objects.create(member=members[0], song=SongFactory())
    SongLike.objects.create(member=members[1], song=SongFactory())
    assert seen() == keys(members[1])


def test_stretches_are_looked_at_apart(members, monkeypatch):
    monkeypatch.setattr(like_changes, "STRETCH", 4)
    seen()
    SongLike.objects.filter(member=members[0]).first().delete()
    with CaptureQueriesContext(connection) as queries:
        found = like_changes.look()
    assert found.members == keys(members[0])
    assert len(found.chunks) == 1
    # One summary per stretch, and only the one that changed is read again.
    read = [query["sql"] for query in queries if 'FROM "song_like"' in query["sql"]]
    assert sum("COUNT" not in sql and "MAX" not in sql for sql in read) == 1


def test_rows_survive_packing():
    rows = {(7, 1, 2**31), (3, 2**40, 5), (10**12, 1, 1)}
    assert set(like_changes._unpacked(like_changes._packed(rows))) == rows
    assert set(like_changes._unpacked(like_changes._packed(set()))) == set()


def test_the_job_asks_for_the_changed_members_and_notes_them_together(members):
    queue.run(queue.enqueue("sync_likes").pk)
    SongLike.objects.create(member=members[1], song=SongFactory())
    job = queue.enqueue("sync_likes")
    assert queue.run(job.pk) == {"job": "succeeded", "changed": 1}
    asked = Job.objects.get(name="refresh_members")
    assert asked.arguments == {"member_keys": keys(members[1])}


def test_what_could_not_be_asked_for_is_found_again(members, monkeypatch):
    seen()
    SongLike.objects.create(member=members[1], song=SongFactory())
    before = LikeChunk.objects.get(table="song_like").checksum
    found = like_changes.look()
    assert found.members == keys(members[1])  # and then the worker dies before noting it
    assert LikeChunk.objects.get(table="song_like").checksum == before
    assert seen() == keys(members[1])
