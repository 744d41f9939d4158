"""What `ask` promises: an answer or a named failure in time, a row, and money within the ceiling."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import pytest
from django.db.models import Sum

from bench.fake_model import FakeModel, song_lines
from prompts.llm.breaker import breaker
from prompts.models import CallOutcome, LedgerScope, ModelCall, Reservation
from prompts.services import Answer, Ask, ModelUnavailable, ask, ask_many
from prompts.versions.rendering import estimate_tokens

pytestmark = pytest.mark.django_db

SONGS = [
    ("夜に駆ける", "YOASOBI", "J-pop", "에너지"),
    ("ハッピーエンド", "back number", "발라드", "감성적"),
    ("マリーゴールド", "あいみょん", "포크", "따뜻함"),
    ("紅蓮華", "LiSA", "애니 록", "강렬함"),
    ("Lemon", "米津玄師", "J-pop", "감성적"),
    ("打上花火", "DAOKO", "J-pop", "아련함"),
]
CURATION = {"candidates": SONGS, "taste": "신나는 록을 좋아합니다.", "count": 3}
TASTE = {
    "favorites_count": 3,
    "genres": [("록", 2), ("발라드", 1)],
    "moods": [("에너지", 3)],
    "artists": [("LiSA", 2)],
    "labels": ["신나는 록", "감성 발라드"],
}
#: Long enough for a busy machine; the faults that wait are given a shorter one.
DEADLINE_S = 10.0


def curate(deadline_s: float = DEADLINE_S, **options) -> Answer:
    return ask("curation", variables=CURATION, deadline_s=deadline_s, member_key="42", **options)


def booked() -> int:
    """What the ledger holds for this month: settled and still set aside."""
    row = LedgerScope.objects.get(key__startswith="month:")
    return row.spent_micro_usd + row.reserved_micro_usd


def test_an_answer_comes_back_as_numbers_and_leaves_a_row(model: FakeModel) -> None:
    run = uuid4()
    answer = curate(run_uuid=run)
    assert answer.data == {"picks": [6, 5, 4]}
    call = ModelCall.objects.get()
    assert (call.outcome, call.run_uuid, str(call.uuid)) == (CallOutcome.OK, run, answer.call)
    assert (call.tokens_input, call.tokens_output, call.tokens_estimated) == (1_000, 60, False)
    # 1000 × 0.75 + 60 × 4.5 micro-dollars
    assert call.cost_micro_usd == booked() == 1_020
    assert "夜に駆ける" in call.input_text
    assert call.output_text == '{"picks": [6, 5, 4]}'
    assert call.version_label == answer.version
    assert not Reservation.objects.exists()


#: fault, outcome, what of the reservation is booked: "usage", "full" or "none"
FAULTS = [
    ("hang", CallOutcome.TIMEOUT, "full"),
    ("drip", CallOutcome.TIMEOUT, "full"),
    ("429", CallOutcome.RATE_LIMITED, "none"),
    ("quota", CallOutcome.QUOTA, "none"),
    ("500", CallOutcome.HTTP_5XX, "none"),
    ("401", CallOutcome.HTTP_4XX, "none"),
    ("404", CallOutcome.HTTP_4XX, "none"),
    ("400", CallOutcome.HTTP_4XX, "none"),
    ("reset", CallOutcome.CONNECTION, "full"),
    ("refusal", CallOutcome.REFUSED, "usage"),
    ("truncated", CallOutcome.TRUNCATED, "usage"),
    ("prose", CallOutcome.INVALID_JSON, "usage"),
    ("not_json", CallOutcome.INVALID_JSON, "full"),
    ("empty", CallOutcome.EMPTY, "usage"),
    ("fenced", CallOutcome.OK_REPAIRED, "usage"),
    ("out_of_range", CallOutcome.OK_REPAIRED, "usage"),
    ("duplicates", CallOutcome.OK_REPAIRED, "usage"),
    ("no_usage", CallOutcome.OK, "full"),
]


@pytest.mark.parametrize(("fault", "outcome", "booked_as"), FAULTS, ids=[row[0] for row in FAULTS])
def test_every_fault_has_its_name_its_price_and_an_end(
    model: FakeModel, settings, fault: str, outcome: CallOutcome, booked_as: str
) -> None:
    model.fault = fault
    waits = fault in {"hang", "drip"}
    started = time.monotonic()
    answer = ask_many(
        [Ask(slug="curation", variables=CURATION, member_key="42")], 0.5 if waits else DEADLINE_S
    )[0]
    took_s = time.monotonic() - started

    call = ModelCall.objects.get()
    assert call.outcome == outcome
    if outcome in {CallOutcome.OK, CallOutcome.OK_REPAIRED}:
        assert isinstance(answer, Answer)
        assert set(answer.data["picks"]) <= set(range(1, len(SONGS) + 1))
        assert len(answer.data["picks"]) == len(set(answer.data["picks"]))
    else:
        assert isinstance(answer, ModelUnavailable)
        assert answer.outcome == outcome
    # the server hangs for a minute, dripping takes as long: only the deadline ends it
    assert not waits or took_s < 5
    expected = {"usage": 1_020, "full": call.reserved_micro_usd, "none": 0}[booked_as]
    assert call.cost_micro_usd == booked() == expected
    assert booked() <= settings.LLM_BUDGET_DAY_USD * 1_000_000


#: Path into the answer by call style, and values no schema of OpenAI's allows there.
ODD = {
    "usage": (("usage", "usage"), ["x", [], {}, 5]),
    "tokens in": (
        ("usage.input_tokens", "usage.prompt_tokens"),
        [0, -5, 1.5, None, "many", 10**12, 10**30],
    ),
    "tokens out": (("usage.output_tokens", "usage.completion_tokens"), [-(10**9), None, 10**20]),
    "cached": (
        ("usage.input_tokens_details", "usage.prompt_tokens_details"),
        [5, {"cached_tokens": "x"}, {"cached_tokens": -7}, {"cached_tokens": 10**15}],
    ),
    "id": (("id", "id"), [None, 5, {"a": 1}, "x" * 1_000, "a\0b", "\ud800"]),
    "model": (("model", "model"), [None, 5, {"a": 1}, "\ud83d"]),
    "tier": (("service_tier", "service_tier"), [5, {"a": 1}, "x" * 100]),
    "text": (
        ("output.0.content.0.text", "choices.0.message.content"),
        [
            *(5, ["a"], {"picks": [1]}, "\ud800", "\0", "[" * 100_000, '{"a":' * 3_000),
            *('{"picks": {}}', '{"picks": [NaN, 1e999, null, true, {}, [2]]}'),
            '{"picks": [%s]}' % ("9" * 5_000),
        ],
    ),
    "refusal": (("output.0.content.0", "choices.0.message"), [5, None, {"refusal": {"a": 1}}]),
    "items": (("output", "choices"), [None, 5, {}, [None], [5], [{}]]),
    "end": (("status", "choices.0.finish_reason"), [5, ["x"], "weird", None]),
}


@pytest.mark.parametrize("what", ODD)
def test_a_server_of_odd_manners_does_no_harm(model: FakeModel, settings, what: str) -> None:
    paths, values = ODD[what]
    settings.LLM_BUDGET_MEMBER_DAY_USD = 1
    for value in values:
        model.odd = (paths[settings.OPENAI_API == "chat"], value)
        answer = ask_many([Ask(slug="curation", variables=CURATION)], DEADLINE_S)[0]
        call = ModelCall.objects.order_by("-id")[0]
        usable = call.outcome in {CallOutcome.OK, CallOutcome.OK_REPAIRED}
        assert isinstance(answer, Answer if usable else ModelUnavailable)
        assert 0 < call.cost_micro_usd <= call.reserved_micro_usd
        assert len(call.response_id) <= 120
        breaker.clear_cache()
    assert ModelCall.objects.count() == len(values)
    assert not Reservation.objects.exists()
    if what in {"usage", "tokens in", "tokens out"}:  # a count that can't be is no count
        assert booked() == ModelCall.objects.aggregate(sum=Sum("reserved_micro_usd"))["sum"]


@pytest.mark.parametrize("retry_after", ["1", "60"])
def test_a_queue_call_waits_for_retry_after_only_if_it_fits(
    model: FakeModel, retry_after: str
) -> None:
    model.fault, model.fault_times, model.retry_after = "429", 1, retry_after
    answer = ask_many([Ask(slug="curation", variables=CURATION, trigger="queue")], 5)[0]
    call = ModelCall.objects.get()
    if retry_after == "1":
        assert isinstance(answer, Answer)
        assert (call.outcome, call.attempts) == (CallOutcome.OK, 2)
    else:
        assert isinstance(answer, ModelUnavailable)
        assert (call.outcome, call.attempts) == (CallOutcome.RATE_LIMITED, 1)


def test_nobody_who_waits_is_kept_for_a_second_try(model: FakeModel) -> None:
    model.fault, model.fault_times = "500", 1
    with pytest.raises(ModelUnavailable) as failure:
        curate(trigger="api")
    assert failure.value.outcome == CallOutcome.HTTP_5XX
    assert len(model.seen) == 1


def test_repairs_are_counted(model: FakeModel) -> None:
    model.fault = "out_of_range"
    answer = curate()
    assert answer.data == {"picks": [2, 1]}
    assert answer.repairs == {"out_of_range": 4, "missing": 1}
    model.fault = "duplicates"
    assert curate().repairs == {"duplicates": 3}


def test_taste_and_taglines_come_back_checked(model: FakeModel) -> None:
    model.answer = lambda seen: (
        '{"taste": "록과 발라드를 즐깁니다.", "genres": ["록", "지어낸 장르"], "moods": ["에너지"],'
        ' "artists": ["lisa"], "taglines": ["떼창하기 좋은 록 🎤", "Visit https://evil.example now"]}'
    )
    answer = ask("taste_and_taglines", variables=TASTE, deadline_s=DEADLINE_S, member_key="42")
    assert answer.data == {
        "taste": "록과 발라드를 즐깁니다.",
        "genres": ["록"],  # what was not in the counts is no label of ours
        "moods": ["에너지"],
        "artists": ["LiSA"],  # as we spell it
        "taglines": ["떼창하기 좋은 록 🎤", None],
    }
    assert answer.repairs == {"unknown_terms": 1, "taglines_rejected": 1}


def test_two_questions_run_side_by_side(model: FakeModel) -> None:
    model.delay_s = 0.5
    started = time.monotonic()
    answers = ask_many(
        [
            Ask(slug="curation", variables=CURATION, member_key="42"),
            Ask(slug="taste_and_taglines", variables=TASTE, member_key="42"),
        ]
        * 4,
        DEADLINE_S,
    )
    assert all(isinstance(answer, Answer) for answer in answers)
    assert time.monotonic() - started < 3  # eight in a row would take four seconds
    assert ModelCall.objects.count() == 8


def test_nothing_of_the_member_is_sent(model: FakeModel) -> None:
    ask("curation", variables=CURATION, deadline_s=DEADLINE_S, member_key="hong@example.com")
    sent = str(model.seen[0].body)
    assert "hong" not in sent
    assert "example.com" not in sent


def test_the_key_stays_out_of_rows_and_errors(model: FakeModel) -> None:
    model.fault = "401"
    with pytest.raises(ModelUnavailable) as failure:
        curate()
    assert "sk-test" not in f"{failure.value} {vars(ModelCall.objects.get())}"
    assert model.seen[0].authorization == "Bearer sk-test"


def test_without_a_model_nothing_is_asked_and_nothing_written(settings) -> None:
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
    with pytest.raises(ModelUnavailable) as failure:
        curate()
    assert failure.value.reason == "no_model"
    assert not ModelCall.objects.exists()


def test_a_refused_connection_costs_nothing(settings) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"  # the discard port: nobody listens
    with pytest.raises(ModelUnavailable) as failure:
        curate()
    call = ModelCall.objects.get()
    assert (failure.value.outcome, call.cost_micro_usd) == (CallOutcome.CONNECTION, 0)


def test_both_prompts_together_have_room_for_so_much_and_no_more(model: FakeModel) -> None:
    name = "밤하늘의별을보며부르는아주긴노래제목그리고또다른사랑의이야기가끝나지않는여름밤의꿈을꾸는소녀"
    terms = [(f"{number}{name}", 9) for number in range(8)]
    answers = ask_many(
        [
            Ask(
                slug="curation",
                variables={
                    "candidates": [(f"{number}{name}", name, name, name) for number in range(100)],
                    "taste": name * 5,
                    "situation": name * 5,
                    "count": 20,
                },
            ),
            Ask(
                slug="taste_and_taglines",
                variables={"favorites_count": 100, "labels": [name] * 6}
                | dict.fromkeys(("genres", "moods", "artists"), terms),
            ),
        ],
        DEADLINE_S,
    )
    assert isinstance(answers[0], Answer)
    by_schema = {tuple(seen.schema["properties"]): seen for seen in model.seen if seen.schema}
    shown = song_lines(by_schema["picks",].text)
    assert 5 < len(shown) < 100
    assert set(answers[0].data["picks"]) <= set(shown)
    sent = [f"{seen.text}{json.dumps(seen.schema)}" for seen in model.seen]
    assert sum(map(estimate_tokens, sent)) < 2_800  # o200k_base counts 2 436
    limits = [seen.body.get("max_tokens") or seen.body["max_output_tokens"] for seen in model.seen]
    assert sum(limits) <= 300
