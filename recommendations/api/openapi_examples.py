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


def _request(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


def _response(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True, status_codes=["200"])


RECOMMEND_TEXT = """Answers with groups (songs under a label and a tagline) and candidates (quick picks).

Both generations of bodies work and may be mixed. Without favourites in the body those of the
database count; an explicit `[]` means that the member has none. Songs named by text are looked up
in every title and artist column. What could not be found, or was not understood, stands in
`unresolved`. Whatever happens to the model, Redis or the broker, a 200 with usable groups comes;
`degraded` says what was missing."""

RECOMMEND = [
    _request("A member of the database", {"memberId": "42"}),
    _request("With ids", {"memberId": "42", "favorite_song_ids": [1, 65, 30]}),
    _request(
        "With songs named by text",
        {
            "user_id": "user123",
            "favorite_songs": [{"title": "아이돌", "artist": "YOASOBI", "genre": "팝"}],
            "count": 20,
        },
    ),
    _request(
        "For a situation",
        {
            "memberId": "42",
            "strategy": "fast",
            "locale": "ko",
            "context": {"time_of_day": "밤", "activity": "휴식"},
        },
    ),
    _request(
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
ANSWER = _response("An answer", _ANSWER)
CACHED = _response(
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
    _request("A member of the database", {"memberId": "42"}),
    _request("A caller's own user", {"user_id": "user123"}),
]

FAVORITES_TEXT = """Records a change and stores a fresh local answer before it returns; the model is asked later.

Either one song (`action` with `song_data`: its id, or title and artist) or the full list
(`favorite_song_ids`). For members of the database their likes are the truth: a change posted here
counts until the database shows it, at most 24 hours. Posting the same twice changes nothing."""
FAVORITES = [
    _request(
        "A song was liked",
        {"user_id": "user123", "action": "add_favorite", "song_data": {"song_id": 65}},
    ),
    _request(
        "Named by text",
        {
            "user_id": "user123",
            "action": "remove_favorite",
            "song_data": {"title": "夜に駆ける", "artist": "YOASOBI"},
        },
    ),
    _request("The full list", {"memberId": "42", "favorite_song_ids": [1, 65]}),
]
QUEUED = _response(
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
WARMED = _response(
    "Queued", {"task_id": "5d6ff3a4-3fb1-4d2b-8f0c-63d8c6a2b1e0", "status": "queued"}
)

# --- Jobs -----------------------------------------------------------------------------------------
JOB = OpenApiExample(
    "queued",
    value={
        "job_id": "1f0c2c6e-7d0b-4b7e-9a53-51a3b0f7f0aa",
        "status": "queued",
        "progress": 0,
        "member_id": "42",
        "attempt": 0,
        "submitted_at": "2026-01-31T12:00:00Z",
        "started_at": None,
        "finished_at": None,
        "cancel_requested": False,
        "note": "",
        "error": None,
        "result": None,
    },
    response_only=True,
    status_codes=["200", "202"],
)

# --- Members and songs ----------------------------------------------------------------------------
_FEEDBACK = {
    "events": [
        {
            "event_id": "0d1f6a1e-1",
            "memberId": "42",
            "song_id": 65,
            "type": "skip",
            "occurred_at": "2026-05-01T21:04:00+09:00",
        },
        {"event_id": "0d1f6a1e-2", "memberId": "42", "song_id": 30, "type": "rating", "value": 5},
    ]
}
_VERDICTS = {
    "accepted": 1,
    "duplicate": 1,
    "rejected": 0,
    "verdicts": [
        {"event_id": "0d1f6a1e-1", "verdict": "accepted", "detail": ""},
        {
            "event_id": "0d1f6a1e-2",
            "verdict": "duplicate",
            "detail": "This event id was reported before.",
        },
    ],
}
_BLOCK = {"kind": "artist", "name": "YOASOBI", "until": "2026-06-01T00:00:00+09:00"}
_SONG = {
    "song_id": 65,
    "title_jp": "夜に駆ける",
    "title_kr": "밤을 달리다",
    "title_en": "Racing into the Night",
    "title_yomi": "よるにかける",
    "artist": "YOASOBI",
    "artist_kr": "요아소비",
    "tj_number": 68058,
    "ky_number": 44594,
    "genre": "J-pop",
    "mood": "에너지",
    "score": 0.98,
}
FEEDBACK = [
    OpenApiExample("two events", _FEEDBACK, request_only=True),
    OpenApiExample("verdicts", _VERDICTS, response_only=True, status_codes=["202"]),
]
BLOCK = OpenApiExample("an artist until June", _BLOCK, request_only=True)
SEARCH = OpenApiExample("ㅂㅇㄷㄹㄷ", {"query": "ㅂㅇㄷㄹㄷ", "songs": [_SONG]}, response_only=True)
SIMILAR_TO = OpenApiExample(
    "like these two", {"song_ids": [65, 30], "count": 10}, request_only=True
)
