from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = "회원 취향"
    default_auto_field = "django.db.models.BigAutoField"
