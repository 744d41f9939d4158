"""Understands the words callers use for a situation, in Korean, Japanese and English."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from django.utils.dateparse import parse_datetime

from engine.catalog.text import term_key
from engine.presentation.vocabulary import describing, term_in
from engine.types import Activity, Context, Exclude, Locale, Only, TimeOfDay
from infrastructure.time import SEOUL

from ..serving import active_engine

#: First hour of each part of the day.
_DAY = (
    (5, TimeOfDay.MORNING),
    (11, TimeOfDay.AFTERNOON),
    (17, TimeOfDay.EVENING),
    (21, TimeOfDay.NIGHT),
)
_TIMES = {
    TimeOfDay.MORNING: "아침 오전 朝 午前",
    TimeOfDay.AFTERNOON: "낮 점심 오후 昼 午後 noon day",
    TimeOfDay.EVENING: "저녁 夕方 夕",
    TimeOfDay.NIGHT: "밤 새벽 심야 한밤 夜 深夜 midnight",
}
_ACTIVITIES = {
    Activity.WORKOUT: "운동 헬스 러닝 조깅 運動 筋トレ exercise gym running",
    Activity.STUDY: "공부 독서 작업 勉強 作業 reading work",
    Activity.REST: "휴식 쉬기 힐링 休憩 リラックス relax break",
    Activity.PARTY: "파티 모임 회식 축하 パーティー 飲み会",
    Activity.COMMUTE: "출퇴근 출근 퇴근 통근 통학 등교 하교 이동 운전 通勤 通学 ドライブ drive driving",
    Activity.SLEEP: "수면 잠 취침 睡眠 就寝 bedtime",
}
#: What callers say for the occasions of the starting table; staff's own are understood by their name.
_OCCASIONS = {
    "비 오는 날": "비 비오는날 비오는밤 장마 雨 rain rainy",
    "우울한 날": "우울 우울함 슬픔 슬픈 외로움 외로운 悲しい 憂うつ 寂しい sad blue lonely gloomy",
    "기분 좋은 날": "기쁨 기쁜 행복 행복한 신남 즐거움 즐거운 嬉しい 楽しい 幸せ happy good joyful",
    "화나는 날": "화남 화난 분노 스트레스 짜증 怒り ストレス angry stressed",
    "사랑에 빠진 날": "사랑 두근두근 恋 恋愛 love crush",
    "이별한 날": "이별 실연 헤어짐 失恋 別れ breakup heartbroken",
    "위로가 필요한 날": "위로 힘듦 힘든 지침 지친 피곤 疲れた 慰め tired comfort",
}
Word = TypeVar("Word", bound=StrEnum)


def _table(words: Mapping[Word, str]) -> dict[str, Word]:
    spoken = {term_key(one): value for value, many in words.items() for one in many.split()}
    return {term_key(value.value): value for value in words} | spoken


_TIME_WORDS, _ACTIVITY_WORDS = _table(_TIMES), _table(_ACTIVITIES)


def unknown(field: str, value: Any) -> dict[str, str]:
    """What is reported back of a value nobody here understands."""
    return {"field": field, "value": str(value)[:100]}


def context_of(raw: Mapping[str, Any]) -> tuple[Context, list[dict[str, str]]]:
    """The situation a caller describes, and what of it was not understood."""
    known = {"at", "time_of_day", "mood", "activity"}
    reported = [unknown(f"context.{name}", raw[name]) for name in raw if name not in known]
    time_of_day = _understood(raw, "time_of_day", _TIME_WORDS, reported)
    at = _moment(raw, reported)
    activity = _understood(raw, "activity", _ACTIVITY_WORDS, reported)
    return (
        Context(
            time_of_day=time_of_day or (part_of_day(at) if at else None),
            mood=_mood(raw, reported),
            activity=activity,
        ),
        reported,
    )


def _understood(
    raw: Mapping[str, Any], name: str, words: Mapping[str, Word], reported: list[dict[str, str]]
) -> Word | None:
    value = raw.get(name)
    if value in (None, ""):
        return None
    meant = words.get(term_key(value)) if isinstance(value, str) else None
    if meant is None:
        reported.append(unknown(f"context.{name}", value))
    return meant


def _moment(raw: Mapping[str, Any], reported: list[dict[str, str]]) -> datetime | None:
    value = raw.get("at")
    if value in (None, ""):
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        if moment is not None:
            return moment.astimezone(SEOUL) if moment.tzinfo else moment.replace(tzinfo=SEOUL)
    except (ValueError, OverflowError):  # 2026-02-30; the last hours of the year 9999
        pass
    reported.append(unknown("context.at", value))
    return None


def part_of_day(at: datetime) -> TimeOfDay:
    """Which part of the day it is on Seoul's clock; the night lasts until five."""
    parts = [part for first, part in _DAY if at.astimezone(SEOUL).hour >= first]
    return parts[-1] if parts else TimeOfDay.NIGHT


def _mood(raw: Mapping[str, Any], reported: list[dict[str, str]]) -> str:
    """A mood of the catalog, or an occasion of the table ("비 오는 날"), by its own name or another word."""
    value = raw.get("mood")
    if value in (None, ""):
        return ""
    meant = _meant_mood(value) if isinstance(value, str) else ""
    if not meant:
        reported.append(unknown("context.mood", value))
    return meant


def _meant_mood(value: str) -> str:
    state = active_engine.current()
    occasion = state.settings.situations.occasion
    by_catalog = _mood_words(state.snapshot.version).get(term_key(value), "")
    return occasion(value) or by_catalog or occasion(_OCCASION_OF.get(term_key(value), ""))


_OCCASION_OF = {
    term_key(word): occasion for occasion, words in _OCCASIONS.items() for word in words.split()
}


@lru_cache(maxsize=2)
def _mood_words(catalog_version: str) -> dict[str, str]:
    """{key of a mood, of one word of it, of how it is said before a noun or in another language: the catalog's word}"""
    words: dict[str, str] = {}
    for name in active_engine.current().snapshot.catalog.terms["mood"].names:
        translations = [said(locale, name) for locale in Locale for said in (term_in, describing)]
        for spelling in [name, *name.split(), *translations]:
            words.setdefault(term_key(spelling), spelling if spelling in name else name)
    return words


# --- Filters --------------------------------------------------------------------------------------
_KINDS = {
    "artists": "artist",
    "genres": "genre",
    "moods": "mood",
    "anime": "anime",
    "languages": "language",
}


def unknown_names(filters: Only | Exclude, field: str) -> list[dict[str, str]]:
    """Names in a filter that no song of the catalog carries."""
    given = {name: values for name, values in vars(filters).items() if name in _KINDS if values}
    if not given:
        return []
    terms = active_engine.current().snapshot.catalog.terms
    return [
        unknown(f"{field}.{name}", value)
        for name, values in given.items()
        for value in _not_in(values, terms[_KINDS[name]].codes_by_key)
    ]


def _not_in(values: Iterable[str], codes_by_key: Mapping[str, int]) -> list[str]:
    return sorted(value for value in values if term_key(value) not in codes_by_key)
