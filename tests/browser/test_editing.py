"""The editing page in a real browser: chips, live lint, saving."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer

from prompts.models import PromptTemplate, PromptVersion
from prompts.versions import drafts, seeding
from prompts.versions.actor import Actor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("REQUIRE_SERVICES"), reason="needs Chromium"
    ),
]


@pytest.fixture
def draft(live_server: LiveServer) -> PromptVersion:
    seeding.load_defaults()  # an earlier transactional test may have emptied the tables
    live = PromptTemplate.objects.get(slug="curation").live_version
    assert live is not None
    return drafts.fork(live, actor=Actor())


@pytest.fixture
def page(
    draft: PromptVersion, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[object]:
    """The draft's editing page, opened by a superuser."""
    # Playwright keeps an event loop in this thread; what the test asks the database needs none.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    sync_api = pytest.importorskip("playwright.sync_api")
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    session = client.cookies["sessionid"].value
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(locale="ko-KR")
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        tab = context.new_page()
        tab.set_default_timeout(15_000)
        url = reverse("admin:prompts_promptversion_change", args=[draft.pk])
        tab.goto(live_server.url + url)
        yield tab
        browser.close()


def test_lint_and_chips_follow_what_is_typed_and_saving_keeps_it(page, draft: PromptVersion):
    user = page.locator("[name=user_text]")
    text = user.input_value()
    user.fill(text.replace("{{ candidates }}", "{{ candidate }}"))
    page.wait_for_selector("#findings .error >> text=candidate")
    page.wait_for_selector(".chips [data-name=candidates]:not(.used)")
    user.fill(text.replace("{{ candidates }}", ""))
    user.evaluate("field => field.setSelectionRange(field.value.length, field.value.length)")
    page.click(".chips [data-name=candidates]")
    page.wait_for_selector("#findings .none")  # the chip put the variable back
    page.fill("[name=note]", "브라우저에서 고침")
    page.click("[name=_save]")
    page.wait_for_selector(".messagelist .success")
    draft.refresh_from_db()
    assert draft.note == "브라우저에서 고침"
    assert draft.user_text.endswith("{{ candidates }}")
