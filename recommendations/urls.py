"""The API's addresses. Each answers with and without a trailing slash: callers' POSTs follow no redirect."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, include, path

from . import views, views_jobs


def both(route: str, view: type[Any]) -> list[URLPattern]:
    """The address and the same with a slash behind; only the first is documented."""
    return [path(route, view.as_view()), path(f"{route}/", view.as_view())]


urlpatterns = [
    *both("recommend", views.RecommendView),
    *both("recommend/cached", views.CachedView),
    *both("recommend/cached/<str:member_id>", views.CachedMemberView),
    *both("recommend/<uuid:run_id>/why", views.WhyView),
    *both("recommend/jobs", views_jobs.JobsView),
    *both("recommend/jobs/<uuid:job_id>", views_jobs.JobView),
    *both("favorites/updated", views.FavoritesUpdatedView),
    *both("warm/active", views.WarmActiveView),
    path("", include("recommendations.views_members")),
]
