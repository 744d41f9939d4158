"""What the backend's messages say, however they are written."""

import json
from uuid import UUID

import pytest

from engine.types import Locale, Strategy
from recommendations.jobs.backend_queue import rabbitmq_messages, rabbitmq_topology

JOB = "8f14e45f-ceea-467f-a9a8-7d8f0c1d2e3f"


def body(**changes: object) -> bytes:
    fields = {
        "jobId": JOB,
        "memberId": 42,
        "favoriteSongIds": [1, 65],
        "strategy": "default",
        "topK": 50,
        "locale": "ko",
        "source": "login",
        "requestedAt": 1758500000.5,
        "idempotencyKey": None,
        "traceId": "0b0e",
        "modelVersion": "v1",
        "attempt": 0,
    }
    return json.dumps(fields | changes).encode()


def test_a_message_is_read_as_it_was_meant():
    message = rabbitmq_messages.parse(body())
    assert message.job_id == UUID(JOB)
    assert (message.member_id, message.favorite_song_ids) == (42, (1, 65))
    assert (message.strategy, message.locale, message.top_k) == (Strategy.DEFAULT, Locale.KO, 50)
    assert message.requested_at.isoformat() == "2025-09-22T00:13:20.500000+00:00"
    assert (message.source, message.idempotency_key, message.attempt) == ("login", "", 0)


@pytest.mark.parametrize(
    "given",
    [None, []],  # both mean: use the member's likes and playlists
)
def test_no_favourites_given_means_those_of_the_database(given):
    assert rabbitmq_messages.parse(body(favoriteSongIds=given)).favorite_song_ids is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1758500000.123456789, "2025-09-22T00:13:20.123457+00:00"),
        (1758500000, "2025-09-22T00:13:20+00:00"),
        ("1758500000.5", "2025-09-22T00:13:20.500000+00:00"),
        ("2025-09-22T09:13:20.123456789+09:00", "2025-09-22T00:13:20.123456+00:00"),
        ("2025-09-22T00:13:20Z", "2025-09-22T00:13:20+00:00"),
    ],
)
def test_both_forms_of_a_moment_are_read(written, read):
    assert rabbitmq_messages.parse(body(requestedAt=written)).requested_at.isoformat() == read


@pytest.mark.parametrize(
    "rubbish", ["soon", "0001-01-01T00:00:00+23:59", True, {"a": 1}, "9" * 40, None, []]
)
def test_a_moment_that_is_rubbish_does_not_lose_the_job(rubbish):
    assert rabbitmq_messages.parse(body(requestedAt=rubbish)).requested_at is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ja", Locale.JA),
        ("ja-JP", Locale.JA),
        ("EN_us", Locale.EN),
        ("japanese", Locale.KO),
        ("; DROP TABLE", Locale.KO),
        (None, Locale.KO),
        (7, Locale.KO),
        ({}, Locale.KO),
    ],
)
def test_a_locale_may_hold_rubbish(written, read):
    assert rabbitmq_messages.parse(body(locale=written)).locale is read


@pytest.mark.parametrize(
    ("written", "read"), [(None, 50), (0, 1), (-3, 1), (7, 7), ("20", 20), (5000, 100), ("x", 50)]
)
def test_the_length_of_the_list_is_kept_within_bounds(written, read):
    assert rabbitmq_messages.parse(body(topK=written)).top_k == read


def test_favourites_are_distinct_and_what_is_no_id_is_named():
    message = rabbitmq_messages.parse(body(favoriteSongIds=["3", 1, 3, None, "x", 1.0]))
    assert message.favorite_song_ids == (3, 1)
    assert "2 favoriteSongIds" in message.note


def test_of_more_than_ten_thousand_favourites_the_newest_are_used_and_it_says_so():
    message = rabbitmq_messages.parse(body(favoriteSongIds=list(range(1, 10_003))))
    assert message.favorite_song_ids == tuple(range(1, 10_001))
    assert "10002" in message.note


