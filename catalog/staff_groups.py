"""What each staff group may see of the catalog."""

from __future__ import annotations

from infrastructure.staff_groups import Grants, StaffGroup

GRANTS: Grants = {
    StaffGroup.EDITOR: ("catalog.view_song",),
    StaffGroup.PUBLISHER: ("catalog.view_song",),
    StaffGroup.INSPECTOR: ("catalog.view_*",),
    StaffGroup.OPERATOR: ("catalog.view_*",),
}
