"""Where every address leads."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import (
    SpectacularJSONAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)

from songs_ai import error_pages, health, metrics

urlpatterns = [
    path("", error_pages.landing),
    path("health", health.live),
    path("health/", health.live),
    path("health/ready", health.ready),
    path("health/ready/", health.ready),
    path("metrics", metrics.view),
    path("metrics/", metrics.view),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="schema")),
    path("redoc", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    path("redoc/", SpectacularRedocView.as_view(url_name="schema")),
    path("admin/", admin.site.urls),
    path("", include("recommendations.api.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]

handler400 = error_pages.bad_request
handler403 = error_pages.forbidden
handler404 = error_pages.not_found
handler500 = error_pages.server_error
