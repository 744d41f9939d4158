"""A body that names many songs costs a bounded amount of work, and reports every name it did not find."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from catalog.factories import SongFactory
from engine.catalog.search.fuzzy_budget import LETTERS_PER_LOOKUP
from recommendations.serving import gather

from .conftest import World

pytestmark = pytest.mark.django_db
#: As long as the column allows.
LONG_TITLE = "가나다라마바사아자차카타파하고노도" * 15


def test_misspelt_names_beyond_the_budget_are_reported_and_exact_ones_found(
    client: Client, world: World
) -> None:
    long, exact = SongFactory(title_kr=LONG_TITLE), SongFactory(title_kr="레몬", artist="米津玄師")
    slips = [{"title": f"{LONG_TITLE[:-3]}{n:03d}"} for n in range(199)]
    body = {
        "memberId": "user123",
        "favorite_songs": [*slips, {"title": "레몬", "artist": "米津玄師"}],
    }
    answer = client.post(
        "/recommend", json.dumps(body, ensure_ascii=False), content_type="application/json"
    )
    assert answer.status_code == 200
    found = gather.FUZZY_LETTERS // (LETTERS_PER_LOOKUP + len(LONG_TITLE))
    assert set(answer.json()["favorite_song_ids"]) == {long.pk, exact.pk}
    reported = [item["title"] for item in answer.json()["unresolved"]]
    assert reported == [slip["title"] for slip in slips[found:]]
    assert 0 < found < 199
