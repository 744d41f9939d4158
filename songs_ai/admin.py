"""The admin's front door: what staff use every day comes first. Its pages load when they are first needed."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as global_apps
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import SimpleAdminConfig
from django.core.checks import CheckMessage
from django.db.models.signals import post_migrate
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver
from django.utils.module_loading import autodiscover_modules

#: In the order of a working day; what is not named follows.
ORDER = (
    *("recommendations", "prompts", "profiles", "catalog"),
    *("django_celery_beat", "auth"),
)


class SongsAdminSite(AdminSite):
    """Finds the apps' pages with the addresses or in a check, not at the start: a cached read and a worker need none."""

    def get_urls(self) -> list[URLPattern | URLResolver]:
        autodiscover_modules("admin", register_to=self)
        return super().get_urls()

    def check(self, app_configs: Any) -> list[CheckMessage]:
        autodiscover_modules("admin", register_to=self)
        return super().check(app_configs)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        places = {label: place for place, label in enumerate(ORDER)}
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: places.get(app["app_label"], len(places)))


class SongsAdminConfig(SimpleAdminConfig):
    default_site = "songs_ai.admin.SongsAdminSite"

    def ready(self) -> None:
        super().ready()
        # A data migration would not see the permissions of apps migrated later.
        post_migrate.connect(_grant_permissions, dispatch_uid="songs_ai.grant_permissions")


def _grant_permissions(
    sender: AppConfig, using: str, apps: Any = global_apps, **kwargs: Any
) -> None:
    """Give the staff groups what every app declared for them, once the audit log exists."""
    from infrastructure.staff_groups import grant_permissions  # noqa: PLC0415 – after the models

    if using == "default" and "auditevent" in apps.all_models.get("prompts", {}):
        grant_permissions(sender, using=using)
