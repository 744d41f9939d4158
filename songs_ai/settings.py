"""Every setting, read once from the environment (songs_ai/env.py) and refused with the remedy when it can't be used."""

from __future__ import annotations

import os
import re
import secrets
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from songs_ai.env import Env

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env(BASE_DIR / ".env")
VERSION = re.search(r"^## \[(\d[^\]]*)\]", (BASE_DIR / "CHANGELOG.md").read_text("utf-8"), re.M)[1]  # type: ignore[index]
TESTING = "pytest" in sys.modules

# --- What is real and what is embedded -----------------------------------------------------------
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

# --- Access ---------------------------------------------------------------------------------------
SONGS_AI_API_KEYS = env.words(
    "SONGS_AI_API_KEYS",
    help="Keys that open the API (header X-API-Key or Authorization: Bearer); several for rotation.",
    secret=True,
)
SONGS_AI_TRUSTED_NETWORKS = env.networks(
    "SONGS_AI_TRUSTED_NETWORKS",
    help="Networks let in without a key, beside loopback: 10.0.0.0/8,192.168.1.7.",
)
SONGS_AI_METRICS_NETWORKS = env.networks(
    "SONGS_AI_METRICS_NETWORKS", ("127.0.0.0/8", "::1/128"), help="Networks that may read /metrics."
)
SONGS_AI_TRUSTED_PROXIES = env.networks(
    "SONGS_AI_TRUSTED_PROXIES",
    help="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
)
# Callers reach us by address or Docker name; access is decided by address and key, not by the Host header.
HOST = env.text(
    "HOST",
    "0.0.0.0" if SONGS_AI_API_KEYS or SONGS_AI_TRUSTED_NETWORKS else "127.0.0.1",
    help="Address that make run listens on. Unset: 127.0.0.1 until keys or trusted networks are configured, then all.",
)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ("*",), help="Host names answered to.")
CSRF_TRUSTED_ORIGINS = env.words(
    "CSRF_TRUSTED_ORIGINS",
    help="Origins of the admin behind a TLS proxy: https://songs-ai.example.com.",
)

# --- Applications ---------------------------------------------------------------------------------
INSTALLED_APPS = [
    "recommendations",
    "profiles",
    "prompts",
    "catalog",
    "songs_ai.admin.SongsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_prometheus",
]
MIDDLEWARE = [
    "songs_ai.middleware.RequestId",
    "songs_ai.middleware.BehindProxy",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "songs_ai.middleware.Compressed",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "songs_ai.middleware.StaffLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "songs_ai.urls"
WSGI_APPLICATION = "songs_ai.wsgi.application"
APPEND_SLASH = False  # POSTs are not followed by the backend's client; both spellings are routed
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Databases ------------------------------------------------------------------------------------
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

# --- Redis, caches --------------------------------------------------------------------------------
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

# --- Language model -------------------------------------------------------------------------------
OPENAI_API_KEY = env.text("OPENAI_API_KEY", help="Switches the language model on.", secret=True)
OPENAI_BASE_URL = env.url(
    "OPENAI_BASE_URL",
    schemes=("http", "https"),
    help="A compatible server (vLLM, Ollama, llama.cpp). Unset: OpenAI.",
    secret=False,
)
OPENAI_MODEL = env.text("OPENAI_MODEL", "gpt-5.4-mini", help="Name of the model.")
LLM_DEADLINE_S = env.number(
    "LLM_DEADLINE_S",
    3.4,
    least=0.1,
    most=60,
    help="Absolute deadline of the model for strategy `default`.",
)
LLM_DEADLINE_DEEP_S = env.number(
    "LLM_DEADLINE_DEEP_S",
    15,
    least=0.1,
    most=120,
    help="The same for strategy `deep` and for what schedules ask.",
)
LLM_ENABLED = bool(OPENAI_API_KEY or OPENAI_BASE_URL)
OPENAI_API = env.text(
    "OPENAI_API",
    help="Call style: responses or chat. Unset: responses for OpenAI, chat for a compatible server.",
)
if OPENAI_API not in {"", "responses", "chat"}:
    raise ImproperlyConfigured(f"OPENAI_API={OPENAI_API!r}: use responses or chat.")
LLM_HOSTS = env.words(
    "LLM_HOSTS",
    help="Further hosts that model profiles may name, beside OpenAI and OPENAI_BASE_URL.",
)
LLM_CONCURRENCY = env.integer(
    "LLM_CONCURRENCY", 16, least=1, most=1000, help="Model calls under way at once, all processes."
)
LLM_HEDGE = env.flag(
    "LLM_HEDGE", False, help="Ask a second time when an interactive call is slower than usual."
)
LLM_PRICE_INPUT_USD = env.number(
    "LLM_PRICE_INPUT_USD", 0.75, help="Dollars per million input tokens where no price is entered."
)
LLM_PRICE_OUTPUT_USD = env.number(
    "LLM_PRICE_OUTPUT_USD", 4.5, help="Dollars per million output tokens where no price is entered."
)
LLM_BUDGET_DAY_USD = env.number(
    "LLM_BUDGET_DAY_USD", 10, help="Most that models may cost a day (the admin's budget overrides)."
)
LLM_BUDGET_MONTH_USD = env.number("LLM_BUDGET_MONTH_USD", 200, help="The same for a month.")
LLM_BUDGET_MEMBER_DAY_USD = env.number(
    "LLM_BUDGET_MEMBER_DAY_USD", 0.2, help="The same for one member and day."
)
LLM_TEXT_DAYS = env.integer(
    "LLM_TEXT_DAYS", 30, help="Days that the texts of model calls are kept."
)
LLM_CALL_DAYS = env.integer(
    "LLM_CALL_DAYS", 400, least=32, help="Days that the rows of model calls are kept."
)
PROMPTS_REQUIRE_REVIEW = env.flag(
    "PROMPTS_REQUIRE_REVIEW",
    False,
    help="A prompt version goes live only after a second person approved it.",
)
PROMPTS_POLL_S = env.number(
    "PROMPTS_POLL_S",
    0 if TESTING else 0.5,
    most=30,
    help="How often a process looks whether staff published something. 0: at every use (tests).",
)

# --- Celery ---------------------------------------------------------------------------------------
BROKER_DIR = DATA_DIR / "broker"
if RABBITMQ_URL:
    CELERY_BROKER_URL = RABBITMQ_URL
    #: For what Celery itself sends (events, answers to `inspect`), which nobody waits for: without a write timeout and
    #: with confirmations a broker under a memory or disk alarm would stop a worker's main loop until the alarm is over.
    #: Jobs are sent, with confirmations, by recommendations/jobs/broker.py.
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"max_retries": 2, "write_timeout": 5}
else:
    for folder in ("queue", "control"):
        (BROKER_DIR / folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_URL = (
        "filesystem://localhost//"  # a host only so that Celery does not warn of none
    )
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
    }