@pytest.mark.parametrize(
    ("broken", "job_id"),
    [
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"[]", ""),
        (b'"text"', ""),
        (b"", ""),
        (b"[" * 100_000, ""),
        (body(jobId="no-uuid"), "no-uuid"),
        (body(jobId=None), ""),
        (body(memberId=None), JOB),
        (body(memberId="abc"), JOB),
        (body(memberId=True), JOB),
        (body(memberId=0), JOB),
        (body(memberId=1e300), JOB),
    ],
)
def test_a_message_that_cannot_be_understood_raises_one_error(broken, job_id):
    with pytest.raises(rabbitmq_messages.InvalidMessage) as caught:
        rabbitmq_messages.parse(broken)
    assert caught.value.job_id == job_id


# --- Publishing again -----------------------------------------------------------------------------
def test_only_the_attempt_changes_and_every_number_stays_as_it_was_written():
    written = (
        b'{ "attempt" : 0 , "requestedAt":1758500000.123456789,"x":1.10e+2, "big":12345678901234567890,'
        b'"inner":{"attempt":7},"text":"\\"attempt\\":9 \xea\xb0\x80","list":[{"attempt":1}] }'
    )
    assert rabbitmq_messages.with_attempt(written, 1) == written.replace(
        b'"attempt" : 0', b'"attempt" : 1'
    )


def test_an_attempt_written_twice_is_changed_twice():
    # Jackson takes the last one, Python too.
    assert rabbitmq_messages.with_attempt(b'{"attempt":0,"a":1,"attempt":0}', 2) == (
        b'{"attempt":2,"a":1,"attempt":2}'
    )


@pytest.mark.parametrize(
    ("written", "sent"), [(b"{}", b'{"attempt":1}'), (b'{"a":1 }', b'{"a":1 ,"attempt":1}')]
)
def test_a_missing_attempt_is_added(written, sent):
    assert rabbitmq_messages.with_attempt(written, 1) == sent


def test_headers_travel_without_what_the_broker_added():
    headers = {
        "__TypeId__": "com.utabox.RecommendationMessage",
        "mine": 1,
        "x-death": [{"count": 1}],
        "x-first-death-queue": "q",
        "x-last-death-reason": "expired",
    }
    assert rabbitmq_messages.headers_to_send(headers) == {
        "__TypeId__": "com.utabox.RecommendationMessage",
        "mine": 1,
    }


def test_properties_name_a_charset_that_java_knows():
    sent = rabbitmq_messages.properties_to_send(
        {"message_id": "m", "expiration": "5000", "content_encoding": "binary", "user_id": "guest"}
    )
    assert sent == {
        "message_id": "m",
        "content_type": "application/json",
        "content_encoding": "UTF-8",
        "delivery_mode": 2,
    }


@pytest.mark.parametrize(("received", "year"), [(1_758_500_000, 2025), (1_758_500_000_000, None)])
def test_a_timestamp_can_be_sent_again(received, year):
    sent = rabbitmq_messages.properties_to_send({"timestamp": received}).get("timestamp")
    assert (sent and sent.year) == year


def test_the_queues_are_declared_as_the_backend_declares_them():
    declared = {
        spec.name: (spec.exchange, spec.routing_key, dict(spec.arguments))
        for spec in rabbitmq_topology.QUEUES
    }
    retry = {
        "x-dead-letter-exchange": "rec.exchange",
        "x-dead-letter-routing-key": "recommendation.generate",
    }
    assert declared == {
        "rec.recommendation.q": (
            "rec.exchange",
            "recommendation.generate",
            {
                "x-dead-letter-exchange": "rec.dlx",
                "x-dead-letter-routing-key": "recommendation.generate.dlq",
            },
        ),
        "rec.recommendation.retry.5s.q": (
            "rec.dlx",
            "recommendation.generate.retry.5s",
            {"x-message-ttl": 5000} | retry,
        ),
        "rec.recommendation.retry.30s.q": (
            "rec.dlx",
            "recommendation.generate.retry.30s",
            {"x-message-ttl": 30000} | retry,
        ),
        "rec.recommendation.retry.120s.q": (
            "rec.dlx",
            "recommendation.generate.retry.120s",
            {"x-message-ttl": 120000} | retry,
        ),
        "rec.recommendation.dlq": ("rec.dlx", "recommendation.generate.dlq", {}),
    }
