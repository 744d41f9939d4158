"""Stores member keys, and finds the row of the shared `member` table that a key names."""

from __future__ import annotations

from typing import Any

from django.db import models

#: Longest member key that callers may send (contract of the HTTP API).
MEMBER_KEY_LENGTH = 64
#: Largest value of the neighbours' bigint ids.
BIGINT_MAX = 2**63 - 1


class CaseSensitiveText(models.CharField):
    """Short text in which "User" and "user" differ on every database.

    MySQL's usual collations compare without case, kana type or trailing marks ('あい' = 'アイ').
    """

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class MemberKeyField(CaseSensitiveText):
    """A member as callers name them: digits name a row of `member`, anything else a caller's own user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", MEMBER_KEY_LENGTH)
        super().__init__(*args, **kwargs)


def member_id_of(member_key: str) -> int | None:
    """Return the id in the shared `member` table, None for a caller's own user."""
    if not (member_key.isascii() and member_key.isdigit()):
        return None
    member_id = int(member_key)
    return member_id if member_id <= BIGINT_MAX else None
