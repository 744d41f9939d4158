"""Keeps answers for a context, a dial or another language in Django's cache: an hour, eight per member."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import quote

from django.core.cache import cache

from infrastructure.redis import gate

from .answer_store import AnswerMeta, SavedAnswer

VARIANT_TTL_S = 3_600
VARIANTS_PER_MEMBER = 8


def save(member_key: str, variant: str, body: bytes, meta: AnswerMeta) -> None:
    """Keep an answer; beyond VARIANTS_PER_MEMBER the oldest goes."""

    def write() -> None:
        index_key = _index_key(member_key)
        names = [name for name in cache.get(index_key, []) if name != variant] + [variant]
        for old in names[:-VARIANTS_PER_MEMBER]:
            cache.delete(_variant_key(member_key, old))
        cache.set(_variant_key(member_key, variant), (body, asdict(meta)), VARIANT_TTL_S)
        cache.set(index_key, names[-VARIANTS_PER_MEMBER:], VARIANT_TTL_S)

    gate.in_cache(write, None)


def read(member_key: str, variant: str) -> SavedAnswer | None:
    found = gate.in_cache(lambda: cache.get(_variant_key(member_key, variant)), None)
    if found is None:
        return None
    body, meta = found
    return SavedAnswer(body=body, meta=AnswerMeta(**meta))


def delete_all(member_key: str) -> None:
    def write() -> None:
        index_key = _index_key(member_key)
        names = cache.get(index_key, [])
        cache.delete_many([*(_variant_key(member_key, name) for name in names), index_key])

    gate.in_cache(write, None)


def _index_key(member_key: str) -> str:
    # Quoted: Django's cache warns of blanks in a key.
    return f"variants:{quote(member_key, safe='')}"


def _variant_key(member_key: str, variant: str) -> str:
    return f"variant:{quote(member_key, safe='')}:{variant}"
