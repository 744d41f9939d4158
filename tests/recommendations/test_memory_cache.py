"""Answers in a process's memory: their bytes, their bound, and what is dropped stays dropped."""

from __future__ import annotations

import gzip

import orjson
import pytest

from recommendations.serving.stored_answers import memory_cache
from recommendations.serving.stored_answers.memory_cache import CachedAnswer, with_cached_flag

from .answers import encoded


@pytest.fixture(autouse=True)
def _empty_memory() -> None:
    memory_cache.answers.clear()


def test_our_own_bytes_are_served_with_the_flag_before_the_last_brace() -> None:
    stored = encoded(1, 65)
    served = with_cached_flag(stored)
    assert served == stored[:-1] + b',"cached":true}'
    assert list(orjson.loads(served)) == [
        "favorite_song_ids",
        "groups",
        "candidates",
        "generated_date",
        "cached",
    ]


def test_another_programs_value_is_normalised_and_flagged() -> None:
    answer = orjson.loads(with_cached_flag(b'{"favorites": ["7"]}'))
    assert (answer["favorite_song_ids"], answer["cached"]) == ([7], True)


def test_the_tag_follows_the_bytes_and_the_compressed_body_is_the_same() -> None:
    one, other = CachedAnswer.of(encoded(1)), CachedAnswer.of(encoded(2))
    assert one.etag == CachedAnswer.of(encoded(1)).etag != other.etag
    assert gzip.decompress(one.gzipped) == one.body


def test_memory_drops_the_oldest_first(settings) -> None:
    settings.L1_MAX_ENTRIES = 2
    for name in ("a", "b", "c"):
        memory_cache.answers.put(name, CachedAnswer.of(encoded(1)))
    assert memory_cache.answers.get("a") is None
    assert memory_cache.answers.get("c") is not None


def test_a_slow_reader_does_not_put_back_what_was_dropped() -> None:
    generation = memory_cache.answers.generation
    memory_cache.answers.drop("42")
    memory_cache.answers.put("42", CachedAnswer.of(encoded(1)), generation=generation)
    assert memory_cache.answers.get("42") is None
