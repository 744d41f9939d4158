"""Hides members' data from staff who lack the permission to see it."""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import BooleanField, Model, QuerySet, Value

M = TypeVar("M", bound=Model)

#: Stands where the data would be.
HIDDEN = "•••"


def may_see_member_data(user: AbstractBaseUser | AnonymousUser) -> bool:
    allowed: bool = user.has_perm("recommendations.view_member_data")  # type: ignore[union-attr]
    return allowed


def with_member_data(queryset: QuerySet[M], user: Any) -> QuerySet[M]:
    """Mark each row for the user of this request: an admin object serves several requests at a time."""
    allowed = Value(may_see_member_data(user), output_field=BooleanField())
    marked: QuerySet[M] = queryset.annotate(shows_member_data=allowed)  # type: ignore[assignment]
    return marked


def shows_member_data(row: Model) -> bool:
    """Whether the row was read for a user who may see members' data."""
    return bool(getattr(row, "shows_member_data", False))
