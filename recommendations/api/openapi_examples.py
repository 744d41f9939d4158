"""Examples and longer texts of the API documentation."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

_GROUP_SONG = {
    "song_id": 65,
    "title_jp": "夜に駆ける",
    "title_kr": "밤을 달리다",
    "title_en": "Racing into the Night",
    "title_yomi": "よるにかける",
    "artist": "YOASOBI",
    "artist_kr": "요아소비",
    "tj_number": 68134,
    "ky_number": 44529,
}
_CANDIDATE = _GROUP_SONG | {
    "genre": "J-pop",
    "mood": "에너지",
    "recommendation_type": "preference",
    "matched_criteria": ["같은 가수"],
    "match_score": 0.93,
    "reason": "「아이돌」과 같은 YOASOBI의 노래예요.",
}
_GROUPS = [{"label": "YOASOBI", "tagline": "이 목소리, 더 듣고 싶다면", "songs": [_GROUP_SONG]}]
_DATE = "2026-01-31"
_RUN = "7d0c5c0e-2f0e-4f3e-9c57-0b8a3f1f7a51"
_ANSWER = {
    "status": "completed",
    "message": "추천 1곡을 준비했어요.",
    "generated_date": _DATE,
    "groups": _GROUPS,
    "candidates": [_CANDIDATE],
    "favorite_song_ids": [1, 30],
    "run_id": _RUN,
    "source": "local",
    "degraded": None,
    "unresolved": [],
}


def _asked(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


def _told(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True, status_codes=["200"])


RECOMMEND_TEXT = """Answers with groups (shelves with a tagline) and candidates (quick picks).

Both generations of bodies work and may be mixed. Without favourites in the body those of the
database count; an explicit `[]` means that the member has none. Songs named by text are looked up
in every title and artist column. What could not be found, or was not understood, stands in
`unresolved`. Whatever happens to the model, Redis or the broker, a 200 with usable groups comes;
`degraded` says what was missing."""

RECOMMEND = [
    _asked("A member of the database", {"memberId": "42"}),
    _asked("With ids", {"memberId": "42", "favorite_song_ids": [1, 65, 30]}),
    _asked(
        "With songs named by text",
        {
            "user_id": "user123",
            "favorite_songs": [{"title": "아이돌", "artist": "YOASOBI", "genre": "팝"}],
            "count": 20,
        },
    ),
    _asked(
        "For a situation",
        {
            "memberId": "42",
            "strategy": "fast",
            "locale": "ko",
            "context": {"time_of_day": "밤", "activity": "휴식"},
        },
    ),
    _asked(
        "With dials and filters",
        {
            "memberId": "42",
            "adventure": 0.8,
            "diversity": 0.5,
            "only": {"karaoke": ["tj"], "languages": ["일본어"]},
            "exclude": {"artists": ["YOASOBI"], "song_ids": [30]},
        },
    ),
]
ANSWER = _told("An answer", _ANSWER)
CACHED = _told(
    "A stored answer",
    {
        "favorite_song_ids": [1, 30],
        "groups": _GROUPS,
        "candidates": [_CANDIDATE],
        "generated_date": _DATE,
        "cached": True,
    },
)
MEMBER = [
    _asked("A member of the database", {"memberId": "42"}),
    _asked("A caller's own user", {"user_id": "user123"}),
]

FAVORITES_TEXT = """Takes note of a change and stores a fresh local answer before it returns; the model's version follows.

Either one song (`action` with `song_data`: its id, or title and artist) or the full list
(`favorite_song_ids`). For members of the database their likes are the truth: what is said here
counts until the database shows it, at most 24 hours. Saying the same twice changes nothing."""
FAVORITES = [
    _asked(
        "A song was liked",
        {"user_id": "user123", "action": "add_favorite", "song_data": {"song_id": 65}},
    ),
    _asked(
        "Named by text",
        {
            "user_id": "user123",
            "action": "remove_favorite",
            "song_data": {"title": "夜に駆ける", "artist": "YOASOBI"},
        },
    ),
    _asked("The full list", {"memberId": "42", "favorite_song_ids": [1, 65]}),
]
QUEUED = _told(
    "Noted",
    {
        "status": "queued",
        "message": "The change counts from now on.",
        "task_id": "5d6ff3a4-3fb1-4d2b-8f0c-63d8c6a2b1e0",
        "run_id": _RUN,
        "source": "local",
        "degraded": None,
        "generated_date": _DATE,
        "favorite_song_ids": [65, 1],
        "unresolved": [],
    },
)
WARMED = _told("Queued", {"task_id": "5d6ff3a4-3fb1-4d2b-8f0c-63d8c6a2b1e0", "status": "queued"})
