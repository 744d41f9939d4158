"""The schedules that are installed with the product."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from ..jobs.kinds import TASK_PREFIX, JobKind
from . import timing

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as StrPromise


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule as it is installed; afterwards it belongs to staff."""

    name: str | StrPromise
    task: JobKind
    description: str | StrPromise
    #: minute hour day-of-month month day-of-week in Asia/Seoul; or `every_s`.
    cron: str = ""
    every_s: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)


SCHEDULES = (
    Schedule(
        name=_("야간 재생성"),
        task=JobKind.NIGHTLY_REGENERATION,
        cron="0 3 * * *",
        description=_(
            "모든 활성 회원의 추천을 다시 만듭니다. 바뀐 것이 없는 회원은 유효 기간만 늘립니다."
        ),
    ),
    Schedule(
        name=_("모델 학습"),
        task=JobKind.TRAIN_MODEL,
        cron="0 2 * * *",
        description=_("새 좋아요로 모델을 학습하고, 지금 모델보다 나쁘지 않으면 적용합니다."),
    ),
    Schedule(
        name=_("상황 학습"),
        task=JobKind.LEARN_SITUATIONS,
        cron="15 2 * * *",
        description=_("언제 무엇을 할 때 어떤 곡을 불렀는지 세어 상황별 배수를 다듬습니다."),
    ),
    Schedule(
        name=_("좋아요 변경 감지"),
        task=JobKind.SYNC_LIKES,
        every_s=60,
        description=_("좋아요와 재생목록이 바뀐 회원을 찾아 그 회원의 추천만 다시 만듭니다."),
    ),
    Schedule(
        name=_("캐시 예열"),
        task=JobKind.WARM_ACTIVE,
        cron="30 6 * * *",
        arguments={"limit": 500},
        description=_("오늘 접속할 것으로 보이는 회원의 추천을 미리 준비합니다."),
    ),
    Schedule(
        name=_("예산 이월"),
        task=JobKind.ROLL_OVER_BUDGET,
        cron="5 0 * * *",
        description=_("끝나지 않은 예약 비용을 정리해 새 날의 예산을 온전히 시작합니다."),
    ),
    Schedule(
        name=_("프롬프트 예약 배포"),
        task=JobKind.KEEP_PROMPTS,
        every_s=60,
        description=_("예약된 프롬프트를 배포하고, 기준을 벗어난 롤아웃을 멈춥니다."),
    ),
    Schedule(
        name=_("추천 성과 집계"),
        task=JobKind.COUNT_LATER_LIKES,
        cron="0 5 * * *",
        description=_("2주 전 추천한 곡 가운데 그 뒤 좋아요를 받은 곡을 셉니다."),
    ),
    Schedule(
        name=_("보관 기간 정리"),
        task=JobKind.PURGE_OLD,
        cron="30 4 * * *",
        description=_("보관 기간이 지난 실행, 작업, 기록을 지웁니다."),
    ),
    Schedule(
        name=_("DLQ 감시"),
        task=JobKind.WATCH_DEAD_LETTERS,
        every_s=300,
        description=_("처리하지 못한 메시지가 새로 생기면 운영자에게 알립니다."),
    ),
)


def install(schedules: Iterable[Schedule] = SCHEDULES) -> list[str]:
    """Add the schedules that are missing and return their names; existing ones stay as staff left them."""
    # Added by earlier versions, which kept Celery's results.
    PeriodicTask.objects.filter(task="celery.backend_cleanup").delete()
    added = []
    for schedule in schedules:
        task = TASK_PREFIX + schedule.task
        # Known by its task as well: staff may have renamed it.
        if PeriodicTask.objects.filter(Q(task=task) | Q(name=schedule.name)).exists():
            continue
        PeriodicTask.objects.create(
            name=str(schedule.name),
            task=task,
            description=str(schedule.description),
            kwargs=orjson.dumps(schedule.arguments).decode(),
            **timing.rows(cron=schedule.cron, every_s=schedule.every_s),
        )
        added.append(str(schedule.name))
    return added
