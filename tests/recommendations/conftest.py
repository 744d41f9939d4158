"""A small karaoke world: three kinds of songs, members whose tastes differ, a model server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from bench.fake_model import FakeModel
from catalog.factories import MemberFactory, MemberRoleFactory, SongFactory
from catalog.models import Member, SongLike
from infrastructure.redis import gate
from prompts import services as prompts
from prompts.llm import budget, model_profiles
from prompts.llm.breaker import breaker
from recommendations import (
    services,
    tasks,  # noqa: F401 - the work of the jobs, as in a worker
)
from recommendations.serving import active_engine, impressions
from recommendations.serving.stored_answers import memory_cache

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
    active_engine.reset()
    impressions.reset()
    memory_cache.answers.clear()
    cache.clear()
    for part in (budget, model_profiles, breaker):
        part.clear_cache()
    gate.reset()


@pytest.fixture
def all_places_taken() -> Iterator[None]:
    """As many requests wait for the model as may."""
    with ExitStack() as places:
        while places.enter_context(services.model_waiters.place(limited=True)):
            pass
        yield


@pytest.fixture
def model(settings) -> Iterator[FakeModel]:
    """A language model is configured, and answers well until told otherwise."""
    with FakeModel() as server:
        settings.OPENAI_BASE_URL = server.url
        settings.OPENAI_API_KEY = "sk-test"
        settings.LLM_ENABLED = True
        model_profiles.clear_cache()
        prompts.warm_up()  # importing the client takes a good part of a deadline
        yield server


@pytest.fixture
def staff(client: Client) -> Any:
    """Logs in a member of staff with just these permissions: `staff("view_job", "retry_job")`."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user(f"u{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(codename__in=codenames)
        assert found.count() == len(codenames)
        user.user_permissions.set(found)
        client.force_login(user)
        return client

    return log_in
