"""Wiring only: settings, URLs, Celery, health, metrics, logging. Imported by nobody below it."""

from . import prometheus_multihost  # noqa: F401 - before anything that counts
from .celery import app as celery_app

__all__ = ["celery_app"]
