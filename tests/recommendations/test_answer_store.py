"""Stored answers: the row is the truth, variants live beside it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from recommendations.models import StoredAnswer
from recommendations.serving.stored_answers import answer_store, answer_variants

from .answers import encoded, meta_of

pytestmark = pytest.mark.django_db


def test_an_answer_is_read_back_with_its_meta_data() -> None:
    meta = meta_of(picks=[3, 4], taglines={"록": "달려볼까요"})
    answer_store.save("42", encoded(1), meta, now=timezone.now())
    stored = answer_store.read("42")
    assert stored is not None
    assert stored.body == encoded(1)
    assert stored.meta == meta


def test_an_expired_answer_is_gone() -> None:
    answer_store.save("42", encoded(1), meta_of(), now=timezone.now() - timedelta(days=8))
    assert answer_store.read("42") is None
    assert answer_store.read_cached("42") is None


def test_a_new_answer_drops_the_old_one_from_memory_at_once() -> None:
    answer_store.save("42", encoded(1), meta_of(), now=timezone.now())
    assert b"[1]" in answer_store.read_cached("42").body
    answer_store.save("42", encoded(1, 2), meta_of(), now=timezone.now())
    assert b"[1,2]" in answer_store.read_cached("42").body


def test_a_member_keeps_eight_variants_and_the_newest_of_them() -> None:
    for number in range(10):
        answer_variants.save("42", f"v{number}", encoded(number), meta_of())
    assert answer_variants.read("42", "v1") is None
    assert answer_variants.read("42", "v9").body == encoded(9)
    answer_variants.delete_all("42")
    assert answer_variants.read("42", "v9") is None


def test_renewing_gives_a_full_life_again() -> None:
    now = timezone.now()
    answer_store.save("42", encoded(1), meta_of(), now=now - timedelta(days=6))
    answer_store.renew("42", now=now)
    row = StoredAnswer.objects.get(pk="42")
    assert row.expires_at - now > timedelta(days=6, hours=23)
