"""Asks one checkout a list of questions and writes its answers down: the half of equal_answers.py that runs in a checkout.

`python bench/tree_answers.py QUESTIONS ANSWERS` with the checkout as working directory. It imports nothing of Songs AI
but the WSGI application, and speaks HTTP through it.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sitecustomize

#: The clock moves by so much from one question to the next.
STEP_S = 7.0
#: Background threads write down what they counted after so many questions.
WAKE_EVERY = 400

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Asker:
    """Asks questions in order; later ones may refer to the last recommendation."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._recommendation: dict[str, Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        path = self._filled(question["path"])
        status, headers, body = self._call(question["method"], path, question.get("body"))
        if path == "/recommend" and status.startswith("200"):
            self._recommendation = json.loads(body)
        kept = [line for line in headers if line[0].lower() != "x-request-id"]
        return {"status": status, "headers": sorted(kept), "body": body.decode()}

    def _filled(self, path: str) -> str:
        """{run} and {song} name the last recommendation and its fourth song."""
        songs = self._recommendation.get("candidates") or [{"song_id": 0}]
        song = songs[min(3, len(songs) - 1)]["song_id"]
        return path.replace("{run}", self._recommendation.get("run_id", "none")).replace(
            "{song}", str(song)
        )

    def _call(self, method: str, path: str, body: Any) -> tuple[str, list[tuple[str, str]], bytes]:
        sent = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        name, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(name).encode().decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1:8000",
            "CONTENT_TYPE": "application/json" if sent else "",
            "CONTENT_LENGTH": str(len(sent)) if sent else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(sent),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        started: list[Any] = []
        parts = self._application(environ, lambda *line: started.extend(line))
        try:
            content = b"".join(parts)
        finally:
            if close := getattr(parts, "close", None):
                close()
        return started[0], [tuple(line) for line in started[1]], content


def main() -> None:
    questions = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    sys.path[0] = str(Path.cwd())  # the checkout, not the folder of this file
    from songs_ai.wsgi import application  # noqa: PLC0415 - of the checkout

    for thread in threading.enumerate():
        if "warm" in thread.name:
            thread.join()
    asker = Asker(application)
    with Path(sys.argv[2]).open("w", encoding="utf-8") as file:
        for number, question in enumerate(questions, 1):
            file.write(json.dumps(asker.answer(question), ensure_ascii=False) + "\n")
            sitecustomize.CLOCK.advance(STEP_S)
            if number % WAKE_EVERY == 0:
                sitecustomize.CLOCK.wake_sleepers()
    sitecustomize.CLOCK.wake_sleepers()


if __name__ == "__main__":
    main()
