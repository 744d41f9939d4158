"""Whatever a message holds, it ends as a job, a dead letter or both, and nothing raises past the consumer."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import amqp
import pytest
from amqp.serialization import dumps as amqp_dumps
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kombu.message import Message
from kombu.utils.json import loads

from recommendations.jobs.backend_queue import bootstep, rabbitmq_messages
from recommendations.jobs.backend_queue.rabbitmq_consumer import attend
from recommendations.jobs.backend_queue.rabbitmq_messages import Delivery, InvalidMessage
from recommendations.jobs.kinds import Done
from recommendations.models import DeadLetter, Job

JOB = "8f14e45f-ceea-467f-a9a8-7d8f0c1d2e3f"
FIXED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FIELDS = (
    *("jobId", "memberId", "favoriteSongIds", "strategy", "topK", "locale", "source"),
    *("requestedAt", "idempotencyKey", "traceId", "modelVersion", "attempt", "novelty"),
)

# --- What can stand in a message ------------------------------------------------------------------
#: Text of JSON values, for what Python's own encoder would not write.
NUMBERS = st.sampled_from(
    ["0", "-1", "1E+1000000", "1e99999999999999999999", "-1e-99999999999999999999", "2147483648",
     "9223372036854775808", "9" * 5000, "0." + "1" * 5000, "NaN", "-Infinity", "1.50", "7.0"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["\x00", "\ud83c", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]),
).map(json.dumps)
ATOMS = st.one_of(NUMBERS, TEXTS, st.sampled_from(["null", "true", "[]", "{}"]))
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(TEXTS, inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)


@st.composite
def bodies(draw: Any) -> bytes:
    """A message with right ids and odd values, or with odd ids as well; keys may come twice."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(FIELDS).map(json.dumps), VALUES), max_size=6))
    if draw(st.booleans()):
        pairs = [*pairs, ('"jobId"', json.dumps(JOB)), ('"memberId"', "42")]
    return ("{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}").encode(
        "utf-8", "surrogatepass"
    )


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = {"in": value}
    return value


HEADERS = st.dictionaries(
    st.text(max_size=12),
    st.recursive(
        st.one_of(
            *(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()),
            *(st.text(max_size=20), st.binary(max_size=20), st.just(Decimal("1E+5"))),
            *(st.just(datetime(2026, 1, 1, tzinfo=UTC)), st.just("\ud83c")),
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=6,
    ),
    max_size=5,
)  # fmt: skip


# --- Reading --------------------------------------------------------------------------------------
@FIXED
@given(st.one_of(st.binary(max_size=200), bodies()))
@example(b'{"a":' * 50_000)
@example(b"[" * 100_000)
@example(b'{"jobId":"' + JOB.encode() + b'","memberId":1,"x":' + b"[" * 900 + b"]" * 900 + b"}")
def test_reading_raises_one_error_only(body: bytes) -> None:
    try:
        message = rabbitmq_messages.parse(body)
    except InvalidMessage as error:
        (str(error) + error.job_id).encode()
        return
    json.dumps(message.arguments())
    assert 1 <= message.top_k <= 100
    again = rabbitmq_messages.parse(rabbitmq_messages.with_attempt(body, 2))
    assert again.attempt == 2
    assert again.arguments() == message.arguments()


@pytest.mark.parametrize("field", ["topK", "attempt", "memberId", "favoriteSongIds", "novelty"])
@pytest.mark.parametrize("number", ["1E+1000000", "1e99999999999999999999", "9" * 5000])
def test_no_number_is_too_large_to_read_past(field: str, number: str) -> None:
    fields = {"jobId": json.dumps(JOB), "memberId": "42", field: number}
    if field == "favoriteSongIds":
        fields[field] = f"[1,{number}]"
    body = ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}").encode()
    if field == "memberId":
        with pytest.raises(InvalidMessage):
            rabbitmq_messages.parse(body)
        return
    assert rabbitmq_messages.parse(body).job_id == UUID(JOB)
    sent = rabbitmq_messages.with_attempt(body, 1).decode()
    if field != "attempt":
        assert number in sent  # unknown and odd fields survive a retry as they were written


# --- From the broker to an outcome ----------------------------------------------------------------
def as_carried(body: bytes, headers: dict[str, Any], properties: dict[str, Any]) -> Delivery:
    """The delivery as `take` gets it, through the step and Celery's serializer."""
    message = Message(
        body=body or "",  # so does py-amqp
        headers=headers,
        properties=properties,
        delivery_info={"redelivered": False},
        content_type=properties.get("content_type"),
    )
    return Delivery.of_arguments(*loads(bootstep.as_task(message).body)[0])


def nothing(_job: Job) -> Done:
    return b"{}", {}


@pytest.mark.django_db
@FIXED
@given(
    st.one_of(st.binary(max_size=60), bodies()),
    HEADERS,
    st.sampled_from([{}, {"content_type": "text/x-odd", "priority": 255, "message_id": "\ud83c"}]),
)
@example(b'{"jobId":"' + JOB.encode() + b'","memberId":1,"attempt":2147483648}', {}, {})
@example(b'{"jobId":"' + JOB.encode() + b'","memberId":1}', {"deep": nested(40)}, {})
@example(b'{"jobId":"' + JOB.encode() + b'","memberId":1}', {"compression": "zlib"}, {})
@example(b'{"jobId":7,"memberId":1}', {"deep": nested(40)}, {})
@example(b"", {}, {})
def test_every_message_ends_as_a_job_a_letter_or_both(
    body: bytes, headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    with transaction.atomic():
        attend(as_carried(body, headers, properties), work=nothing)
        letters = list(DeadLetter.objects.all())
        assert Job.objects.exists() or letters
        for letter in letters:
            assert (letter.code, bytes(letter.body)) == ("INVALID_MESSAGE", body)
        assert _depth(json.dumps([letter.headers for letter in letters])) <= 30
        assert all(_depth(json.dumps(job.headers)) <= 30 for job in Job.objects.all())
        transaction.set_rollback(True)


def _depth(written: str) -> int:
    depth = deepest = 0
    for char in written:
        depth += (char in "[{") - (char in "]}")
        deepest = max(deepest, depth)
    return deepest


# --- Properties on the wire -----------------------------------------------------------------------
def content_header(timestamp: int) -> bytes:
    """The properties of a message with a timestamp among its headers, as they come from the broker."""
    fields = amqp_dumps("F", [{"__TypeId__": "com.utabox.Message", "n": 1}])[4:]
    fields += b"\x02atT" + struct.pack(">Q", timestamp)
    return struct.pack(">HI", 1 << 13, len(fields)) + fields


def loaded(raw: bytes) -> dict[str, Any]:
    message = amqp.Message()
    reader = bootstep.read_tolerantly(amqp.Message._load_properties)
    reader(message, 60, raw, 0)
    return dict(message.properties)


def test_a_timestamp_in_milliseconds_does_not_stop_the_connection() -> None:
    assert loaded(content_header(1_758_500_000))["application_headers"]["n"] == 1
    odd = loaded(content_header(1_758_500_000_000_000))
    assert odd["application_headers"] == {"__TypeId__": "com.utabox.Message"}


@FIXED
@given(st.binary(max_size=80))
def test_no_properties_stop_the_connection(raw: bytes) -> None:
    loaded(raw)


def test_a_body_too_large_for_the_database_is_refused() -> None:
    body = json.dumps(
        {"jobId": str(uuid4()), "memberId": 1, "x": "y" * rabbitmq_messages.MAX_BODY_BYTES}
    )
    with pytest.raises(InvalidMessage):
        rabbitmq_messages.parse(body.encode())
