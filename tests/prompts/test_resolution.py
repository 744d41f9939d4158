"""Which version a member gets, and that finding out costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from prompts.defaults import default_texts
from prompts.errors import TemplatePaused, UnknownContract
from prompts.models import PromptTemplate, PromptVersion
from prompts.versions import releases, resolution
from prompts.versions.actor import Actor
from prompts.versions.resolution import Watch

from .conftest import approved, live_of, lock_of


@dataclass
class EpochStore:
    """The epoch row of a database that can be down."""

    is_down: bool = False

    def read(self) -> int:
        if self.is_down:
            raise OperationalError("server has gone away")
        return resolution.stored_epoch()


def publish(version: PromptVersion, user: User) -> None:
    releases.publish(
        version, seen_lock=lock_of(version.template), actor=Actor(user=user, reason="시험")
    )


def test_a_published_version_is_what_the_next_question_gets(
    curation: PromptTemplate, publisher: User
) -> None:
    assert resolution.resolve("curation", "42").label == "curation@1"
    version = approved(curation, publisher)
    publish(version, publisher)
    got = resolution.resolve("curation", "42")
    assert (got.label, got.version_id, got.sha) == ("curation@2", version.pk, version.body_sha256)
    assert resolution.versions_in_force()["curation"] == "curation@2"


def test_resolving_asks_no_database(
    curation: PromptTemplate, settings, django_assert_num_queries
) -> None:
    settings.PROMPTS_POLL_S = 30
    watch = resolution.restart()
    watch._look(force=True)
    watch._looked.set()
    with django_assert_num_queries(0):
        for member in range(100):
            said = resolution.resolve("curation", str(member))
            said.render(said.contract.samples())
        resolution.versions_in_force()


def test_reading_everything_live_is_two_queries(
    curation: PromptTemplate, django_assert_num_queries
) -> None:
    with django_assert_num_queries(2):
        Watch()._look(force=True)


def test_a_store_that_goes_away_leaves_the_last_snapshot(
    curation: PromptTemplate, publisher: User
) -> None:
    store = EpochStore()
    resolution.restart(Watch(read_epoch=store.read))
    publish(approved(curation, publisher), publisher)
    assert resolution.resolve("curation", "42").label == "curation@2"
    store.is_down = True
    assert resolution.resolve("curation", "42").label == "curation@2"


def test_with_nothing_reachable_at_the_start_the_repositorys_text_is_used_and_named(
    curation: PromptTemplate,
) -> None:
    resolution.restart(Watch(read_epoch=EpochStore(is_down=True).read))
    got = resolution.resolve("curation", "42")
    assert got.builtin
    assert got.version_id is None
    assert got.label == f"curation@builtin-{default_texts()['curation'].sha[:8]}"
    assert got.render(got.contract.samples()).user


def test_a_text_for_another_contract_is_never_served(
    curation: PromptTemplate, publisher: User
) -> None:
    version = approved(curation, publisher)
    publish(version, publisher)
    changed = PromptVersion.objects.filter(pk=version.pk)
    super(type(changed), changed).update(contract_version=99)  # as if the code had moved on
    resolution.bump_epoch()
    assert resolution.resolve("curation", "42").builtin


def test_a_killed_prompt_asks_nobody_until_it_is_lifted(
    curation: PromptTemplate, operator: User
) -> None:
    releases.kill(curation, actor=Actor(user=operator, reason="이상한 답"))
    with pytest.raises(TemplatePaused):
        resolution.resolve("curation", "42")
    assert resolution.resolve("taste_and_taglines", "42").label == "taste_and_taglines@1"
    releases.lift(curation, actor=Actor(user=operator, reason="고침"))
    assert resolution.resolve("curation", "42").label == "curation@1"


@pytest.mark.django_db
def test_an_unknown_slug_is_named() -> None:
    with pytest.raises(UnknownContract, match="nobody"):
        resolution.resolve("nobody", "42")


def test_rolling_back_to_the_repositorys_text_serves_it(
    curation: PromptTemplate, publisher: User
) -> None:
    releases.roll_back(
        curation, None, seen_lock=lock_of(curation), actor=Actor(user=publisher, reason="기본으로")
    )
    assert live_of(curation) is None
    assert resolution.resolve("curation", "42").builtin
