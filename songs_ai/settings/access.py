"""Sets who may call: API keys, networks, proxies, host names."""

from __future__ import annotations

from .base import env

SONGS_AI_API_KEYS = env.words(
    "SONGS_AI_API_KEYS",
    help="Keys that open the API (header X-API-Key or Authorization: Bearer); several for rotation.",
    secret=True,
)
SONGS_AI_TRUSTED_NETWORKS = env.networks(
    "SONGS_AI_TRUSTED_NETWORKS",
    help="Networks let in without a key, beside loopback: 10.0.0.0/8,192.168.1.7.",
)
SONGS_AI_METRICS_NETWORKS = env.networks(
    "SONGS_AI_METRICS_NETWORKS", ("127.0.0.0/8", "::1/128"), help="Networks that may read /metrics."
)
SONGS_AI_TRUSTED_PROXIES = env.networks(
    "SONGS_AI_TRUSTED_PROXIES",
    help="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
)
# Callers reach us by address or Docker name; access is decided by address and key, not by the Host header.
HOST = env.text(
    "HOST",
    "0.0.0.0" if SONGS_AI_API_KEYS or SONGS_AI_TRUSTED_NETWORKS else "127.0.0.1",
    help="Address that make run listens on. Unset: 127.0.0.1 until keys or trusted networks are configured, then all.",
)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ("*",), help="Host names answered to.")
CSRF_TRUSTED_ORIGINS = env.words(
    "CSRF_TRUSTED_ORIGINS",
    help="Origins of the admin behind a TLS proxy: https://songs-ai.example.com.",
)
