"""Gives the staff groups their permissions: every app declares its grants, a step after `migrate` joins them.

A group gets each permission once; the audit log remembers it, so one that staff took away is not given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from infrastructure import audit
from infrastructure.audit import AuditVerb

#: "app.codename"; "app.*" stands for every permission of the app's models, "app.view_*" for every view.
Grants = Mapping["StaffGroup", tuple[str, ...]]


class StaffGroup(StrEnum):
    """Names of the groups in the database."""

    EDITOR = "편집자"
    PUBLISHER = "배포자"
    INSPECTOR = "조회자"
    OPERATOR = "운영자"


_declared: list[Grants] = []
_personal: set[str] = set()


def declare(grants: Grants, *, personal: Iterable[str] = ()) -> None:
    """Add an app's grants, from its AppConfig.ready(). `personal`: codenames that no "*" covers."""
    if grants not in _declared:
        _declared.append(grants)
    _personal.update(personal)


def joined_grants() -> dict[StaffGroup, tuple[str, ...]]:
    """What each group gets of all apps together."""
    return {
        group: tuple(grant for grants in _declared for grant in grants.get(group, ()))
        for group in StaffGroup
    }


def grant_permissions(app_config: AppConfig, *, using: str = "default") -> None:
    """Give the groups their permissions of one app."""
    create_permissions(app_config, verbosity=0, using=using)
    available = Permission.objects.using(using).filter(content_type__app_label=app_config.label)
    for group, grants in joined_grants().items():
        wanted = [row for row in available.select_related("content_type") if _covers(grants, row)]
        if wanted:
            _grant_once(group, wanted, using=using)


def _covers(grants: Iterable[str], permission: Permission) -> bool:
    app, codename = permission.content_type.app_label, permission.codename
    if f"{app}.{codename}" in grants:
        return True
    if codename in _personal:
        return False
    return f"{app}.*" in grants or (codename.startswith("view_") and f"{app}.view_*" in grants)


def _grant_once(name: StaffGroup, wanted: list[Permission], *, using: str) -> None:
    events = apps.get_model(audit.MODEL).objects.using(using)
    with transaction.atomic(using=using):
        group, _created = Group.objects.using(using).get_or_create(name=str(name))
        keys = {f"{name}:{row.content_type.app_label}.{row.codename}": row for row in wanted}
        granted = set(
            events.filter(
                verb=AuditVerb.PERMISSION_GRANTED, object_type="auth.group", object_id__in=keys
            ).values_list("object_id", flat=True)
        )
        fresh = {key: row for key, row in keys.items() if key not in granted}
        group.permissions.add(*fresh.values())
        events.bulk_create(
            events.model(
                actor_name=audit.SYSTEM,
                verb=AuditVerb.PERMISSION_GRANTED,
                object_type="auth.group",
                object_id=key,
                object_label=key,
            )
            for key in fresh
        )
