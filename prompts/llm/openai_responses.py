"""Asks through the Responses API (OpenAI)."""

from __future__ import annotations

from typing import Any

from prompts.llm.exchange import ModelRequest, Reply
from prompts.llm.model_profiles import Profile
from prompts.llm.openai_client import (
    clean_text,
    names_of,
    read_reply,
    send,
    text_format,
    usage_of,
)

#: Reasoning efforts from least to most.
_EFFORTS = ("none", "minimal", "low", "medium", "high")


async def ask(client: Any, profile: Profile, request: ModelRequest) -> Reply:
    from openai.types.responses import Response  # noqa: PLC0415

    raw = await send(client.responses.with_raw_response.create(**_body(profile, request)))
    return read_reply(raw, Response, _read)


def _body(profile: Profile, request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "instructions": request.system,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": request.user}]}],
        "text": {"format": text_format(profile, request)},
        "max_output_tokens": request.max_output_tokens,
        "store": False,
        "truncation": "disabled",  # a 400 instead of a silently dropped head
    }
    if profile.can("temperature", True):
        body["temperature"] = request.temperature
    if effort := _effort(profile, request):
        body["reasoning"] = {"effort": effort}
    if profile.is_openai:
        body |= {
            "prompt_cache_key": request.cache_key,
            "safety_identifier": request.safety_identifier,
            "service_tier": request.service_tier,
        }
    return {name: value for name, value in body.items() if value != ""}


def _effort(profile: Profile, request: ModelRequest) -> str:
    """The wanted effort, but no less than the profile accepts; "" for models that don't reason."""
    least = profile.can("effort", "")
    if not least:
        return ""
    return max(least, request.effort, key=lambda name: _EFFORTS.index(name))


def _read(response: Any, request_id: str) -> Reply:
    refusals = [
        clean_text(part.refusal)
        for item in response.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    ]
    reason = response.incomplete_details.reason if response.incomplete_details else ""
    return Reply(
        text=clean_text(response.output_text),
        usage=usage_of(response.usage, input_name="input", output_name="output"),
        truncated=response.status == "incomplete" and reason != "content_filter",
        refusal=" ".join(refusals) or ("content_filter" if reason == "content_filter" else ""),
        **names_of(response, request_id),
    )
