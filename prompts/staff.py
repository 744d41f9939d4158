"""Decides what each group of staff may do. Groups get every permission here once; what staff change later stays."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from prompts.models import AuditEvent

EDITOR = "편집자"
PUBLISHER = "배포자"
INSPECTOR = "조회자"
OPERATOR = "운영자"

_STUDIO_VIEWS = (
    "prompts.view_prompttemplate",
    "prompts.view_promptversion",
    "prompts.view_release",
    "prompts.view_rollout",
    "prompts.view_evalset",
    "prompts.view_evalcase",
    "prompts.view_evalrun",
    "prompts.view_evalresult",
    "prompts.view_modelprofile",
    "prompts.view_modelcall",
    "recommendations.view_run",
    "catalog.view_song",
)
_EDITING = (
    "prompts.add_promptversion",
    "prompts.change_promptversion",
    "prompts.submit_promptversion",
    "prompts.add_evalset",
    "prompts.change_evalset",
)

#: "app.codename"; "app.*" stands for every permission of the app's models, "app.view_*" for every view.
GRANTS: dict[str, tuple[str, ...]] = {
    EDITOR: (*_STUDIO_VIEWS, *_EDITING),
    PUBLISHER: (
        *_STUDIO_VIEWS,
        *_EDITING,
        "prompts.review_promptversion",
        "prompts.publish_promptversion",
        "prompts.roll_back_promptversion",
        "prompts.run_paid_preview",
        "prompts.manage_rollout",
        "prompts.run_evalset",
        "prompts.view_auditevent",
        "recommendations.replay_run",
        "recommendations.view_member_data",
    ),
    INSPECTOR: (
        "prompts.view_*",
        "recommendations.view_*",
        "profiles.view_*",
        "catalog.view_*",
        "django_celery_beat.view_*",
    ),
    OPERATOR: (
        "prompts.view_*",
        "prompts.roll_back_promptversion",
        "prompts.kill_prompttemplate",
        "prompts.manage_modelprofile",
        "prompts.add_modelprofile",
        "prompts.change_modelprofile",
        "prompts.add_modelprice",
        "prompts.change_modelprice",
        "prompts.change_budget",
        "prompts.add_budget",
        "recommendations.*",
        "profiles.*",
        "catalog.view_*",
        "django_celery_beat.*",
    ),
}
#: Never given to a whole app at once: member data and paid calls are decided person by person.
NOT_BY_STAR = frozenset({"view_member_data", "export_data", "run_paid_preview"})


def grant_permissions(app_config: AppConfig, *, using: str = "default") -> None:
    """Give the groups their permissions of one app; a permission that staff took away is not given back."""
    create_permissions(app_config, verbosity=0, using=using)
    available = Permission.objects.using(using).filter(content_type__app_label=app_config.label)
    for name, grants in GRANTS.items():
        wanted = [row for row in available.select_related("content_type") if _covers(grants, row)]
        if wanted:
            _grant_once(name, wanted, using=using)


def _covers(grants: Iterable[str], permission: Permission) -> bool:
    app, codename = permission.content_type.app_label, permission.codename
    if f"{app}.{codename}" in grants:
        return True
    if codename in NOT_BY_STAR:
        return False
    return f"{app}.*" in grants or (codename.startswith("view_") and f"{app}.view_*" in grants)


def _grant_once(name: str, wanted: list[Permission], *, using: str) -> None:
    """The audit remembers what was given, so that the next start-up does not give it again."""
    with transaction.atomic(using=using):
        group, _created = Group.objects.using(using).get_or_create(name=name)
        keys = {f"{name}:{row.content_type.app_label}.{row.codename}": row for row in wanted}
        given = set(
            AuditEvent.objects.using(using)
            .filter(verb="permission.granted", object_type="auth.group", object_id__in=keys)
            .values_list("object_id", flat=True)
        )
        fresh = {key: row for key, row in keys.items() if key not in given}
        group.permissions.add(*fresh.values())
        AuditEvent.objects.using(using).bulk_create(
            AuditEvent(
                actor_name="시스템",
                verb="permission.granted",
                object_type="auth.group",
                object_id=key,
                object_label=key,
            )
            for key in fresh
        )
