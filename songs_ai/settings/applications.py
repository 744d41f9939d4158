"""Sets the applications, the middleware and the templates."""

from __future__ import annotations

from .base import BASE_DIR

INSTALLED_APPS = [
    "recommendations",
    "profiles",
    "prompts",
    "catalog",
    "songs_ai.admin.SongsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_prometheus",
]
MIDDLEWARE = [
    "songs_ai.middleware.RequestId",
    "songs_ai.middleware.BehindProxy",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "songs_ai.middleware.Compressed",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "songs_ai.middleware.StaffLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "songs_ai.urls"
WSGI_APPLICATION = "songs_ai.wsgi.application"
APPEND_SLASH = False  # POSTs are not followed by the backend's client; both spellings are routed
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
