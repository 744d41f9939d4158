"""Sets the API: REST framework, OpenAPI, body size, and how a process follows the catalog."""

from __future__ import annotations

from .base import VERSION, env

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["recommendations.api.authentication.MayCall"],
    "DEFAULT_RENDERER_CLASSES": ["recommendations.api.json_content.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["recommendations.api.json_content.JsonParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "recommendations.api.json_content.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "recommendations.api.error_responses.handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Songs AI",
    "DESCRIPTION": "Song recommendations for UtaBox.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["recommendations.api.authentication.MayCall"],
    "PREPROCESSING_HOOKS": ["songs_ai.openapi.documented"],
    "POSTPROCESSING_HOOKS": ["songs_ai.openapi.with_errors_and_keys"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
CATALOG_REFRESH_S = env.number(
    "CATALOG_REFRESH_S",
    2,
    least=0.5,
    most=3600,
    help="How often a process looks for catalog changes.",
)
EASE_MAX_ITEMS = env.integer(
    "EASE_MAX_ITEMS",
    10_000,
    least=10,
    most=30_000,
    help="Songs (most active first) that EASE is fitted on.",
)
