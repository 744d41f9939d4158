from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RecommendationsConfig(AppConfig):
    name = "recommendations"
    verbose_name = _("추천")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from infrastructure import audit, staff_groups  # noqa: PLC0415 – models must be there first

        from . import prompt_inputs  # noqa: PLC0415
        from .audit_verbs import RecommendationVerb  # noqa: PLC0415
        from .staff_groups import GRANTS, PERSONAL  # noqa: PLC0415

        staff_groups.declare(GRANTS, personal=PERSONAL)
        audit.declare_verbs(RecommendationVerb)
        prompt_inputs.register()
