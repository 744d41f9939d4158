"""A small OpenAI-compatible server on a free loopback port, with faults that a test switches on.

`python -m bench.fake_model --port 18900` serves it by itself, as slow as a hosted model, for benchmarks.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

#: What a good model says to our two contracts, made from what it was shown.
TASTE = {
    "taste": "신나는 록과 잔잔한 발라드를 고루 즐깁니다.",
    "genres": [],
    "moods": [],
    "artists": [],
}
TAGLINES = (
    "떼창하기 좋은 록 🎤",
    "감성 터지는 밤",
    "목 풀기 좋은 곡",
    "마지막 곡은 이걸로",
    "다 같이 신나게",
    "고음에 도전",
)


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    body: dict[str, Any]
    authorization: str

    @property
    def style(self) -> str:
        return "responses" if self.path.endswith("/responses") else "chat"

    @property
    def text(self) -> str:
        if self.style == "responses":
            parts = [part["text"] for part in self.body["input"][0]["content"]]
            return self.body["instructions"] + "\n" + "\n".join(parts)
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def schema(self) -> dict[str, Any] | None:
        if self.style == "responses":
            return self.body["text"]["format"].get("schema")
        form = self.body.get("response_format") or {}
        return form.get("json_schema", {}).get("schema")


def song_lines(text: str) -> dict[int, str]:
    """Numbered lines a prompt shows."""
    return {int(number): rest for number, rest in re.findall(r"^(\d+) (.+)$", text, re.M)}


def good_answer(seen: Seen) -> str:
    """What a model that works well answers."""
    shown = song_lines(seen.text)
    properties = (seen.schema or {}).get("properties", {"picks": {}})
    if "picks" in properties:
        asked = re.search(r"정확히 (\d+)곡", seen.text)
        count = int(asked[1]) if asked else 5
        return json.dumps({"picks": sorted(shown, reverse=True)[:count]})
    if "taglines" in properties:
        lines = [TAGLINES[index % len(TAGLINES)] for index in range(len(shown))]
        return json.dumps(TASTE | {"taglines": lines}, ensure_ascii=False)
    return json.dumps({name: [] for name in properties})


@dataclass
class FakeModel:
    """The server. `fault` names what goes wrong; `answer` makes the text of a good answer."""

    #: "", hang, drip, 429, quota, 500, 401, 404, 400, refusal, truncated, prose, fenced,
    #: out_of_range, duplicates, empty, no_usage, reset, not_json, no_choices, redirect
    fault: str = ""
    retry_after: str = ""
    #: The fault ends after so many requests; 0 = never.
    fault_times: int = 0
    delay_s: float = 0.0
    #: Speed of writing, on top of `delay_s`; 0 = at once.
    tokens_per_s: float = 0.0
    host: str = "127.0.0.1"
    port: int = 0  #: 0 = any free one
    answer: Callable[[Seen], str] = good_answer
    #: Tokens (read, written) every answer claims; None = counted roughly, see `tokens`.
    usage: tuple[int, int] | None = (1_000, 60)
    #: Path and value put into every answer, for servers that speak the dialect their own way.
    odd: tuple[str, Any] | None = None
    seen: list[Seen] = field(default_factory=list)
    #: False: requests are only counted; a benchmark sends tens of thousands.
    keep: bool = True
    calls: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"model": self})
        self._server = _Server((self.host, self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://{self.host}:{self._server.server_address[1]}/v1"

    def writing_s(self, seen: Seen, fault: str) -> float:
        if not self.tokens_per_s:
            return 0.0
        return tokens(_text(seen, fault, self)) / self.tokens_per_s

    def fault_of(self, number: int) -> str:
        return "" if self.fault_times and number > self.fault_times else self.fault

    def note(self, seen: Seen) -> int:
        """Count a request, and keep it; returns the how-manieth it is."""
        with self._counting:
            self.calls += 1
            if self.keep:
                self.seen.append(seen)
            return self.calls

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the server lives."""
        self._stopping.wait(seconds)


