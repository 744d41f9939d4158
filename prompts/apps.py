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
        from infrastructure import audit, staff_groups  # noqa: PLC0415 - models load after app configs
        from prompts.audit_verbs import PromptVerb  # noqa: PLC0415
        from prompts.staff_groups import GRANTS, PERSONAL  # noqa: PLC0415

        staff_groups.declare(GRANTS, personal=PERSONAL)
        audit.declare_verbs(PromptVerb)
        # A data migration would be undone by `flush` (tests).
        post_migrate.connect(_seed, sender=self, dispatch_uid="prompts.seed")


def _seed(using: str, apps: Any = global_apps, **kwargs: Any) -> None:
    from prompts.versions.seeding import load_defaults  # noqa: PLC0415 - models load after app configs

    # The model is absent after `migrate prompts zero`.
    if using == "default" and "prompttemplate" in apps.all_models.get("prompts", {}):
        load_defaults()
