"""Finds the model profile to ask: a row, or the one that the OPENAI_* settings describe."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from infrastructure.database import DATABASE_FAULTS, guard
from prompts.models import Api, ModelProfile
from prompts.models.calls import KEY_VARIABLE, allowed_hosts

#: How long a process caches a profile row.
CACHE_S = 2.0
MICRO = 1_000_000

#: Days on which providers withdraw models, for profiles without a row.
KNOWN_SUNSETS = {
    "gpt-4o-mini": date(2027, 1, 14),
    "gpt-5-mini": date(2026, 12, 11),
    "gpt-5-nano": date(2026, 12, 11),
    "gpt-5.4-nano": date(2027, 4, 1),
}


@dataclass(frozen=True, kw_only=True)
class Price:
    """Micro-dollars per million tokens."""

    input: int
    cached: int
    cache_write: int
    output: int

    def cost(self, *, input: int, output: int, cached: int = 0, cache_write: int = 0) -> int:
        """Micro-dollars for these tokens, rounded up; `cached` and `cache_write` are parts of `input`."""
        cached = min(cached, input)
        cache_write = min(cache_write, input - cached)
        # A provider that does not charge for cache writes bills them as plain input.
        write_price = self.cache_write or self.input
        total = (
            (input - cached - cache_write) * self.input
            + cached * self.cached
            + cache_write * write_price
            + output * self.output
        )
        return -(-total // MICRO)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A model profile as the gateway uses it."""

    #: None: derived from the OPENAI_* settings.
    id: int | None
    name: str
    api: Api
    base_url: str  #: "" for OpenAI
    model: str
    price: Price
    key: str = field(default="", repr=False)
    context_tokens: int = 16_000
    max_output_tokens: int = 2_000
    connect_timeout_s: float = 1.0
    max_seconds: float = 900.0
    concurrency: int = 16
    #: {"format": json_schema|json_object|text, "temperature": bool, "effort": str, "seed": bool, "usage": bool}
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    sunset_on: date | None = None
    fallback_id: int | None = None

    @property
    def label(self) -> str:
        """Names the profile in Redis keys and metrics."""
        return str(self.id or "env")

    @property
    def is_openai(self) -> bool:
        return not self.base_url or urlsplit(self.base_url).hostname == "api.openai.com"

    def can(self, name: str, default: Any) -> Any:
        return self.capabilities.get(name, default)


def assumed_capabilities(api: Api, model: str) -> dict[str, Any]:
    """What to send while no probe has looked: what every server of that kind is documented to take."""
    if api == Api.CHAT:
        return {"format": "json_schema", "temperature": True, "effort": "", "seed": True}
    if re.match(r"gpt-5(?:-|$)", model):
        return {"format": "json_schema", "temperature": False, "effort": "minimal"}
    if re.match(r"gpt-5\.|gpt-[6-9]", model):
        return {"format": "json_schema", "temperature": False, "effort": "none"}
    if re.match(r"o\d", model):
        return {"format": "json_schema", "temperature": False, "effort": "low"}
    return {"format": "json_schema", "temperature": True, "effort": ""}


def from_settings() -> Profile | None:
    """The profile that OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL describe; None when none is set."""
    if not (settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL):
        return None
    api = _api_from_settings()
    return Profile(
        id=None,
        name="OPENAI_* settings",
        api=api,
        base_url=settings.OPENAI_BASE_URL,
        key=settings.OPENAI_API_KEY,
        model=settings.OPENAI_MODEL,
        price=assumed_price(),
        concurrency=settings.LLM_CONCURRENCY,
        capabilities=assumed_capabilities(api, settings.OPENAI_MODEL),
        sunset_on=KNOWN_SUNSETS.get(settings.OPENAI_MODEL),
    )


def _api_from_settings() -> Api:
    if settings.OPENAI_API:
        return Api(settings.OPENAI_API)
    host = urlsplit(settings.OPENAI_BASE_URL).hostname if settings.OPENAI_BASE_URL else None
    return Api.RESPONSES if host in (None, "api.openai.com") else Api.CHAT


def assumed_price() -> Price:
    """LLM_PRICE_* in micro-dollars per million tokens, for profiles without a price."""
    paid_input = round(settings.LLM_PRICE_INPUT_USD * MICRO)
    return Price(
        input=paid_input,
        cached=paid_input,  # without a price list no discount is assumed
        cache_write=paid_input,
        output=round(settings.LLM_PRICE_OUTPUT_USD * MICRO),
    )


def from_row(row: ModelProfile, *, today: date) -> Profile:
    """A row as the gateway uses it; a host or key variable that is no longer allowed leaves it without a key."""
    api = Api(row.api)
    price = assumed_price()
    known = row.price_on(today)
    if known is not None:
        price = Price(
            input=known.input,
            cached=known.cached,
            cache_write=known.cache_write,
            output=known.output,
        )
    return Profile(
        id=row.pk,
        name=row.name,
        api=api,
        base_url=row.base_url,
        key=key_of(row),
        model=row.model,
        price=price,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        connect_timeout_s=row.connect_timeout_s,
        max_seconds=row.max_seconds,
        concurrency=row.concurrency,
        capabilities=assumed_capabilities(api, row.model) | row.capabilities,
        extra_body=row.extra_body,
        sunset_on=row.sunset_on,
        fallback_id=row.fallback_id,
    )


def key_of(row: ModelProfile) -> str:
    """The key itself, from the environment; "" when the variable is not set or may not be read."""
    if not KEY_VARIABLE.fullmatch(row.api_key_env):
        return ""
    if row.api_key_env == "OPENAI_API_KEY":
        return settings.OPENAI_API_KEY
    return os.environ.get(row.api_key_env, "")


def host_allowed(profile: Profile) -> bool:
    """Checked at every call, not only when a row is saved."""
    return profile.is_openai or (urlsplit(profile.base_url).hostname or "") in allowed_hosts()


# --- Cache of a few seconds --------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _CachedProfile:
    read_at: float
    profile: Profile | None


_cached: dict[int | None, _CachedProfile] = {}
_lock = threading.Lock()


def find(profile_id: int | None) -> Profile | None:
    """The profile with this id (None: the default one). None: no model may be asked.

    A row that is gone or switched off is answered by the default. With the database down the last
    known one stays in force.
    """
    now = time.monotonic()
    with _lock:
        cached = _cached.get(profile_id)
    if cached and now - cached.read_at < CACHE_S:
        return cached.profile
    try:
        with guard():
            rows = ModelProfile.objects.filter(enabled=True)
            row = rows.filter(pk=profile_id).first() if profile_id else None
            row = row or rows.filter(is_default=True).first()
            found = from_row(row, today=timezone.localdate()) if row else from_settings()
    except DATABASE_FAULTS:
        return cached.profile if cached else from_settings()
    with _lock:
        _cached[profile_id] = _CachedProfile(read_at=now, profile=found)
    return found


def clear_cache() -> None:
    """Read profiles anew, so that this process sees an edit at once."""
    with _lock:
        _cached.clear()


def fallback_of(profile: Profile) -> Profile | None:
    """The profile to turn to when this one fails."""
    if profile.fallback_id is None:
        return None
    other = find(profile.fallback_id)
    return other if other and other.id != profile.id else None
