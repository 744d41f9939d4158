"""The staff, the prompts and the model server that the tests of this app work with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User

from bench.fake_model import FakeModel
from infrastructure.redis import gate
from infrastructure.staff_groups import StaffGroup
from prompts.llm import budget, model_profiles
from prompts.llm.breaker import breaker
from prompts.models import Api, PromptTemplate, PromptVersion
from prompts.versions import drafts, resolution, review
from prompts.versions.actor import Actor
from prompts.versions.drafts import Body


@pytest.fixture(autouse=True)
def fresh_snapshot() -> Iterator[None]:
    """Every test starts as a new process would."""
    resolution.restart()
    yield
    resolution.restart()


def staff(name: str, *groups: str, superuser: bool = False) -> User:
    # Without a password: hashing one is most of what such a test would cost.
    user = User.objects.create_user(name, is_staff=True, is_superuser=superuser)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


@pytest.fixture
def editor(db: None) -> User:
    return staff("editor", StaffGroup.EDITOR)


@pytest.fixture
def publisher(db: None) -> User:
    return staff("publisher", StaffGroup.PUBLISHER)


@pytest.fixture
def inspector(db: None) -> User:
    return staff("inspector", StaffGroup.INSPECTOR)


@pytest.fixture
def operator(db: None) -> User:
    return staff("operator", StaffGroup.OPERATOR)


@pytest.fixture
def boss(db: None) -> User:
    return staff("boss", superuser=True)


@pytest.fixture
def curation(db: None) -> PromptTemplate:
    return PromptTemplate.objects.get(slug="curation")


def live_of(template: PromptTemplate) -> PromptVersion | None:
    return PromptTemplate.objects.get(pk=template.pk).live_version


def lock_of(template: PromptTemplate) -> int:
    return PromptTemplate.objects.get(pk=template.pk).lock_version


def draft(template: PromptTemplate, user: User, *, extra: str = "밝은 곡을 먼저.") -> PromptVersion:
    """A draft that differs from what is live by one sentence."""
    live = PromptTemplate.objects.get(pk=template.pk).live_version
    assert live is not None
    body = Body(
        system_text=f"{live.system_text}\n{extra}",
        user_text=live.user_text,
        params=live.params,
        note="한 문장 더",
    )
    return drafts.create_draft(template, body, actor=Actor(user=user), parent=live)


def approved(
    template: PromptTemplate, user: User, *, extra: str = "밝은 곡을 먼저."
) -> PromptVersion:
    version = draft(template, user, extra=extra)
    review.submit(version, actor=Actor(user=user))
    return version


@pytest.fixture(autouse=True)
def fresh_gateway_state() -> Iterator[None]:
    """Nothing of what processes keep in memory may leak from one test into the next."""
    forget_all()
    yield
    forget_all()


def forget_all() -> None:
    budget.clear_cache()
    model_profiles.clear_cache()
    breaker.clear_cache()
    gate.reset()


@pytest.fixture
def fake_model() -> Iterator[FakeModel]:
    with FakeModel() as server:
        yield server


@pytest.fixture(params=[Api.RESPONSES, Api.CHAT])
def model(request: pytest.FixtureRequest, settings, fake_model: FakeModel) -> FakeModel:
    """The fake server, set up as the installation's model, in both call styles."""
    settings.OPENAI_BASE_URL = fake_model.url
    settings.OPENAI_API_KEY = "sk-test"
    settings.OPENAI_API = str(request.param)
    settings.OPENAI_MODEL = "fake-1"
    return fake_model
