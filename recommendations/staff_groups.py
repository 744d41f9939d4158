"""What each staff group may do with runs, jobs and schedules."""

from __future__ import annotations

from infrastructure.staff_groups import Grants, StaffGroup

GRANTS: Grants = {
    StaffGroup.EDITOR: ("recommendations.view_run",),
    StaffGroup.PUBLISHER: (
        "recommendations.view_run",
        "recommendations.replay_run",
        "recommendations.view_member_data",
    ),
    StaffGroup.INSPECTOR: (
        "recommendations.view_*",
        "django_celery_beat.view_*",
        "django_celery_results.view_*",
    ),
    StaffGroup.OPERATOR: (
        "recommendations.*",
        "django_celery_beat.*",
        "django_celery_results.view_*",
    ),
}
#: Access to members' data is granted one by one, never by "*".
PERSONAL = frozenset({"view_member_data", "export_data"})
