"""What is read of members from the neighbours' tables."""

from __future__ import annotations

import pytest

from catalog import queries
from catalog.factories import MemberFactory, MemberRoleFactory, SongFactory, SongLikeFactory
from catalog.keys import member_id_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("key", "member_id"),
    [
        ("42", 42),
        ("user123", None),
        ("4 2", None),
        ("-1", None),
        ("٤٢", None),  # digits, but not ASCII ones
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("9" * 64, None),
        ("", None),
    ],
)
def test_only_ascii_digits_of_a_bigint_name_a_row_of_member(key, member_id):
    assert member_id_of(key) == member_id


def member(*roles: str) -> int:
    made = MemberFactory()
    for role in roles:
        MemberRoleFactory(member=made, role=role)
    return made.pk


def test_active_members_have_the_role_user_and_are_not_deactivated():
    first, _ghost, _none, _both, last = (
        member("USER"),
        member("GHOST"),
        member(),
        member("USER", "GHOST"),
        member("USER"),
    )
    assert queries.active_member_ids() == [first, last]
    assert queries.active_member_ids(after=first) == [last]
    assert queries.active_member_ids(limit=1) == [first]


def test_who_liked_last_comes_first_and_deactivated_members_are_left_out(monkeypatch):
    monkeypatch.setattr(queries, "RECENT_LIKES_PER_ROUND", 2)
    song = SongFactory()
    one, two, three, ghost = member("USER"), member("USER"), member("USER"), member("GHOST")
    for member_id in (one, one, two, three, ghost, one):
        SongLikeFactory(member_id=member_id, song=song)
    assert queries.recently_active_member_ids(10) == [one, three, two]
    assert queries.recently_active_member_ids(2) == [one, three]


def test_members_are_known_by_their_row():
    known = member()
    assert queries.member_exists(known)
    assert not queries.member_exists(known + 1)


def test_one_query_reads_likes_and_playlists(django_assert_num_queries):
    made = member("USER")
    SongLikeFactory(member_id=made, song=SongFactory())
    with django_assert_num_queries(1):
        queries.favorites_of(made)
