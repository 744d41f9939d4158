"""Hides members' data from staff who lack the permission to see it."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

#: Stands where the data would be.
HIDDEN = "•••"


def may_see_member_data(user: AbstractBaseUser | AnonymousUser) -> bool:
    allowed: bool = user.has_perm("recommendations.view_member_data")  # type: ignore[union-attr]
    return allowed
