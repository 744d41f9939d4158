"""Reads the whole body of a request on the event loop, at most so many bytes and within a deadline, before a thread is taken.

songs_be sends its JSON chunked, without Content-Length; Django reads that as an empty body.
"""

from __future__ import annotations

import asyncio
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed

from recommendations.api.json_content import MAX_BODY_BYTES, BodyTooLarge

Environ = dict[str, Any]

#: Of the whole body. Who uploads over a slow line comes through a proxy that buffers (deploy/nginx.conf).
BODY_DEADLINE_S = 5.0
LOOK_EVERY_S = 0.2
#: Staff's forms hold prompt texts and evaluation sets; Django limits those by itself.
STAFF_PREFIX = "/admin/"
MOST_STAFF_BYTES = 8 * 1024 * 1024
#: Bodies larger than the API's that a process holds at once.
MOST_LARGE_BODIES = 8
#: Read and thrown away before the answer, so that a client that only writes first gets to see it.
MOST_DRAINED_BYTES = 4 * 1024 * 1024


class BodyRefused(Exception):
    """The body can't be taken; says what the caller is answered."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def too_large() -> BodyRefused:
    return BodyRefused(413, BodyTooLarge.default_code, BodyTooLarge.default_detail)


def incomplete() -> BodyRefused:
    detail = f"The body did not arrive whole within {BODY_DEADLINE_S:g} s. Send the request again."
    return BodyRefused(408, "BODY_INCOMPLETE", detail)


def may_be_large(environ: Environ) -> bool:
    """Whether the body may be one of those that only staff send."""
    return environ["PATH_INFO"].startswith(STAFF_PREFIX) and (
        _is_chunked(environ) or _length(environ) > MAX_BODY_BYTES
    )


class WholeBodies:
    """Reads bodies and ends those that are late. One look at all of them: a timer each would cost more than the read."""

    def __init__(self) -> None:
        #: When each reading began, oldest first.
        self._began: dict[asyncio.Task[Any], float] = {}
        self._looks = False
        self._large = asyncio.Semaphore(MOST_LARGE_BODIES)

    async def read(self, environ: Environ, proto: HTTPProtocol, *, large: bool) -> bytes:
        """The body to its end. Raises BodyRefused where it is too large or not there by the deadline.

        large: what `may_be_large` says; the caller then calls `release_large` when done with the body.
        """
        length, chunked = _length(environ), _is_chunked(environ)
        # Without a length a body is still possible (HTTP/2), but not for these.
        has_none = "CONTENT_LENGTH" in environ or environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        if has_none and not (length or chunked):
            return b""
        most = MOST_STAFF_BYTES if environ["PATH_INFO"].startswith(STAFF_PREFIX) else MAX_BODY_BYTES
        task = asyncio.current_task()
        assert task is not None
        self._watch(task)
        try:
            known = 0 < length <= most and not chunked
            return await self._whole(proto, most, length_known=known, large=large)
        except asyncio.CancelledError:
            if task in self._began:
                raise  # the server stops
            task.uncancel()
            raise (too_large() if length > most else incomplete()) from None
        except ProtocolClosed:  # the client went away in the middle: nobody reads the answer
            raise incomplete() from None
        finally:
            self._began.pop(task, None)

    async def _whole(
        self, proto: HTTPProtocol, most: int, *, length_known: bool, large: bool
    ) -> bytes:
        if large:
            await self._large.acquire()
        try:
            return await (proto() if length_known else _at_most(most, proto))
        except BaseException:
            if large:
                self._large.release()
            raise

    def release_large(self) -> None:
        self._large.release()

    def _watch(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._began[task] = loop.time()
        if not self._looks:
            self._looks = True
            loop.call_later(LOOK_EVERY_S, self._end_late_ones, loop)

    def _end_late_ones(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - BODY_DEADLINE_S
        for task in [task for task, began in self._began.items() if began <= late]:
            del self._began[task]
            task.cancel()
        self._looks = bool(self._began)
        if self._looks:
            loop.call_later(LOOK_EVERY_S, self._end_late_ones, loop)


def _is_chunked(environ: Environ) -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ


def _length(environ: Environ) -> int:
    """What Content-Length says; the server has refused what is no number."""
    return int(environ.get("CONTENT_LENGTH") or 0)


async def _at_most(most: int, proto: HTTPProtocol) -> bytes:
    pieces, size = [], 0
    async for piece in proto:
        size += len(piece)
        if size <= most:
            pieces.append(piece)
            continue
        pieces.clear()
        if size > most + MOST_DRAINED_BYTES:
            break
    if size > most:
        raise too_large()
    return b"".join(pieces)
