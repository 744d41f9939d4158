"""The kinds of jobs: their names, their queues and the work that each of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from celery.app.task import Task
from django.conf import settings

from ..models import Job

#: The Celery task of a kind is named by this and its value; rows and messages hold these names.
TASK_PREFIX = "recommendations.tasks."
DEFAULT_QUEUE = settings.CELERY_TASK_DEFAULT_QUEUE
NIGHTLY_QUEUE = "songs_ai.nightly"

#: (JSON of the answer or None, figures for the job's row)
Done = tuple[bytes | None, Mapping[str, Any]]
#: Does the work of a job.
WorkOf = Callable[[Job], Done]


class JobKind(StrEnum):
    """What a job can be about."""

    SERVE = "serve"
    REFRESH_MEMBER = "refresh_member"
    ANALYSE = "analyse"
    REFRESH_MEMBERS = "refresh_members"
    FOLLOW_UP = "follow_up"
    NIGHTLY_REGENERATION = "nightly_regeneration"
    WARM_ACTIVE = "warm_active"
    SYNC_LIKES = "sync_likes"
    PURGE_OLD = "purge_old"
    TRAIN_MODEL = "train_model"
    LEARN_SITUATIONS = "learn_situations"
    ROLL_OVER_BUDGET = "roll_over_budget"
    KEEP_PROMPTS = "keep_prompts"
    COUNT_LATER_LIKES = "count_later_likes"
    WATCH_DEAD_LETTERS = "watch_dead_letters"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How jobs of a kind are run."""

    work: WorkOf
    queue: str
    task: Task


#: Filled by `recommendations/tasks.py`, by the name of the kind.
KINDS: dict[str, Kind] = {}
