from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as global_apps
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class PromptsConfig(AppConfig):
    name = "prompts"
    verbose_name = _("프롬프트")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # A data migration would be undone by `flush` (tests) and blind to permissions of apps migrated later.
        post_migrate.connect(_grant, dispatch_uid="prompts.grant")
        post_migrate.connect(_seed, sender=self, dispatch_uid="prompts.seed")


def _grant(sender: AppConfig, using: str, apps: Any = global_apps, **kwargs: Any) -> None:
    from prompts.staff import grant_permissions  # noqa: PLC0415 - models load after app configs

    if using == "default" and _is_migrated(apps, "auditevent"):
        grant_permissions(sender, using=using)


def _seed(using: str, apps: Any = global_apps, **kwargs: Any) -> None:
    from prompts.versions.seeding import load_defaults  # noqa: PLC0415 - models load after app configs

    if using == "default" and _is_migrated(apps, "prompttemplate"):
        load_defaults()


def _is_migrated(apps: Any, model: str) -> bool:
    """False while the app is being taken away again (`migrate prompts zero`)."""
    return "prompts" in apps.all_models and model in apps.all_models["prompts"]
