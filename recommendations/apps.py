from django.apps import AppConfig


class RecommendationsConfig(AppConfig):
    name = "recommendations"
    verbose_name = "추천"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import prompt_inputs  # noqa: PLC0415 - models must be there first

        prompt_inputs.register()
