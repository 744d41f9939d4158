"""Asks through chat.completions, which compatible servers speak."""

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


async def ask(client: Any, profile: Profile, request: ModelRequest) -> Reply:
    from openai.types.chat import ChatCompletion  # noqa: PLC0415

    raw = await send(client.chat.completions.with_raw_response.create(**_body(profile, request)))
    return read_reply(raw, ChatCompletion, _read)


def _body(profile: Profile, request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "messages": [
            {"role": "system", "content": request.system},
            {"role": "user", "content": request.user},
        ],
    }
    if profile.is_openai:  # there, reasoning models refuse the old name
        body["max_completion_tokens"] = request.max_output_tokens
    else:
        body["max_tokens"] = request.max_output_tokens
    form = text_format(profile, request)
    if form["type"] == "json_schema":
        inner = {name: value for name, value in form.items() if name != "type"}
        body["response_format"] = {"type": "json_schema", "json_schema": inner}
    elif form["type"] == "json_object":
        body["response_format"] = form
    if profile.can("temperature", True):
        body["temperature"] = request.temperature
    if profile.can("seed", False):
        body["seed"] = request.seed
    if not profile.is_openai and profile.extra_body:
        body["extra_body"] = dict(profile.extra_body)
    return body


def _read(completion: Any, request_id: str) -> Reply:
    choice = completion.choices[0]
    filtered = choice.finish_reason == "content_filter"
    return Reply(
        text=clean_text(choice.message.content),
        usage=usage_of(completion.usage, input_name="prompt", output_name="completion"),
        truncated=choice.finish_reason == "length",
        refusal=clean_text(choice.message.refusal) or ("content_filter" if filtered else ""),
        **names_of(completion, request_id),
    )
