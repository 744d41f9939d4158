"""Understands the words callers use for a situation, in Korean, Japanese and English."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_datetime

from engine.text import term_key
from engine.types import Activity, Context, Exclude, Locale, Only, TimeOfDay
from engine.wording import term_in

from . import engine_state

SEOUL = ZoneInfo("Asia/Seoul")
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
    except ValueError:  # looks like a date and is none: 2026-02-30
        moment = None
    if moment is None:
        reported.append(unknown("context.at", value))
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=SEOUL)


def part_of_day(at: datetime) -> TimeOfDay:
    """Which part of the day it is in Seoul; the night lasts until five."""
    hour = at.astimezone(SEOUL).hour
    parts = [part for first, part in _DAY if hour >= first]
    return parts[-1] if parts else TimeOfDay.NIGHT


def _mood(raw: Mapping[str, Any], reported: list[dict[str, str]]) -> str:
    value = raw.get("mood")
    if value in (None, ""):
        return ""
    moods = _mood_words(engine_state.current().snapshot.version)
    meant = moods.get(term_key(value), "") if isinstance(value, str) else ""
    if not meant:
        reported.append(unknown("context.mood", value))
    return meant


@lru_cache(maxsize=2)
def _mood_words(catalog_version: str) -> dict[str, str]:
    """{key of a mood, of one word of it, or of its translation: the catalog's word for it}."""
    words: dict[str, str] = {}
    for name in engine_state.current().snapshot.catalog.terms["mood"].names:
        spellings = [name, *name.split(), *(term_in(locale, name) for locale in Locale)]
        for spelling in spellings:
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
    terms = engine_state.current().snapshot.catalog.terms
    return [
        unknown(f"{field}.{name}", value)
        for name, values in given.items()
        for value in _not_in(values, terms[_KINDS[name]].codes_by_key)
    ]


def _not_in(values: Iterable[str], codes_by_key: Mapping[str, int]) -> list[str]:
    return sorted(value for value in values if term_key(value) not in codes_by_key)
