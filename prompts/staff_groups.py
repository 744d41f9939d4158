"""What each staff group may do with prompts, models and their budget."""

from __future__ import annotations

from infrastructure.staff_groups import Grants, StaffGroup

_VIEWS = (
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
)
_EDITING = (
    "prompts.add_promptversion",
    "prompts.change_promptversion",
    "prompts.submit_promptversion",
    "prompts.add_evalset",
    "prompts.change_evalset",
)

GRANTS: Grants = {
    StaffGroup.EDITOR: (*_VIEWS, *_EDITING),
    StaffGroup.PUBLISHER: (
        *_VIEWS,
        *_EDITING,
        "prompts.review_promptversion",
        "prompts.publish_promptversion",
        "prompts.roll_back_promptversion",
        "prompts.run_paid_preview",
        "prompts.manage_rollout",
        "prompts.run_evalset",
        "prompts.view_auditevent",
    ),
    StaffGroup.INSPECTOR: ("prompts.view_*",),
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
    ),
}
#: Paid calls are granted one by one, never by "*".
PERSONAL = frozenset({"run_paid_preview"})
