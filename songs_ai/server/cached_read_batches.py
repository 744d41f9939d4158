"""Answers cached reads on the event loop: from this process's memory at once, from Redis in batches.

A thread for each read would cost more than the read. Whatever these two can't tell (no Redis, an answer that
has to be compressed first) is left to the hot path in the threads, which asks the same functions.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from infrastructure.redis import gate
from recommendations import services
from recommendations.api import authentication, cached_reads
from recommendations.api.cached_reads import CachedReply, Environ
from recommendations.serving.stored_answers.memory_cache import CachedAnswer

#: 32 answers of 50 KB are read in a few milliseconds.
MOST_KEYS = 32
Found = dict[str, CachedAnswer | None]


class CachedReads:
    """One per process."""

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, "cached-reads")
        self._turn = asyncio.Lock()
        #: Keys of the batch that still takes some; they are read when the batch before is there.
        self._keys: list[str] = []
        self._batch: asyncio.Task[Found] | None = None

    async def __call__(self, environ: Environ) -> CachedReply | None:
        """The answer; None when the threads have to give it."""
        read = cached_reads.plain_read(environ)
        if read is None or authentication.refusal(environ) is not None:
            return None
        member_key = read.member_key
        served = services.cached_in_memory(member_key)
        if served is None:
            found = await self._found_with(member_key) if gate.up else {}
            if member_key not in found:
                return None
            served = found[member_key]
        accept_encoding = environ.get("HTTP_ACCEPT_ENCODING", "")
        if served and not served.is_gzipped and cached_reads.takes_gzip(accept_encoding):
            return None
        services.count_cached_read(member_key, served)
        return cached_reads.reply_for(
            served, accept_encoding=accept_encoding, if_none_match=read.if_none_match
        )

    async def _found_with(self, member_key: str) -> Found:
        """What Redis holds, for this key and those that are asked for meanwhile."""
        if self._batch is None or len(self._keys) >= MOST_KEYS:
            self._keys = []
            self._batch = asyncio.create_task(self._read(self._keys))
        self._keys.append(member_key)
        batch = self._batch
        await asyncio.wait((batch,))
        # A value that fails is for its own caller to fail on, in a thread.
        return {} if batch.exception() else batch.result()

    async def _read(self, keys: list[str]) -> Found:
        async with self._turn:
            if keys is self._keys:
                self._batch = None  # it takes no more
            return await asyncio.get_running_loop().run_in_executor(
                self._reader, services.cached_in_redis, tuple(dict.fromkeys(keys))
            )
