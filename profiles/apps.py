from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = _("회원 취향")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from infrastructure import audit, staff_groups  # noqa: PLC0415 – models must be there first

        from .audit_verbs import ProfileVerb  # noqa: PLC0415
        from .staff_groups import GRANTS  # noqa: PLC0415

        staff_groups.declare(GRANTS)
        audit.declare_verbs(ProfileVerb)
