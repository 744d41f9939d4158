"""The closed sets of jobs: states, sources, and what a worker may do with a delivery."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class State(models.TextChoices):
    """Where a job stands; the words are those of `job:status` (contract §2)."""

    QUEUED = "queued", _("대기")
    RUNNING = "running", _("실행 중")
    SUCCEEDED = "succeeded", _("성공")
    FAILED = "failed", _("실패")
    CANCELED = "canceled", _("취소")


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELED)


class JobSource(models.TextChoices):
    """Which door a job came through."""

    QUEUE = "queue", _("백엔드 대기열")
    API = "api", _("API")
    SCHEDULE = "schedule", pgettext_lazy("schedule", "예약")
    STAFF = "staff", _("관리자")
    INTERNAL = "internal", _("내부")


class Claim(StrEnum):
    """What a worker may do with a job that was handed to it."""

    TAKEN = "taken"
    #: It has ended; only the acknowledgement was lost.
    ENDED = "ended"
    #: An older attempt's message; a newer attempt was published since.
    STALE = "stale"
    #: Somebody who is alive works on it.
    BUSY = "busy"
    #: Too many workers died doing it.
    DEADLY = "deadly"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job did not succeed; `message` is never empty (contract §2)."""

    code: str
    message: str
