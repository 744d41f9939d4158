"""The Celery application; every setting of it stands in songs_ai/settings/jobs.py under CELERY_."""

import os
import warnings
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.signals import (
    beat_init,
    celeryd_after_setup,
    heartbeat_sent,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from django.db import close_old_connections

if TYPE_CHECKING:
    from infrastructure.heartbeats import Heartbeat

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
    from recommendations.jobs.backend_queue import bootstep  # noqa: PLC0415 - needs settings

    bootstep.install(app)


@heartbeat_sent.connect
def _note_alive(**_: Any) -> None:
    """A worker sends heartbeats from its main loop, and only while it has the broker."""
    from infrastructure.heartbeats import note_alive  # noqa: PLC0415 - needs settings

    note_alive()
    # The loop's own writes only when a worker process died; MySQL ends it long before it is used again.
    close_old_connections()


@celeryd_after_setup.connect
def _beat_as_worker(sender: str, **_: Any) -> None:
    """`sender` is the worker's name: worker@host, nightly@host, or backend-<pid>@host of `manage.py consume`."""
    _start_heartbeat(worker_role(sender))


def worker_role(name: str) -> str:
    """The role that heartbeats name: the same after every restart, or a successor could not take the place."""
    own = name.partition("@")[0]
    return "consumer" if own.startswith("backend-") else own


@beat_init.connect
def _beat_as_scheduler(**_: Any) -> None:
    _start_heartbeat("scheduler")


@worker_process_init.connect
def _beat_as_pool_child(**_: Any) -> None:
    """In a child of a prefork pool. Its parent's thread did not survive the fork."""
    _start_heartbeat(f"{_role}.pool")


@worker_process_shutdown.connect
def _stop_beating(**_: Any) -> None:
    """A pool child ends without running exit handlers."""
    if _heartbeat is not None:
        _heartbeat.stop()


#: Of this process. A pool child inherits its worker's role, and replaces the heartbeat by its own.
_role = "worker"
_heartbeat: "Heartbeat | None" = None


def _start_heartbeat(role: str) -> None:
    from infrastructure.heartbeats import Heartbeat  # noqa: PLC0415 - needs settings

    global _role, _heartbeat
    _role = role.removesuffix(".pool")
    _heartbeat = Heartbeat(role).start()
