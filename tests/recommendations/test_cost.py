"""What a request costs in statements: a query more on these paths is felt by every member."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from recommendations.services import recommend
from recommendations.serving import active_engine
from recommendations.serving.request import Request

pytestmark = pytest.mark.django_db


def statements(request: Request) -> Counter[str]:
    """Statements of one recommendation by first word; without transactions, and leases, which lie in Redis."""
    active_engine.current()
    with CaptureQueriesContext(connection) as seen:
        recommend(request)
    said = [
        query["sql"].lstrip("( ") for query in seen if "recommendations_lease" not in query["sql"]
    ]
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return Counter(word for sql in said if (word := sql.split(" ")[0]) in kinds)


def test_a_computed_answer_reads_the_member_in_four_queries_and_writes_four_rows(world) -> None:
    recommend(Request(member_key=world.bob))  # what a process asks once is asked
    seen = statements(Request(member_key=world.alice, refresh=True))
    assert seen["SELECT"] == 4 + 1 + 1  # the member; the answer in force; the newest taste kept
    assert seen["INSERT"] == 4  # the answer, the taste, its history, the run
    assert seen["UPDATE"] == 0


def test_a_fresh_answer_is_read_in_one_query_more_than_the_member(world) -> None:
    recommend(Request(member_key=world.alice))
    seen = statements(Request(member_key=world.alice))
    assert seen == {"SELECT": 4 + 1}
