"""Who may call: by address, by key, through proxies; the same before Django and in the views."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from django.test import Client

from recommendations.api import authentication
from recommendations.api.authentication import AccessRefusal

from .conftest import World

LOOPBACK, INSIDE, OUTSIDE = "127.0.0.1", "10.1.2.3", "203.0.113.9"


def networks(*texts: str) -> list[Any]:
    return [ipaddress.ip_network(text) for text in texts]


def asked_from(address: str, **environ: str) -> dict[str, str]:
    return {"REMOTE_ADDR": address, **environ}


# --- By address -----------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_let_in_without_a_key(address: str) -> None:
    assert authentication.refusal(asked_from(address)) is None


@pytest.mark.parametrize(
    "address", [OUTSIDE, "10.0.0.1", "::ffff:10.0.0.1", "", "localhost", "unix:"]
)
def test_nobody_else_is_by_default(address: str) -> None:
    assert authentication.refusal(asked_from(address)) is AccessRefusal.NETWORK


def test_a_call_inside_this_process_is_let_in_and_a_unix_sockets_caller_is_not() -> None:
    assert authentication.refusal({}) is None
    assert authentication.refusal(asked_from("")) is AccessRefusal.NETWORK


def test_a_trusted_network_is_let_in(settings) -> None:
    settings.SONGS_AI_TRUSTED_NETWORKS = networks("10.1.0.0/16", "2001:db8::/32")
    assert authentication.refusal(asked_from(INSIDE)) is None
    assert authentication.refusal(asked_from("2001:db8::7")) is None
    assert authentication.refusal(asked_from("10.2.0.1")) is AccessRefusal.NETWORK


# --- By key ---------------------------------------------------------------------------------------
def test_each_of_several_keys_opens_and_nothing_else_does(settings) -> None:
    settings.SONGS_AI_API_KEYS = ["old-key-1", "new-key-2"]
    for key in settings.SONGS_AI_API_KEYS:
        assert authentication.refusal(asked_from(OUTSIDE, HTTP_X_API_KEY=key)) is None
        assert (
            authentication.refusal(asked_from(OUTSIDE, HTTP_AUTHORIZATION=f"Bearer {key}")) is None
        )
    for wrong in ("old-key", "old-key-12", "OLD-KEY-1", "x" * 100_000, "\udcff"):
        assert (
            authentication.refusal(asked_from(OUTSIDE, HTTP_X_API_KEY=wrong))
            is AccessRefusal.KEY_WRONG
        )
    assert authentication.refusal(asked_from(OUTSIDE)) is AccessRefusal.KEY_MISSING
    basic = asked_from(OUTSIDE, HTTP_AUTHORIZATION="Basic old-key-1")
    assert authentication.refusal(basic) is AccessRefusal.KEY_MISSING


def test_this_machine_needs_no_key_even_where_keys_are_configured(settings) -> None:
    settings.SONGS_AI_API_KEYS = ["a-key"]
    assert authentication.refusal(asked_from(LOOPBACK)) is None


def test_keys_are_kept_as_digests_only(settings) -> None:
    settings.SONGS_AI_API_KEYS = ["a-secret-key"]
    assert "a-secret-key" not in repr(authentication.rules())


# --- Through proxies ------------------------------------------------------------------------------
def test_a_forwarded_address_counts_for_nothing_without_a_configured_proxy() -> None:
    pretended = asked_from(OUTSIDE, HTTP_X_FORWARDED_FOR="127.0.0.1")
    assert authentication.refusal(pretended) is AccessRefusal.NETWORK
    assert authentication.refusal(asked_from(LOOPBACK, HTTP_X_FORWARDED_FOR=OUTSIDE)) is None


@pytest.mark.parametrize(
    ("chain", "let_in"),
    [
        (INSIDE, True),
        (OUTSIDE, False),
        (f"127.0.0.1, {OUTSIDE}", False),  # the caller wrote the first one himself
        (f"{OUTSIDE}, {INSIDE}", True),
        (f"{INSIDE}, 192.168.0.7", True),  # through two of our proxies
        ("192.168.0.7", False),  # nobody but proxies
        ("rubbish", False),
        ("", False),  # the proxy itself is not trusted as a caller
        (", ".join([OUTSIDE] * 1000 + ["192.168.0.7"] * 1000), False),
    ],
)
def test_behind_a_proxy_the_last_foreign_address_counts(settings, chain: str, let_in: bool) -> None:
    settings.SONGS_AI_TRUSTED_PROXIES = networks("192.168.0.0/24")
    settings.SONGS_AI_TRUSTED_NETWORKS = networks("10.1.0.0/16")
    environ = asked_from("192.168.0.5", HTTP_X_FORWARDED_FOR=chain)
    assert (authentication.refusal(environ) is None) is let_in


def test_a_proxy_on_this_machine_does_not_lend_its_trust(settings) -> None:
    settings.SONGS_AI_TRUSTED_PROXIES = networks("127.0.0.1/32")
    environ = asked_from(LOOPBACK, HTTP_X_FORWARDED_FOR=OUTSIDE)
    assert authentication.refusal(environ) is AccessRefusal.NETWORK


# --- At the doors ---------------------------------------------------------------------------------
CALLS = [
    ("post", "/recommend"),
    ("post", "/recommend/cached"),
    ("get", "/recommend/cached/1"),
    ("post", "/favorites/updated"),
    ("post", "/warm/active"),
    ("get", "/songs/search"),
    ("post", "/feedback"),
    ("get", "/members/1/blocks"),
    ("get", "/api/schema/"),
    ("get", "/docs"),
    ("get", "/redoc"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_asks_for_the_same_ticket(settings, method: str, path: str) -> None:
    stranger = Client(REMOTE_ADDR=OUTSIDE)
    answer = getattr(stranger, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "NETWORK_NOT_TRUSTED")
    settings.SONGS_AI_API_KEYS = ["a-key"]
    answer = getattr(stranger, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "KEY_MISSING")
    assert answer["WWW-Authenticate"].startswith("Bearer")
    answer = getattr(stranger, method)(path, headers={"X-API-Key": "b-key"})
    assert (answer.status_code, answer.json()["code"]) == (401, "KEY_WRONG")
    answer = getattr(stranger, method)(path, headers={"X-API-Key": "a-key"})
    assert answer.status_code not in {401, 403}


@pytest.mark.django_db
def test_a_stranger_learns_nothing_of_members(world: World) -> None:
    stranger = Client(REMOTE_ADDR=OUTSIDE)
    body = {"memberId": world.alice}
    answer = stranger.post("/recommend", body, content_type="application/json")
    assert answer.status_code == 403
    assert world.alice not in answer.content.decode()


def test_health_is_open_and_metrics_have_their_own_list(settings) -> None:
    stranger = Client(REMOTE_ADDR=OUTSIDE)
    assert stranger.get("/health").status_code == 200
    assert stranger.get("/metrics").status_code == 403
    settings.SONGS_AI_API_KEYS = ["a-key"]
    assert stranger.get("/metrics", headers={"X-API-Key": "a-key"}).status_code == 403
    settings.SONGS_AI_METRICS_NETWORKS = networks("203.0.113.0/24")
    assert stranger.get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR=LOOPBACK).get("/metrics").status_code == 403


# --- Said at the start ----------------------------------------------------------------------------
def test_one_line_says_who_is_let_in(settings) -> None:
    assert authentication.summary() == (
        "Access: API without a key: this machine; no keys; /metrics: this machine; "
        "X-Forwarded-For believed from: nobody"
    )
    settings.SONGS_AI_API_KEYS = ["secret-1", "secret-2"]
    settings.SONGS_AI_TRUSTED_NETWORKS = networks("10.0.0.0/8")
    line = authentication.summary()
    assert "this machine, 10.0.0.0/8; with a key: 2 keys" in line
    assert "secret" not in line
