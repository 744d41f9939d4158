"""One holder per key, for a limited time."""

from __future__ import annotations

import threading
import time

import pytest

from recommendations.locks import claim, extend, release, single_flight


@pytest.mark.django_db
def test_a_lease_has_one_holder_until_it_is_released() -> None:
    token = claim("train", ttl_s=60)
    assert token is not None
    assert claim("train", ttl_s=60) is None
    assert extend("train", token, ttl_s=60)
    release("train", token)
    assert claim("train", ttl_s=60) is not None


@pytest.mark.django_db
def test_an_expired_lease_may_be_taken_and_its_old_holder_cannot_end_the_new_one() -> None:
    old = claim("train", ttl_s=-1)
    new = claim("train", ttl_s=60)
    assert new is not None
    assert old is not None
    release("train", old)
    assert claim("train", ttl_s=60) is None
    assert not extend("train", old, ttl_s=60)


def test_the_first_of_many_goes_ahead_and_the_others_wait(shared_redis: str) -> None:
    order: list[str] = []
    begun = threading.Event()

    def first() -> None:
        with single_flight("member", wait_s=5, ttl_s=5) as mine:
            begun.set()
            time.sleep(0.2)
            order.append(f"first:{mine}")

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(5)
    with single_flight("member", wait_s=5, ttl_s=5) as mine:
        order.append(f"second:{mine}")
    thread.join()
    assert order == ["first:True", "second:False"]