SONGS_AI_CONSUME_QUEUE = env.flag(
    "SONGS_AI_CONSUME_QUEUE",
    False,
    help="Take jobs from the backend's queue rec.recommendation.q (needs RABBITMQ_URL).",
)
if SONGS_AI_CONSUME_QUEUE and not RABBITMQ_URL:
    raise ImproperlyConfigured(
        "SONGS_AI_CONSUME_QUEUE=1 needs the broker that holds rec.recommendation.q: set RABBITMQ_URL."
    )
CELERY_BROKER_CONNECTION_TIMEOUT = 0.7  # a caller waits less than a second for a broker that hangs
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = (
    None  # a broker may be away for a night; 2 to 30 s between tries
)
#: A worker that was cut off is missed by the broker after two to three of these, and its messages go to others. Celery's
#: own 120 s become RabbitMQ's 60: members would wait two minutes. Below 5 s a busy machine looks like a dead one.
CELERY_BROKER_HEARTBEAT = 10
#: No result backend: a job's row is the record. Celery reads and writes results outside the task's own code, where a
#: database that is away would end the delivery without an outcome.
CELERY_RESULT_BACKEND = None
CELERY_RESULT_EXPIRES = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 15 * 60
CELERY_TASK_TIME_LIMIT = 16 * 60
CELERY_TASK_DEFAULT_QUEUE = "songs_ai.default"
if TESTING:
    CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = "memory://", {}
CONSUMER_QUEUE = "songs_ai.backend"
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
}
HEARTBEAT_FILE = env.text(
    "HEARTBEAT_FILE",
    help="File that a worker, scheduler or consumer touches while its main loop turns, for health checks.",
)
CELERY_BEAT_SCHEDULER = "recommendations.schedules.scheduler:Scheduler"
CELERY_BEAT_SYNC_EVERY = 1  # a second scheduler sees at once what the first one sent
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False  # one format everywhere: LOGGING below
CELERY_TIMEZONE = "Asia/Seoul"
DJANGO_CELERY_BEAT_TZ_AWARE = True

