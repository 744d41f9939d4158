from django.apps import AppConfig


class PromptsConfig(AppConfig):
    name = "prompts"
    verbose_name = "프롬프트"
    default_auto_field = "django.db.models.BigAutoField"
