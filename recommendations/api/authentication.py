"""Decides who may call the API, before Django and in the views.

Loopback and SONGS_AI_TRUSTED_NETWORKS may call by address, all others with one of
SONGS_AI_API_KEYS. X-Forwarded-For counts only from SONGS_AI_TRUSTED_PROXIES.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from rest_framework import exceptions
from rest_framework.permissions import BasePermission

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
#: Maximum X-Forwarded-For hops to trust; a longer chain is treated as forged.
MAX_HOPS = 10
#: Longest key that is compared; longer ones are refused.
MAX_KEY_LENGTH = 512


class AccessRefusal(Enum):
    """Why a caller is refused."""

    KEY_MISSING = "KEY_MISSING"
    KEY_WRONG = "KEY_WRONG"
    NETWORK = "NETWORK_NOT_TRUSTED"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The access settings of this process, parsed once: they are checked thousands of times a second."""

    networks: tuple[Network, ...]
    metrics_networks: tuple[Network, ...]
    proxies: tuple[Network, ...]
    #: SHA-256 of each key: the time it takes to compare digests reveals nothing about the key.
    key_digests: tuple[bytes, ...]

    @classmethod
    def from_settings(cls) -> Rules:
        return cls(
            networks=(*LOOPBACK, *settings.SONGS_AI_TRUSTED_NETWORKS),
            metrics_networks=tuple(settings.SONGS_AI_METRICS_NETWORKS),
            proxies=tuple(settings.SONGS_AI_TRUSTED_PROXIES),
            key_digests=tuple(_digest(key) for key in settings.SONGS_AI_API_KEYS),
        )


@lru_cache(maxsize=1)
def rules() -> Rules:
    return Rules.from_settings()


def _forget(*, setting: str, **_: Any) -> None:
    if setting.startswith("SONGS_AI_"):
        rules.cache_clear()
        _trusts_peer.cache_clear()


setting_changed.connect(_forget)  # sent by tests only; a running process never changes its settings


def refusal(environ: Mapping[str, Any]) -> AccessRefusal | None:
    """Why the caller may not use the API; None when it may."""
    if _trusted_by_address(environ):
        return None
    digests = rules().key_digests
    if not digests:
        return AccessRefusal.NETWORK
    key = _presented_key(environ)
    if not key:
        return AccessRefusal.KEY_MISSING
    return None if _is_known(key, digests) else AccessRefusal.KEY_WRONG


def may_read_metrics(environ: Mapping[str, Any]) -> bool:
    """Whether the caller is in SONGS_AI_METRICS_NETWORKS; no key opens /metrics."""
    address = client_address(environ)
    return address is not None and _within(address, rules().metrics_networks)


# --- By address -----------------------------------------------------------------------------------
def _trusted_by_address(environ: Mapping[str, Any]) -> bool:
    if "REMOTE_ADDR" not in environ:
        return True  # called within this process (callers on a Unix socket have "")
    if "HTTP_X_FORWARDED_FOR" not in environ or not rules().proxies:
        return _trusts_peer(environ.get("REMOTE_ADDR", ""))
    address = client_address(environ)
    return address is not None and _within(address, rules().networks)


@lru_cache(maxsize=4096)
def _trusts_peer(remote_address: str) -> bool:
    address = _parsed(remote_address)
    return address is not None and _within(address, rules().networks)


def client_address(environ: Mapping[str, Any]) -> Address | None:
    """The peer's address, or the one a trusted proxy names; None when it is unknown."""
    address = _parsed(environ.get("REMOTE_ADDR", ""))
    proxies = rules().proxies
    if address is None or not proxies or not _within(address, proxies):
        return address
    named = environ.get("HTTP_X_FORWARDED_FOR", "")
    if not named.strip():
        return address
    # The last address of the chain that is no proxy of ours: entries before it may be forged.
    for hop in reversed(named.split(",")[-MAX_HOPS:]):
        address = _parsed(hop.strip())
        if address is None or not _within(address, proxies):
            return address
    return None


def is_from_proxy(environ: Mapping[str, Any]) -> bool:
    """Whether the peer is one of SONGS_AI_TRUSTED_PROXIES."""
    peer = _parsed(environ.get("REMOTE_ADDR", ""))
    return peer is not None and _within(peer, rules().proxies)


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1 on a dual-stack socket
    return mapped or address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


# --- By key ---------------------------------------------------------------------------------------
def _presented_key(environ: Mapping[str, Any]) -> str:
    key = environ.get("HTTP_X_API_KEY", "")
    if key:
        return str(key).strip()
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_known(key: str, digests: Sequence[bytes]) -> bool:
    if len(key) > MAX_KEY_LENGTH:
        return False
    presented = _digest(key)
    # Every key is compared, so that the time reveals nothing about which one matched.
    return sum(hmac.compare_digest(presented, digest) for digest in digests) > 0


# --- In the views ---------------------------------------------------------------------------------
class KeyNeeded(exceptions.APIException):
    status_code = 401
    auth_header = 'Bearer realm="songs-ai"'


class NetworkRefused(exceptions.APIException):
    status_code = 403


_DETAILS = {
    AccessRefusal.KEY_MISSING: "An API key is needed: send it as X-API-Key or Authorization: Bearer.",
    AccessRefusal.KEY_WRONG: "The API key is not known.",
    AccessRefusal.NETWORK: "Calls from this network are not let in. Ask the operator for access.",
}


def refused(why: AccessRefusal) -> exceptions.APIException:
    kind = NetworkRefused if why is AccessRefusal.NETWORK else KeyNeeded
    return kind(_DETAILS[why], code=why.value)


class MayCall(BasePermission):
    """The permission of every API view; a refusal is raised so that it keeps its status and code."""

    def has_permission(self, request: Any, view: Any) -> bool:
        why = refusal(request.META)
        if why is not None:
            raise refused(why)
        return True


# --- Logged at the start --------------------------------------------------------------------------
def summary() -> str:
    """One line: who may call, and how."""
    access = rules()
    keys = len(access.key_digests)
    parts = [
        f"API without a key: {_listed(access.networks)}",
        f"with a key: {'1 key' if keys == 1 else f'{keys} keys'}" if keys else "no keys",
        f"/metrics: {_listed(access.metrics_networks)}",
        f"X-Forwarded-For believed from: {_listed(access.proxies)}",
    ]
    return "Access: " + "; ".join(parts)


def _listed(networks: Sequence[Network]) -> str:
    names = [str(network) for network in networks if network not in LOOPBACK]
    if any(network in LOOPBACK for network in networks):
        names.insert(0, "this machine")
    return ", ".join(names) or "nobody"