ERRORS: dict[str, tuple[int, str, str]] = {
    "429": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "500": (500, "server_error", ""),
    "401": (401, "invalid_request_error", "invalid_api_key"),
    "404": (404, "invalid_request_error", "model_not_found"),
    "400": (400, "invalid_request_error", "context_length_exceeded"),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 turns away calls that start together


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: FakeModel

    def log_message(self, *_: object) -> None:
        """Tests read assertions, not access logs."""

    def do_GET(self) -> None:
        """GET /__stats: how many calls came; a client that was killed could not count all of its own."""
        self._send(200, {"calls": self.model.calls})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        seen = Seen(self.path, json.loads(raw), self.headers.get("Authorization", ""))
        fault = self.model.fault_of(self.model.note(seen))
        self.model.wait(self.model.delay_s)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._respond(seen, fault)

    def _respond(self, seen: Seen, fault: str) -> None:
        if fault == "hang":
            self.model.wait(60)
            self.close_connection = True
        elif fault == "reset":
            self.connection.close()
            self.close_connection = True
        elif fault in ERRORS:
            status, kind, code = ERRORS[fault]
            self._send(status, {"error": {"message": "no", "type": kind, "code": code or None}})
        elif fault == "redirect":
            self.send_response(307)
            self.send_header("Location", self.model.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault == "not_json":
            self._send_bytes(200, b'{"id": "x", "choi', "application/json")
        else:
            body = _completion(seen, fault, self.model)
            self.model.wait(self.model.writing_s(seen, fault))
            self._send(200, body, drip=fault == "drip")

    def _send(self, status: int, body: dict[str, Any], *, drip: bool = False) -> None:
        self._send_bytes(status, json.dumps(body).encode(), "application/json", drip=drip)

    def _send_bytes(self, status: int, data: bytes, kind: str, *, drip: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-request-id", "req_fake")
        if status == 429 and self.model.retry_after:
            self.send_header("Retry-After", self.model.retry_after)
        self.end_headers()
        if not drip:
            self.wfile.write(data)
            return
        for byte in data:  # every read succeeds in time, the answer as a whole never does
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            self.model.wait(0.1)


def tokens(text: str) -> int:
    """Roughly the tokens of Korean and Japanese text: two characters each."""
    return -(-len(text) // 2)


def _text(seen: Seen, fault: str, model: FakeModel) -> str:
    good = model.answer(seen)
    shown = len(song_lines(seen.text))
    return {
        "refusal": "",
        "empty": "",
        "truncated": good[: len(good) // 2],
        "prose": "물론이죠! 좋은 곡을 골라 드릴게요.",
        "fenced": f"여기 있습니다.\n```json\n{good}\n```\n즐겁게 부르세요!",
        "out_of_range": json.dumps({"picks": [0, -3, shown + 1, 9_999_999, 2, 1]}),
        "duplicates": json.dumps({"picks": [2, 2, 1, 2, 1, 3]}),
    }.get(fault, good)


def _completion(seen: Seen, fault: str, model: FakeModel) -> dict[str, Any]:
    text = _text(seen, fault, model)
    refusal = "I'm sorry, but I can't help with that." if fault == "refusal" else None
    build = _response if seen.style == "responses" else _chat
    body = build(seen, text, refusal, truncated=fault == "truncated")
    counts = model.usage or (tokens(seen.text), tokens(text))
    body["usage"] = None if fault == "no_usage" else _usage(seen.style, counts)
    if fault == "no_choices":
        body["choices" if seen.style == "chat" else "output"] = []
    if model.odd is not None:
        _put(body, *model.odd)
    return body


def _put(body: Any, path: str, value: Any) -> None:
    """Set `choices.0.message.content` and the like."""
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in way:
        body = body[part]
    body[last] = value


def _usage(style: str, counts: tuple[int, int]) -> dict[str, Any]:
    given, made = counts
    if style == "responses":
        return {
            "input_tokens": given,
            "output_tokens": made,
            "total_tokens": given + made,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _chat(seen: Seen, text: str, refusal: str | None, *, truncated: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    reason = "length" if truncated else "stop"
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": seen.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }


def _response(seen: Seen, text: str, refusal: str | None, *, truncated: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    if refusal:
        part = {"type": "refusal", "refusal": refusal}
    status = "incomplete" if truncated else "completed"
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if truncated else None,
        "model": seen.body["model"],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "type": "message",
                "id": "msg_fake",
                "status": status,
                "role": "assistant",
                "content": [part],
            }
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=FakeModel.host, help="address to listen on")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-s", type=float, default=0.4, help="until the first token")
    parser.add_argument("--tokens-per-s", type=float, default=75.0, help="speed of writing")
    parser.add_argument("--fault", default="", help="what goes wrong with every call: hang, 429 …")
    given = parser.parse_args()
    model = FakeModel(
        host=given.host,
        port=given.port,
        delay_s=given.delay_s,
        tokens_per_s=given.tokens_per_s,
        fault=given.fault,
        usage=None,
        keep=False,
    )
    with model:
        threading.Event().wait()


if __name__ == "__main__":
    main()
