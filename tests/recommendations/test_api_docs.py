"""The API's description: every call with its examples and errors, served from our own host only."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
import schemathesis
from django.contrib.staticfiles import finders
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from songs_ai.wsgi import application

from .conftest import World

pytestmark = pytest.mark.django_db
CALLS = {
    "/recommend": {"post"},
    "/recommend/cached": {"post"},
    "/recommend/cached/{member_id}": {"get"},
    "/recommend/{run_id}/why": {"get"},
    "/favorites/updated": {"post"},
    "/warm/active": {"post"},
    "/feedback": {"post"},
    "/songs/search": {"get"},
}


@pytest.fixture
def described(client) -> dict:
    return client.get("/api/schema/").json()


def test_every_call_is_described_with_its_errors(described: dict) -> None:
    for path, methods in CALLS.items():
        for method in methods:
            operation = described["paths"][path][method]
            assert operation.get("summary") or operation.get("description")
            assert {"400", "401", "403", "405", "503"} <= set(operation["responses"])
            if method == "post":
                assert {"413", "415"} <= set(operation["responses"])
    assert not [path for path in described["paths"] if path != "/" and path.endswith("/")]


def test_the_contracts_calls_have_examples(described: dict) -> None:
    for path in ("/recommend", "/recommend/cached", "/favorites/updated"):
        operation = described["paths"][path]["post"]
        sent = operation["requestBody"]["content"]["application/json"]["examples"]
        answered = operation["responses"]["200"]["content"]["application/json"]["examples"]
        assert len(sent) >= 2
        assert answered
        fields = {name for example in sent.values() for name in example["value"]}
        assert {"memberId", "user_id"} <= fields


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc", "/"])
def test_pages_load_nothing_from_elsewhere(client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert not re.findall(rb"""(?:src|href)=["'](?:https?:)?//""", page.content)
    for asset in re.findall(r'(?:src|href)="/static/([^"]+)"', page.content.decode()):
        assert finders.find(asset), asset


def test_redoc_may_not_fetch_from_elsewhere(client) -> None:
    page = client.get("/redoc").content.decode()
    assert "img-src 'self' data:" in page
    assert "googleapis" not in page


# --- Every call, with values a caller might think of -------------------------------------------------
#: Bodies are read more leniently than they are described (contract §1): a 200 for one is no fault.
LENIENT = [
    schemathesis.checks.negative_data_rejection,
    schemathesis.checks.positive_data_acceptance,
    schemathesis.checks.unsupported_method,
]


def test_no_value_makes_a_server_error_or_breaks_the_schema(world: World) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/schema/", application)
    checked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        _check(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
        with suppress(Unsatisfiable):  # a call for which nothing can be wrong
            _check(operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
        checked.append(operation.label)
    assert len(checked) >= len(CALLS)


def _check(cases: SearchStrategy[schemathesis.Case]) -> None:
    @settings(
        max_examples=5,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=cases)
    def check(case: schemathesis.Case) -> None:
        # The in-process client does not unzip what it asks for.
        case.call_and_validate(headers={"Accept-Encoding": "identity"}, excluded_checks=LENIENT)

    check()
