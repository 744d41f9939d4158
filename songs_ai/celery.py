"""The Celery application; every setting of it stands in settings.py under CELERY_."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")

app = Celery("songs_ai")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
