"""What tests of admin pages share: actions on rows of a list."""

from __future__ import annotations

from typing import Any

from django.test import Client


def act(client: Client, page: str, action: str, *rows: Any, **more: Any) -> Any:
    """Run an action of a list on some rows, as its form sends it."""
    chosen = [str(row.pk) for row in rows]
    return client.post(page, {"action": action, "_selected_action": chosen, **more}, follow=True)
