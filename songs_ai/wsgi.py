"""The WSGI entry point: whole bodies, then the hot path, then Django."""

import logging
import os
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "songs_ai.settings")
os.environ.setdefault("SONGS_AI_PROCESS", "web")

django_application = get_wsgi_application()

# These read the settings, which stand only now.
from recommendations import services  # noqa: E402
from recommendations.api import authentication  # noqa: E402
from recommendations.api.cached_reads import CachedReads  # noqa: E402
from songs_ai.request_bodies import WholeBodies  # noqa: E402

application = WholeBodies(CachedReads(django_application))
# A cached read waits for its turn at the interpreter; beside a thread that computes, a turn is as long as this.
sys.setswitchinterval(0.001)

logging.getLogger(__name__).info("%s", authentication.summary())
if not settings.TESTING:
    services.warm_up()
