"""Labels of values that are stored as words: kinds of jobs, figures of runs, error codes.

Values without a label, such as those of a later release, are shown as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from ..jobs.kinds import JobKind
from ..models.jobs import State

#: `Job.name`
JOB_KINDS: Mapping[str, Any] = {
    JobKind.SERVE: _("추천 제공"),
    JobKind.REFRESH_MEMBER: _("회원 추천 갱신"),
    JobKind.ANALYSE: _("취향 다시 분석"),
    JobKind.REFRESH_MEMBERS: _("여러 회원 추천 갱신"),
    JobKind.FOLLOW_UP: _("모델 추천 뒤따르기"),
    JobKind.NIGHTLY_REGENERATION: _("야간 재생성"),
    JobKind.WARM_ACTIVE: _("캐시 예열"),
    JobKind.SYNC_LIKES: _("좋아요 변경 감지"),
    JobKind.PURGE_OLD: _("보관 기간 정리"),
    JobKind.TRAIN_MODEL: _("모델 학습"),
    JobKind.LEARN_SITUATIONS: _("상황 학습"),
    JobKind.ROLL_OVER_BUDGET: _("예산 이월"),
    JobKind.KEEP_PROMPTS: _("프롬프트 예약 배포"),
    JobKind.COUNT_LATER_LIKES: _("추천 성과 집계"),
    JobKind.WATCH_DEAD_LETTERS: _("DLQ 감시"),
    JobKind.RUN_EVALUATION: _("프롬프트 평가"),
}
#: Keys of `ScheduleRun.summary` and of a job's result.
FIGURES: Mapping[str, Any] = {
    **{f"jobs_{state.value}": format_lazy("{} – {}", _("작업"), state.label) for state in State},
    "planned": _("배정한 회원"),
    "planned_upto": _("마지막으로 배정한 회원 번호"),
    "members": _("회원"),
    "model": _("언어 모델로 갱신"),
    "local": _("자체 엔진으로 갱신"),
    "renewed": _("그대로 연장"),
    "failed": _("실패"),
    "errors": _("오류"),
    "changed": _("바뀐 회원"),
    "events": _("이벤트"),
    "version": _("버전"),
    "state": _("상태"),
    "booked": _("정리한 예약 비용"),
    "published": _("배포함"),
    "paused": _("멈춤"),
    "open": _("미처리"),
    "new": _("새 메시지"),
    "jobs": _("지운 작업"),
    "runs": _("추천 실행"),
    "schedule_runs": _("지운 예약 실행"),
    "dead_letters": _("지운 DLQ 메시지"),
    "feedback": _("지운 피드백"),
    "impressions": _("지운 노출 기록"),
    "overlays": _("지운 즐겨찾기 변경"),
    "blocks": _("지운 차단"),
    "texts": _("지운 LLM 입출력"),
    "calls": _("지운 LLM 호출"),
    "scopes": _("지운 예산 기록"),
    "swept": _("정리한 예산 예약"),
}
#: `Job.error_code` and `DeadLetter.code`
ERROR_CODES: Mapping[str, Any] = {
    "MEMBER_NOT_FOUND": _("없는 회원"),
    "INVALID_MESSAGE": _("읽을 수 없는 메시지"),
    "GENERATION_TIMEOUT": _("시간 초과"),
    "MODEL_ERROR": _("내부 오류"),
}
#: `JobRun.outcome`
ATTEMPT_OUTCOMES: Mapping[str, Any] = {
    "": _("실행 중"),
    "retried": _("다시 시도"),
    **{state.value: state.label for state in State},
}


def label(labels: Mapping[str, Any], value: str) -> str:
    return str(labels.get(value, value))


def error_label(code: str) -> str | SafeString:
    """The label of an error with its code, which the operations manual names."""
    if code not in ERROR_CODES:
        return code or "–"
    return format_html("{} <small>{}</small>", ERROR_CODES[code], code)
