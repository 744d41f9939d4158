"""Understands the words callers use for a situation, in Korean, Japanese and English.

Times, parts of the day and activities are read when a request is parsed. Moods and the names in
filters depend on the catalog and on staff's occasions: they are resolved when it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from django.utils.dateparse import parse_datetime

from engine.catalog.text import term_key
from engine.presentation.vocabulary import describing, term_in
from engine.types import Activity, Context, Exclude, Locale, Only, TimeOfDay
from infrastructure.time import SEOUL

from ..active_engine import EngineState
from ..request import Unresolved

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
#: Words for the occasions of the starting table; occasions that staff add are matched by their name.
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
    synonyms = {term_key(one): value for value, many in words.items() for one in many.split()}
    return {term_key(value.value): value for value in words} | synonyms


_TIME_WORDS, _ACTIVITY_WORDS = _table(_TIMES), _table(_ACTIVITIES)


_OCCASION_OF = {
    term_key(word): occasion for occasion, words in _OCCASIONS.items() for word in words.split()
}


# --- While a request is parsed --------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ParsedContext:
    """A situation as far as it can be read without the catalog."""

    context: Context
    #: As the caller wrote it; `resolve_mood` finds the catalog's word.
    mood_word: str
    unresolved: tuple[Unresolved, ...]


def parse_context(raw: Mapping[str, Any]) -> ParsedContext:
    """Read the situation a caller describes."""
    known = {"at", "time_of_day", "mood", "activity"}
    unresolved = [_unknown(f"context.{name}", raw[name]) for name in raw if name not in known]
    time_of_day = _known_word(raw, "time_of_day", _TIME_WORDS, unresolved)
    at = _moment(raw, unresolved)
    activity = _known_word(raw, "activity", _ACTIVITY_WORDS, unresolved)
    mood = raw.get("mood")
    if not isinstance(mood, str):
        if mood is not None:
            unresolved.append(_unknown("context.mood", mood))
        mood = ""
    return ParsedContext(
        context=Context(
            time_of_day=time_of_day or (part_of_day(at) if at else None), activity=activity
        ),
        mood_word=mood,
        unresolved=tuple(unresolved),
    )


def part_of_day(at: datetime) -> TimeOfDay:
    """Which part of the day it is on Seoul's clock; the night lasts until five."""
    parts = [part for first, part in _DAY if at.astimezone(SEOUL).hour >= first]
    return parts[-1] if parts else TimeOfDay.NIGHT


def _unknown(field: str, value: Any) -> Unresolved:
    return Unresolved(field=field, value=str(value)[:100])


def _known_word(
    raw: Mapping[str, Any], name: str, words: Mapping[str, Word], unresolved: list[Unresolved]
) -> Word | None:
    value = raw.get(name)
    if value in (None, ""):
        return None
    word = words.get(term_key(value)) if isinstance(value, str) else None
    if word is None:
        unresolved.append(_unknown(f"context.{name}", value))
    return word


def _moment(raw: Mapping[str, Any], unresolved: list[Unresolved]) -> datetime | None:
    value = raw.get("at")
    if value in (None, ""):
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        if moment is not None:
            return moment.astimezone(SEOUL) if moment.tzinfo else moment.replace(tzinfo=SEOUL)
    except (ValueError, OverflowError):  # 2026-02-30; the last hours of the year 9999
        pass
    unresolved.append(_unknown("context.at", value))
    return None


# --- While it is computed -------------------------------------------------------------------------
def resolve_mood(word: str, state: EngineState) -> str:
    """A mood of the catalog or an occasion of the table ("비 오는 날"), by its name or a synonym; "" if unknown."""
    occasion = state.settings.situations.occasion
    key = term_key(word)
    by_catalog = _mood_words(tuple(state.snapshot.catalog.terms["mood"].names)).get(key, "")
    return occasion(word) or by_catalog or occasion(_OCCASION_OF.get(key, ""))


@lru_cache(maxsize=2)
def _mood_words(moods: tuple[str, ...]) -> dict[str, str]:
    """{key of a mood, of one word of it, of how it is said before a noun or in another language: the catalog's word}"""
    words: dict[str, str] = {}
    for name in moods:
        translations = [form(locale, name) for locale in Locale for form in (term_in, describing)]
        for spelling in [name, *name.split(), *translations]:
            words.setdefault(term_key(spelling), spelling if spelling in name else name)
    return words


#: Filters that hold names, and the catalog's column each is looked up in.
_FILTER_COLUMNS = {
    "artists": "artist",
    "genres": "genre",
    "moods": "mood",
    "anime": "anime",
    "languages": "language",
}


def unknown_mood(word: str) -> Unresolved:
    return _unknown("context.mood", word)


def unknown_names(filters: Only | Exclude, field: str, state: EngineState) -> Sequence[Unresolved]:
    """Names in a filter that no song of the catalog carries."""
    terms = state.snapshot.catalog.terms
    return [
        _unknown(f"{field}.{filter_name}", name)
        for filter_name, names in vars(filters).items()
        if filter_name in _FILTER_COLUMNS
        for name in sorted(names)
        if term_key(name) not in terms[_FILTER_COLUMNS[filter_name]].codes_by_key
    ]
