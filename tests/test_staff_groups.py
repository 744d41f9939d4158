"""The staff groups get the permissions they always had, joined from what every app declares."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission

from infrastructure.staff_groups import StaffGroup, joined_grants

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

#: The grants of release 0.2.0.
GRANTS_0_2_0: dict[StaffGroup, tuple[str, ...]] = {
    StaffGroup.EDITOR: (*_STUDIO_VIEWS, *_EDITING),
    StaffGroup.PUBLISHER: (
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
    StaffGroup.INSPECTOR: (
        "prompts.view_*",
        "recommendations.view_*",
        "profiles.view_*",
        "catalog.view_*",
        "django_celery_beat.view_*",
        "django_celery_results.view_*",
    ),
    StaffGroup.OPERATOR: (
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
        "django_celery_results.view_*",
    ),
}


def test_the_joined_grants_are_those_of_0_2_0() -> None:
    joined = joined_grants()
    assert set(joined) == set(GRANTS_0_2_0)
    for group, grants in GRANTS_0_2_0.items():
        assert sorted(joined[group]) == sorted(grants), group


@pytest.mark.django_db
def test_every_grant_names_a_permission() -> None:
    known = {
        f"{row.content_type.app_label}.{row.codename}"
        for row in Permission.objects.select_related("content_type")
    }
    named = {grant for grants in joined_grants().values() for grant in grants if "*" not in grant}
    assert named <= known, f"no such permission: {named - known}"


@pytest.mark.django_db
def test_after_migrating_the_groups_hold_what_the_grants_name() -> None:
    assert set(Group.objects.values_list("name", flat=True)) >= set(StaffGroup)
    #: Never given by a "*": member data and paid calls.
    personal = {"view_member_data", "run_paid_preview"}
    for group, grants in GRANTS_0_2_0.items():
        held = {
            f"{row.content_type.app_label}.{row.codename}"
            for row in Group.objects.get(name=group).permissions.select_related("content_type")
        }
        expected = {
            name
            for row in Permission.objects.select_related("content_type")
            for name in [f"{row.content_type.app_label}.{row.codename}"]
            if name in grants
            or (
                row.codename not in personal
                and (
                    f"{row.content_type.app_label}.*" in grants
                    or (
                        row.codename.startswith("view_")
                        and f"{row.content_type.app_label}.view_*" in grants
                    )
                )
            )
        }
        assert held == expected, group
