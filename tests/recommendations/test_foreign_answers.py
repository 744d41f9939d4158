"""Answers that other programs left under `recommend:{member}`, in our shape."""

from __future__ import annotations

import orjson
import pytest

from recommendations.serving.stored_answers import foreign_answers


def test_the_old_schedulers_shape_is_normalised() -> None:
    old = orjson.dumps(
        {
            "favorites": ["1", 65],
            "recommendations": {
                "groups": [
                    {
                        "label": "감성적",
                        "tagline": None,
                        "songs": [
                            {
                                "title_jp": None,
                                "title_kr": "용사",
                                "tj_number": "68999",
                                "ky_number": "0",
                            }
                        ],
                    }
                ],
                "candidates": [{"song_id": "3", "match_score": "x", "matched_criteria": None}],
            },
            "generated_date": "2026-11-20",
        }
    )
    answer = orjson.loads(foreign_answers.normalize(old))
    assert answer["favorite_song_ids"] == [1, 65]
    group = answer["groups"][0]
    assert group["tagline"] == "감성적"  # a heading is never empty
    assert group["songs"] == [
        {
            "title_jp": "",
            "title_kr": "용사",
            "title_en": "",
            "title_yomi": "",
            "artist": "",
            "artist_kr": "",
            "tj_number": 68999,
            "ky_number": None,
        }
    ]
    candidate = answer["candidates"][0]
    assert candidate["song_id"] == 3
    assert candidate["match_score"] == 0
    assert candidate["recommendation_type"] == "preference"
    assert candidate["matched_criteria"] == []


@pytest.mark.parametrize("junk", [b"[]", b"null", b"not json", b""])
def test_what_is_no_recommendation_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 – orjson's own subclass, or ours
        foreign_answers.normalize(junk)
