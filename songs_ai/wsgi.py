"""The WSGI application: the hot path, then Django. It expects whole bodies: the web server runs songs_ai.rsgi."""

import logging
import os
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
os.environ.setdefault("SONGS_AI_PROCESS", "web")

django_application = get_wsgi_application()

# These read the settings, which stand only now.
from infrastructure.heartbeats import Heartbeat  # noqa: E402
from recommendations import services  # noqa: E402
from recommendations.api import authentication  # noqa: E402
from recommendations.api.cached_reads import CachedReadLayer  # noqa: E402

application = CachedReadLayer(django_application)
# A cached read waits for its turn at the interpreter; beside a thread that computes, a turn is as long as this.
sys.setswitchinterval(0.001)

logging.getLogger(__name__).info("%s", authentication.summary())
if not settings.TESTING:
    Heartbeat("web").start()
    services.warm_up()
