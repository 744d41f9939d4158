"""Makes small answers as they are stored."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.utils import timezone

from recommendations.serving.stored_answers.answer_payload import encode_answer
from recommendations.serving.stored_answers.answer_store import AnswerMeta

SONG = {
    "song_id": 7,
    "title_jp": "怪物",
    "title_kr": "괴물",
    "title_en": "",
    "title_yomi": "かいぶつ",
    "artist": "YOASOBI",
    "artist_kr": "요아소비",
    "tj_number": 68361,
    "ky_number": None,
}


def encoded(*favorites: int) -> bytes:
    """The value of `recommend:{member}` of a member with these favourites."""
    return encode_answer(
        favorite_song_ids=list(favorites),
        groups=[{"label": "록", "tagline": "달려볼까요", "songs": [SONG]}],
        candidates=[],
        generated_date="2026-11-23",
    )


def meta_of(**changes: Any) -> AnswerMeta:
    values = {
        "run_id": str(uuid4()),
        "fingerprint": "f",
        "favorites_sha": "s",
        "source": "local",
        "count": 50,
        "generated_at": timezone.now().isoformat(),
    }
    return AnswerMeta(**(values | changes))
