"""What staff see and may do about models, calls and money."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bench.fake_model import FakeModel
from prompts.llm import budget
from prompts.llm.breaker import CallReport, breaker
from prompts.models import AuditEvent, Budget, CallOutcome, ModelCall, ModelProfile
from prompts.models.calls import packed

PROFILES = reverse("admin:prompts_modelprofile_changelist")
CALLS = reverse("admin:prompts_modelcall_changelist")


def as_user(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def act(client: Client, action: str, row: ModelProfile):
    return client.post(PROFILES, {"action": action, "_selected_action": [row.pk]}, follow=True)


@pytest.fixture
def profile(fake_model: FakeModel, settings, db: None) -> ModelProfile:
    settings.LLM_HOSTS = ["127.0.0.1"]
    return ModelProfile.objects.create(
        name="시험 모델",
        api="chat",
        base_url=fake_model.url,
        model="fake-1",
        api_key_env="TRIAL_API_KEY",
        sunset_on=timezone.localdate() + timedelta(days=7),
    )


def test_an_operator_probes_a_profile(operator: User, profile: ModelProfile) -> None:
    page = act(as_user(operator), "run_probe", profile)
    profile.refresh_from_db()
    assert profile.capabilities["format"] == "json_schema"
    assert "json_schema" in page.content.decode()
    assert AuditEvent.objects.get(verb="modelprofile.probed").actor == operator


@pytest.mark.parametrize("group", ["editor", "publisher", "inspector"])
@pytest.mark.parametrize("action", ["run_probe", "close_breaker"])
def test_nobody_else_does(
    group: str, action: str, profile: ModelProfile, fake_model: FakeModel, request
) -> None:
    breaker.record(str(profile.pk), CallReport(failed=True, lasting=True))
    act(as_user(request.getfixturevalue(group)), action, profile)
    assert not fake_model.seen
    assert not breaker.state(str(profile.pk)).is_closed
    assert not AuditEvent.objects.filter(verb__startswith="modelprofile").exists()


def test_an_operator_closes_the_breaker(operator: User, profile: ModelProfile) -> None:
    breaker.record(str(profile.pk), CallReport(failed=True, lasting=True, why="http_4xx 401"))
    client = as_user(operator)
    assert "http_4xx 401" in client.get(PROFILES).content.decode()
    act(client, "close_breaker", profile)
    assert breaker.admits(str(profile.pk))


def test_the_key_is_never_shown(operator: User, profile: ModelProfile, monkeypatch) -> None:
    monkeypatch.setenv("TRIAL_API_KEY", "sk-very-secret")
    client = as_user(operator)
    change = reverse("admin:prompts_modelprofile_change", args=[profile.pk])
    for url in (PROFILES, change):
        page = client.get(url).content.decode()
        assert "설정됨" in page
        assert "sk-very-secret" not in page


def test_a_model_soon_withdrawn_is_marked(operator: User, profile: ModelProfile) -> None:
    page = as_user(operator).get(PROFILES).content.decode()
    assert f'badge warn">{profile.sunset_on}' in page


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "http://169.254.169.254/latest"},
        {"api_key_env": "SECRET_KEY"},
    ],
)
def test_an_endpoint_or_key_that_is_not_allowed_is_refused(
    operator: User, profile: ModelProfile, wrong: dict[str, str]
) -> None:
    url = reverse("admin:prompts_modelprofile_change", args=[profile.pk])
    client = as_user(operator)
    form = client.get(url).context["adminform"].form
    values = {name: form.initial.get(name) or "" for name in form.fields}
    prices = {f"prices-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    page = client.post(url, values | {"extra_body": "{}"} | prices | wrong)
    assert page.status_code == 200
    assert set(page.context["adminform"].form.errors) == set(wrong)


def a_call(**options) -> ModelCall:
    values = {
        "purpose": "curation",
        "version_label": "curation@1",
        "api": "chat",
        "model_asked": "fake-1",
        "outcome": CallOutcome.OK,
        "cost_micro_usd": 1_234,
        "input_zlib": packed("1 夜に駆ける"),
        "output_zlib": packed('{"picks": [1]}'),
    }
    return ModelCall.objects.create(**(values | options))


def test_an_inspector_finds_a_call_by_its_run_and_reads_it(inspector: User) -> None:
    call, other = a_call(run_uuid=uuid4()), a_call(outcome=CallOutcome.TIMEOUT)
    client = as_user(inspector)
    found = client.get(CALLS, {"q": str(call.run_uuid)}).context["cl"].result_list
    assert list(found) == [call]
    late = client.get(CALLS, {"outcome__exact": "timeout"}).context["cl"].result_list
    assert list(late) == [other]
    page = client.get(reverse("admin:prompts_modelcall_change", args=[call.pk])).content.decode()
    assert "夜に駆ける" in page
    assert "picks" in page
    assert (
        reverse("admin:recommendations_run_change", args=[call.run_uuid])
        in client.get(CALLS).content.decode()
    )


@pytest.mark.parametrize("url", ["add", "delete"])
def test_calls_are_never_added_or_deleted_by_hand(boss: User, url: str) -> None:
    call = a_call()
    name = f"admin:prompts_modelcall_{url}"
    page = as_user(boss).get(reverse(name, args=[call.pk] if url == "delete" else []))
    assert page.status_code == 403


def test_the_budget_page_shows_what_is_spent(operator: User) -> None:
    Budget(day_micro_usd=1_000_000, month_micro_usd=2_000_000, member_day_micro_usd=10**6).save()
    budget.reserve([budget.BudgetClaim(uuid=uuid4(), micro_usd=250_000)], now=timezone.now())
    page = as_user(operator).get(reverse("admin:prompts_budget_change", args=[1])).content.decode()
    assert "$0.2500 / $1.00 (25%)" in page
    assert f"day:{timezone.localdate()}" in page
