"""Decides what a setting may be: reads the environment (and `.env`), and fails loudly with the remedy."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One setting, as the README's table and `.env.example` list it."""

    name: str
    default: str
    help: str
    secret: bool = False


class Env:
    """Typed reads of the environment. Every read is declared, so the table of settings writes itself."""

    def __init__(self, dotenv: Path) -> None:
        self.declared: dict[str, Declared] = {}
        if dotenv.is_file():
            environ.Env.read_env(str(dotenv))  # never overrides what the environment already says

    def _read(
        self, name: str, default: T, help: str, parse: Callable[[str], T], *, secret: bool = False
    ) -> T:
        self.declared[name] = Declared(name=name, default=_shown(default), help=help, secret=secret)
        raw = os.environ.get(name, "").strip()
        if raw == "":
            return default
        try:
            return parse(raw)
        except ValueError as error:
            value = "(hidden)" if secret else repr(raw)
            raise ImproperlyConfigured(f"{name}={value}: {error}.") from error

    def text(self, name: str, default: str = "", *, help: str, secret: bool = False) -> str:
        return self._read(name, default, help, str, secret=secret)

    def flag(self, name: str, default: bool, *, help: str) -> bool:
        return self._read(name, default, help, _parse_flag)

    def integer(
        self, name: str, default: int, *, help: str, least: int = 0, most: int | None = None
    ) -> int:
        return int(
            self._read(name, default, help, lambda raw: int(_bounded(raw, int, least, most)))
        )

    def number(
        self, name: str, default: float, *, help: str, least: float = 0, most: float | None = None
    ) -> float:
        return self._read(name, default, help, lambda raw: _bounded(raw, float, least, most))

    def words(
        self, name: str, default: tuple[str, ...] = (), *, help: str, secret: bool = False
    ) -> list[str]:
        parse = lambda raw: [part.strip() for part in raw.split(",") if part.strip()]  # noqa: E731
        return self._read(name, list(default), help, parse, secret=secret)

    def networks(self, name: str, default: tuple[str, ...] = (), *, help: str) -> list[Network]:
        words = self.words(name, default, help=help)
        try:
            return [ipaddress.ip_network(word, strict=False) for word in words]
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name}: {error}. Use addresses or CIDR ranges, comma-separated: 10.0.0.0/8,192.168.1.7."
            ) from error

    def url(self, name: str, *, schemes: tuple[str, ...], help: str, secret: bool = True) -> str:
        return self._read(name, "", help, lambda raw: _parse_url(raw, schemes), secret=secret)


def _shown(default: object) -> str:
    """A default as one would write it into `.env`."""
    if isinstance(default, bool):
        return "1" if default else "0"
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _parse_flag(raw: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return words[raw.lower()]
    except KeyError:
        raise ValueError("use 0 or 1") from None


def _bounded(raw: str, kind: Callable[[str], Any], least: float, most: float | None) -> Any:
    limits = f"at least {least}" if most is None else f"from {least} to {most}"
    try:
        value = kind(raw)
    except ValueError:
        raise ValueError(f"use a number {limits}") from None
    if value < least or (most is not None and value > most):
        raise ValueError(f"use a number {limits}")
    return value


def _parse_url(raw: str, schemes: tuple[str, ...]) -> str:
    wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
    try:
        parts = urlsplit(raw)
        _ = parts.port  # a port that is no number raises here
    except ValueError:
        raise ValueError(f"use {wanted}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"use {wanted}")
    return raw
