"""A small karaoke world: three kinds of songs, members whose tastes differ, a model server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils import timezone

from catalog.factories import MemberFactory, MemberRoleFactory, SongFactory
from catalog.models import Member, SongLike
from infrastructure.redis import gate
from prompts import services as prompts
from prompts.llm import budget, model_profiles
from prompts.llm.breaker import breaker
from recommendations import tasks  # noqa: F401 - the work of the jobs, as in a worker
from recommendations.serving import active_engine, answer_store, impressions
from tests.fake_model import FakeModel

KINDS = (("록", "강렬"), ("발라드", "잔잔"), ("J-pop 댄스팝", "에너지"))
ARTISTS_PER_KIND, SONGS_PER_ARTIST = 6, 5


@dataclass(frozen=True)
class World:
    """Alice likes rock, Bob ballads, Carol nothing yet; twelve more make co-likes."""

    alice: str
    bob: str
    carol: str
    #: Song ids by kind: 30 each, five of each artist.
    rock: tuple[int, ...]
    ballads: tuple[int, ...]
    dance: tuple[int, ...]

    @property
    def alice_likes(self) -> tuple[int, ...]:
        return self.rock[0:25:5]


@pytest.fixture
def world(db: None) -> World:
    songs = [
        tuple(
            SongFactory(
                genre=genre, mood=mood, artist=f"{genre}{artist}", artist_kr=f"{genre}{artist}"
            ).pk
            for artist in range(ARTISTS_PER_KIND)
            for _ in range(SONGS_PER_ARTIST)
        )
        for genre, mood in KINDS
    ]
    alice, bob, carol = (MemberFactory() for _ in range(3))
    _likes(alice, songs[0][0:25:5])
    _likes(bob, songs[1][0:25:5])
    for number in range(12):
        member = MemberFactory()
        kind = songs[number % 3]
        _likes(member, kind[number % 5 :: 4])
        MemberRoleFactory(member=member)
    for member in (alice, bob, carol):
        MemberRoleFactory(member=member)
    return World(str(alice.pk), str(bob.pk), str(carol.pk), *songs)


def _likes(member: Member, song_ids: tuple[int, ...]) -> None:
    now = timezone.now()
    SongLike.objects.bulk_create(
        SongLike(member=member, song_id=song_id, created_at=now - timedelta(days=days + 1))
        for days, song_id in enumerate(song_ids)
    )


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Every test starts as a new process would."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    active_engine.forget()
    impressions.forget()
    answer_store.l1.clear()
    answer_store.cache.clear()
    for part in (budget, model_profiles, breaker):
        part.forget()
    gate.reset()


@pytest.fixture
def model(settings) -> Iterator[FakeModel]:
    """A language model is configured, and answers well until told otherwise."""
    with FakeModel() as server:
        settings.OPENAI_BASE_URL = server.url
        settings.OPENAI_API_KEY = "sk-test"
        settings.LLM_ENABLED = True
        model_profiles.forget()
        prompts.warm_up()  # importing the client takes a good part of a deadline
        yield server
