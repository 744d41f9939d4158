"""Asks a language model: prepare, admit, reserve, send, judge, record.

Each step is a module: preparing, admission, budget, gateway, call_records.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from infrastructure.database import release_connections
from prompts.errors import ModelUnavailable
from prompts.llm import admission, budget, call_records, gateway, model_profiles
from prompts.llm.admission import Admission, Refusal
from prompts.llm.call_records import Answer, FinishedCall
from prompts.llm.gateway import exchange_all
from prompts.llm.preparing import Ask, PreparedCall, prepare, prompt_values
from prompts.versions.rendering import Rendered
from prompts.versions.resolution import resolve

__all__ = ["Answer", "Ask", "ask", "ask_many", "model_configured", "rendered", "warm_up"]


def ask(slug: str, *, variables: Mapping[str, Any], deadline_s: float, **options: Any) -> Answer:
    """Ask one question; the other fields of `Ask` are keyword arguments. Raises ModelUnavailable."""
    answer = ask_many([Ask(slug=slug, variables=variables, **options)], deadline_s)[0]
    if isinstance(answer, ModelUnavailable):
        raise answer
    return answer


def ask_many(asks: Sequence[Ask], deadline_s: float) -> list[Answer | ModelUnavailable]:
    """Ask side by side; every element is an answer or says why there is none.

    Returns within `deadline_s` and a quarter second, whatever the servers do. Every call leaves a
    ModelCall row, also one that was refused; only without a configured model there is none.
    Call it outside of `transaction.atomic`: the reservation must be committed before money is spent.
    """
    deadline = time.monotonic() + deadline_s
    prepared = [prepare(one, deadline_s) for one in asks]
    calls = [call for call in prepared if isinstance(call, PreparedCall)]
    finished = {done.row.uuid: done for done in _send(calls, deadline, deadline_s)}
    if calls:
        budget.settle([finished[call.uuid].row for call in calls])
    return [
        call if isinstance(call, ModelUnavailable) else _result(finished[call.uuid])
        for call in prepared
    ]


def _send(calls: Sequence[PreparedCall], deadline: float, deadline_s: float) -> list[FinishedCall]:
    """Admit and pay the calls, send those that may be sent, and finish all of them."""
    decided = [admission.admit(call, deadline_s) for call in calls]
    admitted = [one for one in decided if isinstance(one, Admission)]
    try:
        reserved = admission.reserve(admitted, deadline_s)
        release_connections()
        paid = [one for one in reserved if isinstance(one, Admission)]
        exchanges = exchange_all([one.plan(deadline) for one in paid])
    finally:
        admission.release_places(admitted)
    refusals = [one for one in (*decided, *reserved) if isinstance(one, Refusal)]
    return [
        *(call_records.refused(one) for one in refusals),
        *(
            call_records.finished(one, exchange)
            for one, exchange in zip(paid, exchanges, strict=True)
        ),
    ]


def _result(done: FinishedCall) -> Answer | ModelUnavailable:
    return done.answer or ModelUnavailable(
        done.row.outcome, call=str(done.row.uuid), reason=done.reason
    )


def rendered(one: Ask) -> Rendered:
    """The texts that would be sent, without asking a model. Raises MissingVariables."""
    version = one.version or resolve(one.slug, one.member_key)
    return version.render(prompt_values(one, version)[0])


def model_configured() -> bool:
    """Whether there is a model to ask: a default profile or the OPENAI_* settings. Reads memory only."""
    return model_profiles.find(None) is not None


def warm_up() -> None:
    """Import the SDK and build the client before the first call, whose deadline it would use up."""
    try:
        profile = model_profiles.find(None)
        if profile is not None:
            gateway.warm_up(profile)
    finally:
        release_connections()
