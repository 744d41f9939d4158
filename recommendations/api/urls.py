"""The API's addresses. Each answers with and without a trailing slash: callers' POSTs follow no redirect."""

from __future__ import annotations

from django.urls import URLPattern, path

from . import jobs, members, recommend
from .base import ApiView


def both(route: str, view: type[ApiView]) -> list[URLPattern]:
    """The address and the same with a slash behind; only the first is documented."""
    return [path(route, view.as_view()), path(f"{route}/", view.as_view())]


urlpatterns = [
    *both("recommend", recommend.RecommendView),
    *both("recommend/cached", recommend.CachedView),
    *both("recommend/cached/<str:member_id>", recommend.CachedMemberView),
    *both("recommend/<uuid:run_id>/why", recommend.WhyView),
    *both("recommend/jobs", jobs.JobsView),
    *both("recommend/jobs/<uuid:job_id>", jobs.JobView),
    *both("favorites/updated", recommend.FavoritesUpdatedView),
    *both("warm/active", recommend.WarmActiveView),
    *both("feedback", members.FeedbackView),
    *both("members/<str:member_id>/blocks", members.BlocksView),
    *both("songs/search", members.SearchView),
    *both("songs/similar", members.SimilarToView),
    *both("songs/<int:song_id>/similar", members.SimilarView),
]
