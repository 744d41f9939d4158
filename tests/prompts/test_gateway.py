"""What goes over the wire, how long it may take, and whom the gateway turns to next."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError

from bench.fake_model import FakeModel, good_answer
from prompts.errors import ModelUnavailable
from prompts.llm import gateway, model_profiles
from prompts.llm.ask import Ask, ask, ask_many
from prompts.llm.breaker import CallReport, breaker
from prompts.llm.capability_probe import probe
from prompts.llm.exchange import CallPlan, Exchange, ModelRequest
from prompts.llm.gateway import exchange_all
from prompts.llm.model_profiles import Price, Profile
from prompts.models import Api, CallOutcome, ModelCall, ModelPrice, ModelProfile
from tests.prompts.test_ask import CURATION, DEADLINE_S, booked, curate

FREE = Price(input=0, cached=0, cache_write=0, output=0)
SCHEMA = {
    "type": "object",
    "properties": {"picks": {"type": "array", "items": {"type": "integer"}}},
    "required": ["picks"],
    "additionalProperties": False,
}
REQUEST = ModelRequest(
    name="curation_v1",
    schema=SCHEMA,
    system="고르세요.",
    user="정확히 1곡\n1 Lemon",
    max_output_tokens=40,
    cache_key="curation:abc",
    safety_identifier="f00",
    seed=7,
)


def profile_at(server: FakeModel, api: Api = Api.CHAT, **options) -> Profile:
    values = {"id": 1, "name": "fake", "model": "fake-1", "key": "sk-test", "price": FREE}
    return Profile(**(values | {"api": api, "base_url": server.url} | options))


class OpenAIProfile(Profile):
    """The fake server, treated as OpenAI itself."""

    is_openai = property(lambda self: True)


def exchanged(profile: Profile, seconds: float = DEADLINE_S, **options) -> Exchange:
    plan = CallPlan(
        profile=profile, request=REQUEST, deadline=time.monotonic() + seconds, **options
    )
    return exchange_all([plan])[0]


def test_a_compatible_server_gets_only_what_it_knows(fake_model: FakeModel) -> None:
    exchanged(profile_at(fake_model, capabilities={"seed": True}, extra_body={"top_k": 1}))
    body = fake_model.seen[0].body
    assert set(body) == {
        "model",
        "messages",
        "max_tokens",
        "response_format",
        "temperature",
        "seed",
        "top_k",
    }
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["response_format"]["json_schema"] == {
        "name": "curation_v1",
        "strict": True,
        "schema": SCHEMA,
    }


def test_openai_gets_a_strict_schema_and_may_not_keep_the_answer(
    fake_model: FakeModel,
) -> None:
    profile = profile_at(
        fake_model, Api.RESPONSES, capabilities={"temperature": False, "effort": "none"}
    )
    exchanged(OpenAIProfile(**vars(profile)))
    body = fake_model.seen[0].body
    assert body["store"] is False
    assert body["truncation"] == "disabled"
    assert body["text"]["format"]["strict"] is True
    assert body["reasoning"] == {"effort": "none"}
    assert body["safety_identifier"] == "f00"
    assert body["prompt_cache_key"] == "curation:abc"
    assert "temperature" not in body


@pytest.mark.parametrize("form", ["json_object", "text"])
@pytest.mark.parametrize("api", list(Api))
def test_a_weaker_server_is_asked_in_its_own_way(
    fake_model: FakeModel, api: Api, form: str
) -> None:
    exchanged(profile_at(fake_model, api, capabilities={"format": form}))
    body = fake_model.seen[0].body
    asked = body["text"]["format"] if api == Api.RESPONSES else body.get("response_format")
    assert asked == (None if (api, form) == (Api.CHAT, "text") else {"type": form})


def test_a_redirect_is_not_followed(fake_model: FakeModel) -> None:
    fake_model.fault = "redirect"
    assert exchanged(profile_at(fake_model)).outcome == CallOutcome.HTTP_4XX
    assert len(fake_model.seen) == 1


def test_many_calls_wait_together(fake_model: FakeModel) -> None:
    fake_model.delay_s = 0.5
    plan = CallPlan(
        profile=profile_at(fake_model),
        request=REQUEST,
        deadline=time.monotonic() + DEADLINE_S,
    )
    started = time.monotonic()
    assert {found.outcome for found in exchange_all([plan] * 16)} == {CallOutcome.OK}
    assert time.monotonic() - started < 4  # one after the other: eight seconds


@pytest.mark.parametrize("fault", ["500", "reset", "429"])
def test_a_patient_caller_is_tried_again_once(fake_model: FakeModel, fault: str) -> None:
    fake_model.fault, fake_model.fault_times = fault, 1
    found = exchanged(profile_at(fake_model), retry=True)
    assert (found.outcome, len(found.attempts)) == (CallOutcome.OK, 2)
    fake_model.seen.clear()
    fake_model.calls, fake_model.fault_times = 0, 2
    assert exchanged(profile_at(fake_model), retry=True).outcome != CallOutcome.OK
    assert len(fake_model.seen) == 2


@pytest.mark.parametrize("fault", ["400", "401", "404", "quota", "refusal", "truncated"])
def test_what_will_not_change_is_not_asked_again(fake_model: FakeModel, fault: str) -> None:
    fake_model.fault = fault
    exchanged(profile_at(fake_model), retry=True)
    assert len(fake_model.seen) == 1


@pytest.fixture
def other_model() -> Iterator[FakeModel]:
    with FakeModel() as server:
        yield server


def test_the_fallback_answers_for_a_failing_server(
    fake_model: FakeModel, other_model: FakeModel
) -> None:
    fake_model.fault = "500"
    found = exchanged(profile_at(fake_model), fallback=profile_at(other_model, id=2))
    assert found.outcome == CallOutcome.OK
    assert found.profile is not None
    assert found.profile.id == 2


def test_a_slow_call_is_hedged_and_the_first_answer_counts(
    fake_model: FakeModel, other_model: FakeModel
) -> None:
    fake_model.fault = "hang"
    started = time.monotonic()
    found = exchanged(profile_at(fake_model), hedge=True, fallback=profile_at(other_model, id=2))
    assert (found.outcome, found.hedged, len(found.attempts)) == (CallOutcome.OK, True, 2)
    assert time.monotonic() - started < 5  # the first server hangs for a minute
    # the one that was given up has to be paid for all the same
    assert [attempt.usage is None for attempt in found.attempts] == [True, False]


def test_a_forked_child_builds_its_own_loop(fake_model: FakeModel) -> None:
    assert exchanged(profile_at(fake_model)).outcome == CallOutcome.OK
    before = gateway.gateway()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the child answers through the pipe and leaves without pytest's farewell
        outcome = exchanged(profile_at(fake_model)).outcome
        os.write(writing, outcome.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"ok"
    assert gateway.gateway() is before


# --- With rows --------------------------------------------------------------------------------------
def row_at(server: FakeModel, name: str = "fake", **options) -> ModelProfile:
    row = ModelProfile.objects.create(
        name=name, base_url=server.url, model="fake-1", **({"api": Api.CHAT} | options)
    )
    ModelPrice.objects.create(profile=row, input=1_000_000, cached=100_000, output=2_000_000)
    return row


@pytest.fixture
def loopback_allowed(settings) -> None:
    settings.LLM_HOSTS = ["127.0.0.1"]


@pytest.mark.django_db
def test_the_default_row_is_asked_at_its_own_price(
    fake_model: FakeModel, loopback_allowed: None
) -> None:
    row = row_at(fake_model, is_default=True)
    curate()
    call = ModelCall.objects.get()
    # 1000 × 1 + 60 × 2 micro-dollars
    assert (call.profile_id, call.cost_micro_usd) == (row.pk, 1_120)


@pytest.mark.django_db
def test_a_host_nobody_allowed_is_never_asked(fake_model: FakeModel) -> None:
    row = row_at(fake_model, is_default=True)
    with pytest.raises(ModelUnavailable):
        curate()
    assert not fake_model.seen
    assert ModelCall.objects.get().error_class == "HostNotAllowed"
    with pytest.raises(ValidationError):
        row.full_clean()


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "sk-live-123", "SONGS_AI_API_KEYS"])
def test_only_a_providers_key_may_be_named(name: str, monkeypatch) -> None:
    monkeypatch.setenv(name, "secret") if name.isupper() else None
    row = ModelProfile(name="x", model="m", api_key_env=name)
    with pytest.raises(ValidationError):
        row.full_clean()
    assert model_profiles.key_of(row) == ""


@pytest.mark.django_db
def test_one_default_at_a_time(fake_model: FakeModel) -> None:
    first = row_at(fake_model, "one", is_default=True)
    row_at(fake_model, "two", is_default=True)
    first.refresh_from_db()
    assert not first.is_default


@pytest.mark.django_db
def test_an_open_breaker_leads_to_the_fallback(
    fake_model: FakeModel, other_model: FakeModel, loopback_allowed: None
) -> None:
    second = row_at(other_model, "second")
    first = row_at(fake_model, "first", is_default=True, fallback=second)
    for _ in range(5):
        breaker.record(str(first.pk), CallReport(failed=True))
    curate()
    assert ModelCall.objects.get().profile_id == second.pk
    assert not fake_model.seen


@pytest.mark.django_db
def test_after_five_failures_nobody_waits_any_more(model: FakeModel) -> None:
    model.fault = "500"
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            curate()
    with pytest.raises(ModelUnavailable) as failure:
        curate()
    assert failure.value.outcome == CallOutcome.CIRCUIT_OPEN
    assert len(model.seen) == 5
    assert ModelCall.objects.filter(outcome=CallOutcome.CIRCUIT_OPEN, cost_micro_usd=0).count() == 1


@pytest.mark.django_db
def test_without_a_free_place_the_answer_is_local(model: FakeModel, settings) -> None:
    settings.LLM_CONCURRENCY = 2
    answers = ask_many([Ask(slug="curation", variables=CURATION)] * 3, DEADLINE_S)
    busy = [answer for answer in answers if isinstance(answer, ModelUnavailable)]
    assert [answer.reason for answer in busy] == ["busy"]
    assert curate().data  # the places came back


@pytest.mark.django_db
def test_nothing_is_asked_once_the_money_is_gone(model: FakeModel, settings) -> None:
    settings.LLM_BUDGET_DAY_USD = 0.000_1
    with pytest.raises(ModelUnavailable) as failure:
        curate()
    assert (failure.value.outcome, failure.value.reason) == (CallOutcome.BUDGET_DENIED, "budget")
    assert not model.seen
    assert booked() == 0


@pytest.mark.django_db
def test_a_hedged_call_is_booked_twice(
    fake_model: FakeModel, other_model: FakeModel, loopback_allowed: None, settings
) -> None:
    settings.LLM_HEDGE = True
    fake_model.fault = "hang"
    second = row_at(other_model, "second")
    row_at(fake_model, "first", is_default=True, fallback=second)
    ask("curation", variables=CURATION, deadline_s=DEADLINE_S)
    call = ModelCall.objects.get()
    assert call.hedged
    # nobody will ever hear what the abandoned one took
    assert call.cost_micro_usd == booked() == call.reserved_micro_usd > 2 * 1_120


def test_a_deadline_speaks_against_every_server_that_was_still_asked(
    fake_model: FakeModel, other_model: FakeModel
) -> None:
    fake_model.fault = other_model.fault = "hang"
    other = profile_at(other_model, id=72)  # ids whose usual latency nobody has measured
    found = exchanged(
        profile_at(fake_model, id=71), 0.8, hedge=True, hedge_after_s=0.1, fallback=other
    )
    assert found.outcome == CallOutcome.TIMEOUT
    assert {(report.profile.id, report.outcome) for report in found.reports} == {
        (71, CallOutcome.TIMEOUT),
        (72, CallOutcome.TIMEOUT),
    }


# --- 연결 시험 --------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize("api", list(Api))
def test_a_probe_finds_what_a_server_enforces(
    fake_model: FakeModel, loopback_allowed: None, api: Api
) -> None:
    row = row_at(fake_model, api=api)
    found = probe(row)
    assert found.capabilities["format"] == "json_schema"
    assert found.capabilities["temperature"] is True
    assert found.capabilities["usage"] is True
    row.refresh_from_db()
    assert row.capabilities == found.capabilities
    assert row.probed_at
    assert set(ModelCall.objects.values_list("purpose", flat=True)) == {"probe"}
    assert booked() > 0


@pytest.mark.django_db
def test_a_probe_climbs_down_the_ladder(fake_model: FakeModel, loopback_allowed: None) -> None:
    def ignores_schemas(seen) -> str:
        form = (seen.body.get("response_format") or {}).get("type")
        return '{"picks": [1, 2]}' if form == "json_object" else "Sure, a lovely song."

    fake_model.answer = ignores_schemas
    assert probe(row_at(fake_model)).capabilities["format"] == "json_object"
    fake_model.answer = lambda seen: (
        "A lovely song." if seen.body.get("response_format") else good_answer(seen)
    )
    assert probe(row_at(fake_model, "other")).capabilities["format"] == "text"


@pytest.mark.django_db
@pytest.mark.parametrize(("fault", "said"), [("401", "401"), ("404", "404"), ("500", "500")])
def test_a_probe_says_what_is_wrong(
    fake_model: FakeModel, loopback_allowed: None, fault: str, said: str
) -> None:
    fake_model.fault = fault
    row = row_at(fake_model)
    found = probe(row)
    assert not found.usable
    row.refresh_from_db()
    assert said in row.probe_error
