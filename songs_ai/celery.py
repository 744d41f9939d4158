"""The Celery application; every setting of it stands in settings.py under CELERY_."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.signals import heartbeat_sent, worker_init
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")

# Celery warns of running as root (usual in a container) because of pickle; only JSON is accepted here.
warnings.filterwarnings("ignore", category=SecurityWarning)
# Told at every loss of the broker: what a later Celery will do with tasks that run then.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

app = Celery("songs_ai")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def _take_backend_jobs(**_: Any) -> None:
    from recommendations.jobs import bootstep  # noqa: PLC0415 - needs settings

    bootstep.install(app)


@heartbeat_sent.connect
def _note_alive(**_: Any) -> None:
    """A worker sends heartbeats from its main loop, and only while it has the broker."""
    from infrastructure.heartbeat import note_alive  # noqa: PLC0415 - needs settings

    note_alive()
    # The loop's own writes only when a worker process died; MySQL ends it long before it is used again.
    close_old_connections()
