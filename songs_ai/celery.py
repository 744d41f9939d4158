"""The Celery application; every setting of it stands in settings.py under CELERY_."""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")

# Celery warns of running as root (usual in a container) because of pickle; only JSON is accepted here.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("songs_ai")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
