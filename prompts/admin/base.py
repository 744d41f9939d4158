"""What every page of the studio shares: the acting account, and reporting of refused changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from infrastructure.admin import ReadOnlyAdmin, request_id
from prompts import dashboard
from prompts.errors import NotAllowed, PromptError
from prompts.versions.actor import Actor


def actor_of(request: HttpRequest, reason: str = "") -> Actor:
    """The account of a request and the reason it gave."""
    return Actor(
        user=request.user,
        reason=reason.strip(),
        request_id=request_id(request),
        ip=request.META.get("REMOTE_ADDR"),
    )


def attempt(request: HttpRequest, move: Callable[[], Any], success: str) -> bool:
    """Run a change and report it as a message; False when it was refused. Raises PermissionDenied without the permission."""
    try:
        move()
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except PromptError as error:
        messages.error(request, str(error))
        return False
    dashboard.clear_cache()  # banners show the move at once
    messages.success(request, success)
    return True


class StudioAdmin(ReadOnlyAdmin):
    """A read-only list with pages of its own under templates/admin/prompts/."""

    folder = "admin/prompts"
