"""What the studio's pages do beyond opening: lint while typing, try beside live, publish in two steps, stay fast."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import translation

from bench.fake_model import FakeModel
from prompts import dashboard
from prompts.admin.version_pages.compare import version_choices
from prompts.evaluation import input_providers
from prompts.evaluation.input_providers import Input
from prompts.models import AuditEvent, ModelCall, PromptTemplate, PromptVersion
from prompts.versions import releases
from prompts.versions.actor import Actor

from .conftest import approved, draft, live_of, lock_of

#: What a page may ask the database, session and account included.
MOST_QUERIES = 10


@pytest.fixture
def desk(boss: User) -> Client:
    client = Client()
    client.force_login(boss)
    return client


def page(name: str, *args: object) -> str:
    return reverse(f"admin:prompts_{name}", args=args)


def form_of(version: PromptVersion, **changes: object) -> dict[str, object]:
    return {
        "note": version.note,
        "system_text": version.system_text,
        "user_text": version.user_text,
        "lock_version": version.lock_version,
        **{f"param_{name}": value for name, value in version.params.items()},
        **changes,
    }


def test_lint_answers_while_the_text_is_typed(
    curation: PromptTemplate, editor: User, desk: Client
) -> None:
    version = draft(curation, editor)
    typed = form_of(version, user_text=version.user_text + "{{ nobody }}")
    answer = desk.post(page("promptversion_lint", version.pk), typed).json()
    assert [finding["code"] for finding in answer["findings"]] == [
        "unknown_variable",
        "data_not_last",
    ]
    assert answer["user_tokens"] > 0
    version.refresh_from_db()
    assert "nobody" not in version.user_text  # nothing was saved


def test_the_page_of_somebody_who_saved_later_is_refused(
    curation: PromptTemplate, editor: User, desk: Client
) -> None:
    version = draft(curation, editor)
    url = page("promptversion_change", version.pk)
    seen = form_of(version, note="둘째", system_text="둘째 글")
    desk.post(url, form_of(version, note="첫째", system_text="첫째 글"))
    answer = desk.post(url, seen)
    assert answer.status_code == 200  # the form again, with what was typed …
    html = answer.content.decode()
    assert "둘째" in html
    assert "<del>첫째</del><ins>둘째</ins>" in html  # … and how it differs from what is saved
    version.refresh_from_db()
    assert version.note == "첫째"
    again = seen | {"lock_version": answer.context["form"]["lock_version"].value()}
    assert desk.post(url, again).status_code == 302  # having seen it, one may overwrite
    version.refresh_from_db()
    assert version.note == "둘째"


def test_any_two_versions_are_compared(
    curation: PromptTemplate, editor: User, desk: Client
) -> None:
    oldest, newest = (draft(curation, editor, extra=extra) for extra in ("하나", "넷"))
    url = page("promptversion_compare", newest.pk)
    html = desk.get(url, {"with": oldest.pk}).content.decode()
    assert "<del>하나</del><ins>넷</ins>" in html
    assert f'<option value="{oldest.pk}" selected>' in html
    assert "@1" in desk.get(url).content.decode()  # without a choice: what is live


def test_the_chosen_version_is_offered_also_where_the_list_is_full(
    curation: PromptTemplate, editor: User
) -> None:
    oldest, *_between, newest = (draft(curation, editor, extra=extra) for extra in "abcd")
    choices = version_choices(newest, chosen=oldest, limit=2)
    assert [key for key, _label in choices] == [newest.pk, newest.pk - 1, oldest.pk]


def test_only_what_was_live_is_offered_to_go_back_to(
    curation: PromptTemplate, publisher: User, desk: Client
) -> None:
    first, version = live_of(curation), approved(curation, publisher)
    actor = Actor(user=publisher, reason="더 밝게")
    releases.publish(version, seen_lock=lock_of(curation), actor=actor)
    never = draft(curation, publisher, extra="다른")
    back = reverse("admin:prompts_prompttemplate_rollback", args=[curation.pk])
    url = page("promptversion_compare", version.pk)
    assert f"{back}?to={first.pk}" in desk.get(url, {"with": first.pk}).content.decode()
    assert back not in desk.get(url, {"with": never.pk}).content.decode()


def test_publishing_in_two_steps(curation: PromptTemplate, publisher: User, desk: Client) -> None:
    version = approved(curation, publisher)
    shown = desk.get(page("promptversion_publish", version.pk)).content.decode()
    assert "curation@1" in shown
    assert "<ins>" in shown
    sent = {"reason": "", "seen_lock": lock_of(curation)}
    desk.post(page("promptversion_publish", version.pk), sent)
    assert live_of(curation) != version  # no reason, no move
    desk.post(page("promptversion_publish", version.pk), sent | {"reason": "더 밝게"})
    assert live_of(curation) == version
    event = AuditEvent.objects.filter(verb="release.publish").first()
    assert event is not None
    assert (event.actor_name, event.reason, event.ip) == ("boss", "더 밝게", "127.0.0.1")
    assert event.request_id


def test_the_preview_shows_what_would_be_sent_for_a_member(
    curation: PromptTemplate, editor: User, desk: Client
) -> None:
    def build(member: str, params: object) -> Input:
        return Input(
            variables={
                "candidates": [("밤을 달리다", "요아소비")],
                "taste": f"{member}의 취향",
                "count": 1,
            },
            items=("밤을 달리다",),
        )

    url = page("promptversion_preview", draft(curation, editor).pk)
    with input_providers.only(input_providers.Hooks(build={"curation": build})):
        shown = desk.get(url, {"member": "42"})
    assert "42의 취향" in shown.content.decode()
    assert "1 밤을 달리다 / 요아소비" in shown.content.decode()


def test_trying_asks_both_versions_and_marks_the_difference(
    curation: PromptTemplate, editor: User, desk: Client, model: FakeModel
) -> None:
    version = draft(curation, editor)
    answer = desk.post(page("promptversion_preview", version.pk), {"member": "", "run": ""})
    tried, beside = answer.context["tried"], answer.context["beside"]
    assert (tried.label, beside.label) == ("curation@2", "curation@1")
    assert [line.text.partition(" ")[0] for line in tried.picks]
    assert len(model.seen) == 2
    assert set(ModelCall.objects.values_list("trigger", flat=True)) == {"preview"}
    assert AuditEvent.objects.filter(verb="version.tried", actor_name="boss").exists()


def test_a_model_that_fails_leaves_a_page_that_says_so(
    curation: PromptTemplate, editor: User, desk: Client, model: FakeModel
) -> None:
    model.fault = "500"
    answer = desk.post(page("promptversion_preview", draft(curation, editor).pk), {})
    assert answer.status_code == 200
    assert answer.context["tried"].failure == "http_5xx"


def test_staff_text_is_shown_as_text(curation: PromptTemplate, editor: User, desk: Client) -> None:
    version = draft(curation, editor, extra="<script>alert(1)</script>")
    for name in ("change", "preview", "compare", "publish"):
        shown = desk.get(page(f"promptversion_{name}", version.pk)).content.decode()
        assert "<script>alert(1)" not in shown
        assert "alert(1)" in shown


@pytest.mark.parametrize("name", ["change", "preview", "compare", "evaluate", "publish"])
def test_a_versions_pages_ask_little(
    name: str,
    curation: PromptTemplate,
    publisher: User,
    desk: Client,
    django_assert_max_num_queries,
) -> None:
    version = approved(curation, publisher)
    dashboard.banners()  # kept for some seconds, shared by all pages
    with django_assert_max_num_queries(MOST_QUERIES):
        assert desk.get(page(f"promptversion_{name}", version.pk)).status_code == 200


@pytest.mark.parametrize("name", ["prompttemplate", "promptversion", "release", "modelcall"])
def test_lists_ask_as_little_for_many_rows(
    name: str,
    curation: PromptTemplate,
    publisher: User,
    desk: Client,
    django_assert_max_num_queries,
) -> None:
    for at in range(5):
        version = approved(curation, publisher, extra=f"{at}.")
        releases.publish(
            version, seen_lock=lock_of(curation), actor=Actor(user=publisher, reason="시험")
        )
    dashboard.banners()
    with django_assert_max_num_queries(MOST_QUERIES):
        assert desk.get(page(f"{name}_changelist")).status_code == 200


def test_a_stopped_prompt_is_announced_on_every_page(
    curation: PromptTemplate, operator: User, desk: Client
) -> None:
    url = page("prompttemplate_stop", curation.pk)
    desk.post(url, {"reason": "이상한 답", "seen_lock": lock_of(curation)})
    shown = desk.get(reverse("admin:prompts_auditevent_changelist")).content.decode()
    assert "모델에 묻지 않습니다" in shown


def test_pages_speak_english_when_asked(
    curation: PromptTemplate, publisher: User, desk: Client
) -> None:
    version = approved(curation, publisher)
    desk.cookies["django_language"] = "en"
    shown = desk.get(page("promptversion_publish", version.pk)).content.decode()
    assert "What changes" in shown
    assert "무엇이 바뀌나" not in shown
    translation.activate("ko")
