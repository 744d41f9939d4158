"""What a member gets while the model fails, in each way it can, in both call styles."""

from __future__ import annotations

import time

import pytest
from django.db.models import Sum
from django.test import Client

from bench.fake_model import FakeModel
from prompts.llm import model_profiles
from prompts.models import Api, CallOutcome, LedgerScope, ModelCall, Reservation
from recommendations.models import Run

from .conftest import World
from .test_api_recommend import recommended

pytestmark = pytest.mark.django_db

#: What the server does, how the curation's call is booked under, what of its reservation is spent.
FAULTS = {
    "hang": (CallOutcome.TIMEOUT, "all"),
    "drip": (CallOutcome.TIMEOUT, "all"),
    "429, Retry-After 1": (CallOutcome.RATE_LIMITED, "nothing"),
    "429, Retry-After 60": (CallOutcome.RATE_LIMITED, "nothing"),
    "quota": (CallOutcome.QUOTA, "nothing"),
    "500": (CallOutcome.HTTP_5XX, "nothing"),
    "401": (CallOutcome.HTTP_4XX, "nothing"),
    "404": (CallOutcome.HTTP_4XX, "nothing"),
    "reset": (CallOutcome.CONNECTION, "all"),
    "not_json": (CallOutcome.INVALID_JSON, "all"),
    "refusal": (CallOutcome.REFUSED, "usage"),
    "truncated": (CallOutcome.TRUNCATED, "usage"),
    "prose": (CallOutcome.INVALID_JSON, "usage"),
    "empty": (CallOutcome.EMPTY, "usage"),
    "fenced": (CallOutcome.OK_REPAIRED, "usage"),
    "out_of_range": (CallOutcome.OK_REPAIRED, "usage"),
    "duplicates": (CallOutcome.OK_REPAIRED, "usage"),
    "no_usage": (CallOutcome.OK, "all"),
}
#: A server that hangs does so for a minute; the rest is what a busy machine may need.
DEADLINE_S, LATEST_S = 1.0, 10.0


@pytest.mark.parametrize("api", list(Api))
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_ends_in_an_answer_a_name_and_a_price(
    client: Client, world: World, model: FakeModel, settings, fault: str, api: Api
) -> None:
    outcome, spent = FAULTS[fault]
    settings.OPENAI_API = str(api)
    model_profiles.clear_cache()
    model.fault, _, model.retry_after = fault.partition(", Retry-After ")
    settings.LLM_DEADLINE_S = DEADLINE_S if spent == "all" else LATEST_S
    began = time.monotonic()
    body = recommended(client, memberId=world.alice)
    assert time.monotonic() - began < LATEST_S

    usable = outcome in {CallOutcome.OK, CallOutcome.OK_REPAIRED}
    assert len(body["candidates"]) == 50
    assert all(group["songs"] and group["tagline"] for group in body["groups"])
    assert bool(body["degraded"]) is not (fault in {"fenced", "no_usage"})
    assert "timeout" not in (
        body["degraded"] or ""
    )  # a word that the backend takes for a reason to retry
    assert Run.objects.get(pk=body["run_id"]).source == ("model" if usable else "local")

    call = ModelCall.objects.get(purpose="curation")
    assert (call.outcome, call.api) == (outcome, api)
    said = 1_000 * 0.75 + 60 * 4.5
    assert call.cost_micro_usd == {"all": call.reserved_micro_usd, "usage": said}.get(spent, 0)
    assert call.attempts == len(model.seen) / 2 == 1
    assert not Reservation.objects.exists()
    cost = ModelCall.objects.aggregate(sum=Sum("cost_micro_usd"))["sum"]
    for scope in LedgerScope.objects.all():
        assert (scope.spent_micro_usd, scope.reserved_micro_usd) == (cost, 0)
    assert cost <= settings.LLM_BUDGET_MEMBER_DAY_USD * 1_000_000
