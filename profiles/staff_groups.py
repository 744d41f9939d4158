"""What each staff group may do with taste profiles."""

from __future__ import annotations

from infrastructure.staff_groups import Grants, StaffGroup

GRANTS: Grants = {
    StaffGroup.INSPECTOR: ("profiles.view_*",),
    StaffGroup.OPERATOR: ("profiles.*",),
}