MODEL_CALLS_IN_FLIGHT = env.integer(
    "MODEL_CALLS_IN_FLIGHT",
    16,
    least=2,
    most=200,
    help="Calls to the model that one worker process of a batch keeps going at a time.",
)
JOB_TIME_LIMIT_S = env.integer(
    "JOB_TIME_LIMIT_S",
    60,
    least=1,
    most=1500,
    help="Longest work on one job of the backend's queue before it is tried again.",
)
JOBS_RUSH_AT = env.integer(
    "JOBS_RUSH_AT",
    10,
    help="More waiting jobs than this are answered locally, and the model's versions follow. 0: every job asks the model.",
)
JOBS_PER_MINUTE = env.integer(
    "JOBS_PER_MINUTE", 3, least=1, help="Jobs one member may ask for per minute over the API."
)
JOBS_PER_DAY = env.integer(
    "JOBS_PER_DAY", 50, least=1, help="Jobs one member may ask for in 24 hours over the API."
)
RETENTION_JOBS_DAYS = env.integer(
    "RETENTION_JOBS_DAYS",
    30,
    least=1,
    help="Days that ended jobs and handled dead letters are kept.",
)
RETENTION_RUNS_DAYS = env.integer(
    "RETENTION_RUNS_DAYS", 90, least=1, help="Days that runs are kept."
)
RETENTION_FEEDBACK_DAYS = env.integer(
    "RETENTION_FEEDBACK_DAYS", 400, least=30, help="Days that feedback events are kept."
)

RETENTION_CALLERS_DAYS = env.integer(
    "RETENTION_CALLERS_DAYS",
    30,
    least=8,
    help="Days that the taste of a caller's own user (no row in `member`) is kept after the last answer.",
)
NEW_CALLERS_PER_DAY = env.integer(
    "NEW_CALLERS_PER_DAY",
    10_000,
    least=1,
    help="New callers' own users kept a day. Further ones get an answer that is not stored and says so.",
)

# --- API ------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["recommendations.api.authentication.MayCall"],
    "DEFAULT_RENDERER_CLASSES": ["recommendations.api.json_content.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["recommendations.api.json_content.JsonParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "recommendations.api.json_content.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "recommendations.api.error_responses.handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Songs AI",
    "DESCRIPTION": "Song recommendations for UtaBox.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["recommendations.api.authentication.MayCall"],
    "PREPROCESSING_HOOKS": ["songs_ai.openapi.documented"],
    "POSTPROCESSING_HOOKS": ["songs_ai.openapi.with_errors_and_keys"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
CATALOG_REFRESH_S = env.number(
    "CATALOG_REFRESH_S",
    2,
    least=0.5,
    most=3600,
    help="How often a process looks for catalog changes.",
)
EASE_MAX_ITEMS = env.integer(
    "EASE_MAX_ITEMS",
    10_000,
    least=10,
    most=30_000,
    help="Songs (most active first) that EASE is fitted on.",
)

# --- Language, time, files ------------------------------------------------------------------------
LANGUAGE_CODE = "ko"
LANGUAGES = [("ko", "한국어"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Asia/Seoul"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static-collected"
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()
if WHITENOISE_USE_FINDERS:  # nothing was collected, on purpose
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)
LOGIN_REDIRECT_URL = "/admin/"
LOGIN_URL = "/admin/login/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PROMETHEUS_LATENCY_BUCKETS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
)
PROMETHEUS_EXPORT_MIGRATIONS = False
SILENCED_SYSTEM_CHECKS: list[str] = []

# --- Mail, logging --------------------------------------------------------------------------------
OPERATORS_MAIL = env.words(
    "OPERATORS_MAIL", help="Addresses that get mail about budget and failed batches."
)
EMAIL_URL = env.url(
    "EMAIL_URL",
    schemes=("smtp", "smtps", "smtp+tls", "consolemail"),
    help="Mail server: smtp+tls://user:password@host:587.",
)
vars().update(environ.Env.email_url_config(EMAIL_URL or "consolemail://"))
DEFAULT_FROM_EMAIL = env.text(
    "DEFAULT_FROM_EMAIL", "songs-ai@localhost", help="Sender of that mail."
)
LOG_LEVEL = env.text("LOG_LEVEL", "INFO", help="DEBUG, INFO, WARNING or ERROR.").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
    raise ImproperlyConfigured(f"LOG_LEVEL={LOG_LEVEL!r}: use DEBUG, INFO, WARNING or ERROR.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "songs_ai.logging.OneLine",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        }
    },
    "filters": {"outages": {"()": "infrastructure.outages.OutageFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["outages"]}
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "httpx2": {"level": "WARNING"},  # one line per model call: the ModelCall row says more
    },
}
