"""A song as the app gets it."""

from __future__ import annotations

import pytest

from catalog.song_payloads import wire_song
from engine.types import SongView


@pytest.mark.parametrize(
    ("given", "title_en"),
    [
        ({"title_jp": "夜", "title_kr": "밤"}, ""),
        ({"title_en": "Night", "title_kr": "밤"}, "Night"),
        ({"title_kr": "밤"}, "밤"),  # the app would show an empty line
    ],
)
def test_the_app_always_has_a_title_to_show(given: dict[str, str], title_en: str):
    assert wire_song(SongView(song_id=1, **given)).title_en == title_en
