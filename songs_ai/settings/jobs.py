"""Sets Celery, the backend's queue, the limits of jobs and how long records are kept."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .base import DATA_DIR, RABBITMQ_URL, TESTING, env

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
