"""Sets the databases, Redis and the caches."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from .base import CATALOG_DATABASE_URL, DATA_DIR, DATABASE_URL, REDIS_URL, env

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA temp_store=MEMORY;",
}
DATABASE_TIME_ZONE = env.text(
    "DATABASE_TIME_ZONE", "Asia/Seoul", help="Wall clock that songs_be writes into its timestamps."
)
DATABASE_TIMEOUT_S = env.integer(
    "DATABASE_TIMEOUT_S",
    3,
    least=1,
    most=60,
    help="Longest wait for a connection to MySQL or one of its answers in a request.",
)
DATABASE_SILENCE_S = env.integer(
    "DATABASE_SILENCE_S",
    60,
    least=2,
    most=28_800,
    help="MySQL ends a connection that said nothing for so long, and with it the locks of a host that was cut off.",
)


#: A request gives up on a database that hangs; a worker's or a command's long query may take its time.
PATIENCE = 1 if os.environ.get("SONGS_AI_PROCESS") == "web" else 20


def _database(url: str) -> dict[str, Any]:
    """Turn a URL into Django's settings, instrumented for /metrics."""
    config = dict(environ.Env.db_url_config(url))
    if config["ENGINE"].endswith("sqlite3"):
        return config | {
            "ENGINE": "django_prometheus.db.backends.sqlite3",
            "OPTIONS": SQLITE_OPTIONS,
        }
    if not config.get("NAME"):
        raise ImproperlyConfigured(
            "DATABASE_URL names no database: use mysql://user:password@host:3306/name."
        )
    return config | {
        "ENGINE": "django_prometheus.db.backends.mysql",
        "TIME_ZONE": DATABASE_TIME_ZONE,
        "CONN_MAX_AGE": DATABASE_SILENCE_S / 2,  # given up before MySQL ends it
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "charset": "utf8mb4",
            # MySQL's own 8 hours would let a host that was cut off inside a transaction hold its rows all day:
            # in the ledger that is the row at which every model call queues.
            "init_command": f"SET sql_mode='STRICT_TRANS_TABLES', wait_timeout={DATABASE_SILENCE_S}",
            "isolation_level": "read committed",
            "connect_timeout": DATABASE_TIMEOUT_S,
            "read_timeout": DATABASE_TIMEOUT_S * PATIENCE,
            "write_timeout": DATABASE_TIMEOUT_S * PATIENCE,
        },
    }


DATABASES = {"default": _database(DATABASE_URL or f"sqlite:///{DATA_DIR / 'songs_ai.sqlite3'}")}
if CATALOG_DATABASE_URL:
    # In tests the second login is a second view of the test database (SQLite: no second file).
    DATABASES["catalog"] = _database(CATALOG_DATABASE_URL) | {"TEST": {"MIRROR": "default"}}
USE_PYMYSQL = env.flag("USE_PYMYSQL", False, help="Use PyMySQL although mysqlclient is installed.")
MYSQL_DRIVER = ""
if any(config["ENGINE"].endswith("mysql") for config in DATABASES.values()):
    MYSQL_DRIVER = "mysqlclient"
    if find_spec("MySQLdb") is None or USE_PYMYSQL:
        import pymysql

        pymysql.install_as_MySQLdb()
        MYSQL_DRIVER = "PyMySQL"
DATABASE_ROUTERS = ["catalog.router.CatalogRouter"]
CATALOG_OWNED = env.flag(
    "CATALOG_OWNED",
    DATABASES["default"]["ENGINE"].endswith("sqlite3"),
    help="The song, member and like tables are ours to create and fill; 0 wherever songs_be owns them. Unset: 1 on SQLite, 0 on MySQL.",
)

REDIS_TIMEOUT_S = env.number(
    "REDIS_TIMEOUT_S", 0.3, least=0.05, most=5, help="Longest wait for Redis."
)
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django_prometheus.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "songs_ai",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.DefaultClient",
                "SOCKET_TIMEOUT": REDIS_TIMEOUT_S,
                "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_S,
                # Every use goes through `infrastructure.redis.gate`, which wants to hear of failures.
                "IGNORE_EXCEPTIONS": False,
            },
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django_prometheus.cache.backends.locmem.LocMemCache",
            "LOCATION": "songs_ai",
        }
    }
RESULT_TTL_S = env.integer(
    "RESULT_TTL_S",
    7 * 86_400,
    least=60,
    help="Life of a cached recommendation (recommend:, preference:).",
)
L1_TTL_S = env.number(
    "L1_TTL_S", 10, least=0, most=300, help="Life of an answer in a process's own memory."
)
L1_MAX_ENTRIES = env.integer(
    "L1_MAX_ENTRIES", 2_000, least=0, help="Answers a process keeps in its own memory."
)
