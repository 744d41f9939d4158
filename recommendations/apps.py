from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RecommendationsConfig(AppConfig):
    name = "recommendations"
    verbose_name = _("추천")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import prompt_inputs, tasks  # noqa: F401, PLC0415 - models must be there first

        prompt_inputs.register()
