"""The records shared through Redis: one writer, one reader, and the row behind them."""

from __future__ import annotations

import gzip
from datetime import timedelta
from uuid import uuid4

import orjson
import pytest
from django.utils import timezone

from recommendations.models import StoredAnswer
from recommendations.serving import answer_store

SONG = {
    "song_id": 7,
    "title_jp": "怪物",
    "title_kr": "괴물",
    "title_en": "",
    "title_yomi": "かいぶつ",
    "artist": "YOASOBI",
    "artist_kr": "요아소비",
    "tj_number": 68361,
    "ky_number": None,
}


def body_of(*favorites: int) -> bytes:
    return answer_store.encoded_answer(
        favorite_song_ids=list(favorites),
        groups=[{"label": "록", "tagline": "달려볼까요", "songs": [SONG]}],
        candidates=[],
        generated_date="2026-11-23",
    )


def meta_of(**changes: object) -> answer_store.Meta:
    values = {
        "run_id": str(uuid4()),
        "fingerprint": "f",
        "favorites_sha": "s",
        "source": "local",
        "count": 50,
        "generated_at": timezone.now().isoformat(),
    }
    return answer_store.Meta(**(values | changes))


@pytest.fixture(autouse=True)
def _empty_memory() -> None:
    answer_store.l1.clear()


def test_our_own_bytes_are_served_with_the_flag_before_the_last_brace() -> None:
    stored = body_of(1, 65)
    served = answer_store.with_cached_flag(stored)
    assert served == stored[:-1] + b',"cached":true}'
    assert list(orjson.loads(served)) == [
        "favorite_song_ids",
        "groups",
        "candidates",
        "generated_date",
        "cached",
    ]


def test_the_old_schedulers_shape_is_normalised() -> None:
    old = orjson.dumps(
        {
            "favorites": ["1", 65],
            "recommendations": {
                "groups": [
                    {
                        "label": "감성적",
                        "tagline": None,
                        "songs": [
                            {
                                "title_jp": None,
                                "title_kr": "용사",
                                "tj_number": "68999",
                                "ky_number": "0",
                            }
                        ],
                    }
                ],
                "candidates": [{"song_id": "3", "match_score": "x", "matched_criteria": None}],
            },
            "generated_date": "2026-11-20",
        }
    )
    answer = orjson.loads(answer_store.with_cached_flag(old))
    assert answer["favorite_song_ids"] == [1, 65]
    assert answer["cached"] is True
    group = answer["groups"][0]
    assert group["tagline"] == "감성적"  # a heading is never empty
    assert group["songs"] == [
        {
            "title_jp": "",
            "title_kr": "용사",
            "title_en": "",
            "title_yomi": "",
            "artist": "",
            "artist_kr": "",
            "tj_number": 68999,
            "ky_number": None,
        }
    ]
    candidate = answer["candidates"][0]
    assert candidate["song_id"] == 3
    assert candidate["match_score"] == 0
    assert candidate["recommendation_type"] == "preference"
    assert candidate["matched_criteria"] == []


@pytest.mark.parametrize("junk", [b"[]", b"null", b"not json", b""])
def test_what_is_no_recommendation_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 – orjson's own subclass, or ours
        answer_store.normalised(junk)


@pytest.mark.django_db
def test_an_answer_is_read_back_with_what_is_known_of_it() -> None:
    meta = meta_of(picks=[3, 4], taglines={"록": "달려볼까요"})
    answer_store.save("42", body_of(1), meta, now=timezone.now())
    stored = answer_store.read("42")
    assert stored is not None
    assert stored.body == body_of(1)
    assert stored.meta == meta


@pytest.mark.django_db
def test_an_expired_answer_is_gone() -> None:
    answer_store.save("42", body_of(1), meta_of(), now=timezone.now() - timedelta(days=8))
    assert answer_store.read("42") is None
    assert answer_store.served("42") is None


@pytest.mark.django_db
def test_a_served_answer_carries_its_tag_and_its_compressed_twin() -> None:
    answer_store.save("42", body_of(1), meta_of(), now=timezone.now())
    served = answer_store.served("42")
    assert served is not None
    assert gzip.decompress(served.packed) == served.body
    assert (
        served.etag
        == answer_store.Served.of(body_of(1)).etag
        != answer_store.Served.of(body_of(2)).etag
    )


@pytest.mark.django_db
def test_a_new_answer_drops_the_old_one_from_memory_at_once() -> None:
    answer_store.save("42", body_of(1), meta_of(), now=timezone.now())
    assert b"[1]" in answer_store.served("42").body
    answer_store.save("42", body_of(1, 2), meta_of(), now=timezone.now())
    assert b"[1,2]" in answer_store.served("42").body


def test_memory_forgets_the_oldest_first(settings) -> None:
    settings.L1_MAX_ENTRIES = 2
    for name in ("a", "b", "c"):
        answer_store.l1.put(name, answer_store.Served.of(body_of(1)))
    assert answer_store.l1.get("a") is None
    assert answer_store.l1.get("c") is not None


def test_a_slow_reader_does_not_put_back_what_was_dropped() -> None:
    ticket = answer_store.l1.ticket
    answer_store.l1.drop("42")
    answer_store.l1.put("42", answer_store.Served.of(body_of(1)), ticket=ticket)
    assert answer_store.l1.get("42") is None


@pytest.mark.django_db
def test_a_member_keeps_eight_variants_and_the_newest_of_them() -> None:
    for number in range(10):
        answer_store.save_variant("42", f"v{number}", body_of(number), meta_of())
    assert answer_store.read_variant("42", "v1") is None
    assert answer_store.read_variant("42", "v9").body == body_of(9)
    answer_store.forget_variants("42")
    assert answer_store.read_variant("42", "v9") is None


@pytest.mark.django_db
def test_renewing_gives_a_full_life_again() -> None:
    now = timezone.now()
    answer_store.save("42", body_of(1), meta_of(), now=now - timedelta(days=6))
    answer_store.renew("42", now=now)
    row = StoredAnswer.objects.get(pk="42")
    assert row.expires_at - now > timedelta(days=6, hours=23)
