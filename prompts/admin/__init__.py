"""The studio's pages in the admin."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from prompts.admin import audit, evaluation, gateway, rollouts, templates, versions

admin.site.site_header = "Songs AI"
admin.site.site_title = "Songs AI"
admin.site.index_title = _("대시보드")

__all__ = ["audit", "evaluation", "gateway", "rollouts", "templates", "versions"]
