"""The admin's front door: what staff use every day comes first."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest

#: In the order of a working day; what is not named follows.
ORDER = (
    *("recommendations", "prompts", "profiles", "catalog"),
    *("django_celery_beat", "django_celery_results", "auth"),
)


class SongsAdminSite(AdminSite):
    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        places = {label: place for place, label in enumerate(ORDER)}
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: places.get(app["app_label"], len(places)))


class SongsAdminConfig(AdminConfig):
    default_site = "songs_ai.admin.SongsAdminSite"
