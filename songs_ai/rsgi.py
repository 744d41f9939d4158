"""The entry point of the web server: whole bodies, then cached reads, then Django in threads."""

from django.conf import settings

# isort: off
from songs_ai.wsgi import application as wsgi_application  # first: it sets Django up
from songs_ai.server.cached_read_batches import CachedReads
from songs_ai.server.edge import Edge
# isort: on

application = Edge(wsgi_application, threads=settings.WEB_THREADS, reads=CachedReads())
