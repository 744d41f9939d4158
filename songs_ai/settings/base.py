"""Sets what everything else builds on: folders, the version, which stores are real, web server and secret key."""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from songs_ai.env import Env

BASE_DIR = Path(__file__).resolve().parents[2]
env = Env(BASE_DIR / ".env")
VERSION = re.search(r"^## \[(\d[^\]]*)\]", (BASE_DIR / "CHANGELOG.md").read_text("utf-8"), re.M)[1]  # type: ignore[index]
TESTING = "pytest" in sys.modules


DATABASE_URL = env.url(
    "DATABASE_URL",
    schemes=("mysql", "sqlite"),
    help="The shared database: mysql://user:password@host:3306/name. Unset: an SQLite file of our own in DATA_DIR.",
)
CATALOG_DATABASE_URL = env.url(
    "CATALOG_DATABASE_URL",
    schemes=("mysql", "sqlite"),
    help="A second login (SELECT only) or a read replica for the neighbours' tables. Unset: DATABASE_URL.",
)
REDIS_URL = env.url(
    "REDIS_URL",
    schemes=("redis", "rediss", "unix"),
    help="The shared Redis: redis://host:6379/0. Unset: results are kept in memory and in the database.",
)
RABBITMQ_URL = env.url(
    "RABBITMQ_URL",
    schemes=("amqp", "amqps"),
    help="The broker: amqp://user:password@host:5672//. Unset: jobs go through files in DATA_DIR.",
)
DATA_DIR = Path(
    env.text(
        "DATA_DIR",
        str(BASE_DIR / "var"),
        help="Folder for what this host keeps: SQLite, snapshots, models.",
    )
)
DATA_DIR.mkdir(parents=True, exist_ok=True)
EMBEDDED = not (DATABASE_URL or REDIS_URL or RABBITMQ_URL)

PORT = env.integer("PORT", 8000, least=1, most=65535, help="Port of the web server.")
WEB_THREADS = env.integer(
    "WEB_THREADS",
    64,
    least=2,
    most=256,
    help="Threads of a web process; half of them may wait for the model.",
)
DEBUG = env.flag("DEBUG", False, help="Django's debug pages. Never in production.")
SONGS_AI_ADMIN_PASSWORD = env.text(
    "SONGS_AI_ADMIN_PASSWORD",
    help="Password of the account `admin` that `make run` creates. Unset: a random one, printed once.",
    secret=True,
)


def _embedded_secret_key() -> str:
    """A random key kept beside the embedded database, so that sessions outlive a restart."""
    keyfile = DATA_DIR / "secret-key"
    if not keyfile.exists():
        keyfile.write_text(secrets.token_urlsafe(48))
        keyfile.chmod(0o600)
    return keyfile.read_text().strip()


SECRET_KEY = env.text(
    "SECRET_KEY",
    help="Signs sessions and member hashes. Required outside the embedded default.",
    secret=True,
)
if not SECRET_KEY:
    if not (EMBEDDED or TESTING):
        raise ImproperlyConfigured(
            "SECRET_KEY is missing. Set it in the environment or in .env, for example to the output of: "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    SECRET_KEY = _embedded_secret_key()
