"""Money: never past a ceiling, whatever runs at once and whatever goes away; nothing lost, nothing double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from django.core import mail
from django.db import OperationalError, connection

from prompts.llm import budget, ceilings
from prompts.models import Budget, CallOutcome, LedgerScope, ModelCall, Reservation
from tests.conftest import missing_service

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.fromisoformat("2026-01-31T23:30:00+09:00")


def budget_of(day: int, month: int = 10**9, member_day: int = 10**9, **options: int) -> None:
    Budget(
        day_micro_usd=day, month_micro_usd=month, member_day_micro_usd=member_day, **options
    ).save()
    budget.clear_cache()


def claim(micro_usd: int, member: str = "") -> budget.BudgetClaim:
    return budget.BudgetClaim(uuid=uuid4(), micro_usd=micro_usd, member_hash=member, seconds=5)


def call_for(paid: budget.BudgetClaim, cost: int) -> ModelCall:
    return ModelCall(
        uuid=paid.uuid,
        purpose="curation",
        version_label="curation@1",
        api="chat",
        model_asked="m",
        outcome=CallOutcome.OK,
        reserved_micro_usd=paid.micro_usd,
        cost_micro_usd=cost,
    )


def scope(key: str) -> tuple[int, int]:
    row = LedgerScope.objects.get(key=key)
    return row.spent_micro_usd, row.reserved_micro_usd


@pytest.mark.django_db
def test_money_is_set_aside_and_settled_to_what_it_cost() -> None:
    budget_of(10_000)
    first = claim(6_000)
    assert budget.reserve([first], now=NOW) == [True]
    assert scope("day:2026-01-31") == scope("month:2026-01") == (0, 6_000)
    budget.settle([call_for(first, 1_500)])
    assert scope("day:2026-01-31") == (1_500, 0)
    assert not Reservation.objects.exists()


@pytest.mark.django_db
def test_what_does_not_fit_is_denied_and_the_rest_is_not() -> None:
    budget_of(10_000)
    # together 15 000: the first two fit, the third does not
    assert budget.reserve([claim(5_000), claim(5_000), claim(5_000)], now=NOW) == [
        True,
        True,
        False,
    ]
    assert scope("day:2026-01-31") == (0, 10_000)


@pytest.mark.django_db
def test_every_ceiling_counts_for_itself() -> None:
    budget_of(100_000, month=9_000, member_day=4_000)
    assert budget.reserve([claim(4_000, "a")], now=NOW) == [True]
    assert budget.reserve([claim(1, "a")], now=NOW) == [False]  # the member's day
    assert budget.reserve([claim(4_000, "b")], now=NOW) == [True]
    assert budget.reserve([claim(2_000, "c")], now=NOW) == [False]  # the month: 8 000 of 9 000
    assert scope("day:2026-01-31") == (0, 8_000)  # a denial leaves no trace in the other rows


@pytest.mark.django_db
def test_a_new_day_in_seoul_brings_new_money() -> None:
    budget_of(5_000)
    assert budget.reserve([claim(5_000)], now=NOW) == [True]
    assert budget.reserve([claim(5_000)], now=NOW) == [False]
    assert budget.reserve([claim(5_000)], now=NOW + timedelta(hours=1)) == [True]


@pytest.mark.django_db
def test_a_raised_ceiling_is_in_force_at_once() -> None:
    budget_of(1_000)
    assert budget.reserve([claim(5_000)], now=NOW) == [False]
    Budget.objects.update(day_micro_usd=5_000)
    ceilings.clear_cache()
    assert budget.reserve([claim(5_000)], now=NOW) == [True]


@pytest.mark.django_db
def test_a_dead_process_costs_what_it_had_set_aside() -> None:
    budget_of(10_000)
    lost = claim(4_000)
    budget.reserve([lost], now=NOW)
    assert budget.sweep(now=NOW + timedelta(seconds=30)) == 0  # may still be alive
    assert budget.sweep(now=NOW + timedelta(minutes=5)) == 1
    assert scope("day:2026-01-31") == (4_000, 0)
    row = ModelCall.objects.get(uuid=lost.uuid)
    assert (row.outcome, row.cost_micro_usd) == (CallOutcome.CANCELLED, 4_000)
    # the dead one speaks after all: nothing is booked twice, nothing written twice
    budget.settle([call_for(lost, 100)])
    assert scope("day:2026-01-31") == (4_000, 0)
    assert ModelCall.objects.count() == 1


@pytest.mark.django_db
def test_a_call_that_the_database_did_not_take_is_written_later(monkeypatch) -> None:
    budget_of(10_000)
    paid = claim(4_000)
    budget.reserve([paid], now=NOW)
    with monkeypatch.context() as gone:
        gone.setattr(connection, "cursor", _database_is_gone)
        budget.settle([call_for(paid, 1_000)])
        # meanwhile nobody knows what is left: denied
        assert budget.reserve([claim(1)], now=NOW) == [False]
    budget.guard.reset()
    assert budget.reserve([claim(1)], now=NOW) == [True]
    assert ModelCall.objects.get(uuid=paid.uuid).cost_micro_usd == 1_000
    assert scope("day:2026-01-31") == (1_000, 1)


@pytest.mark.django_db
def test_a_row_that_no_database_takes_does_not_bar_the_way() -> None:
    budget_of(10_000)
    odd, next_one = claim(4_000), claim(1_000)
    budget.reserve([odd], now=NOW)
    budget.settle([call_for(odd, -1)])
    assert budget.reserve([next_one], now=NOW) == [True]
    # what was set aside for it stays so until it is booked in full
    assert scope("day:2026-01-31") == (0, 5_000)
    budget.sweep(now=NOW + timedelta(minutes=5))
    assert scope("day:2026-01-31") == (5_000, 0)


def _database_is_gone(*_: object) -> None:
    raise OperationalError("gone")


@pytest.mark.django_db
def test_one_mail_at_the_threshold(settings) -> None:
    settings.OPERATORS_MAIL = ["ops@example.com"]
    budget_of(10_000)
    budget.reserve([claim(7_999)], now=NOW)
    assert not mail.outbox
    for _ in range(2):
        budget.reserve([claim(1)], now=NOW)
    _join_mail()
    assert [message.to for message in mail.outbox] == [["ops@example.com"]]
    assert "day:2026-01-31" in mail.outbox[0].subject


def _join_mail() -> None:
    import threading  # noqa: PLC0415

    for thread in threading.enumerate():
        if thread.name == "budget-mail":
            thread.join(5)


@pytest.mark.django_db
def test_the_banner_says_what_is_left() -> None:
    budget_of(10_000)
    assert ceilings.budget_banner(now=NOW) == ""
    budget.reserve([claim(8_500)], now=NOW)
    assert "85" in ceilings.budget_banner(now=NOW)
    budget.reserve([claim(1_500)], now=NOW)
    assert "로컬" in ceilings.budget_banner(now=NOW)


@pytest.mark.django_db
def test_retention_drops_texts_first_and_rows_later(settings) -> None:
    settings.LLM_TEXT_DAYS, settings.LLM_CALL_DAYS = 30, 400
    for days in (1, 31, 401):
        row = call_for(claim(0), 0)
        row.created_at = NOW - timedelta(days=days)
        row.input_zlib = row.output_zlib = b"x"
        row.save()
    gone = budget.purge(now=NOW)
    assert (gone["texts"], gone["calls"]) == (2, 1)
    kept = list(ModelCall.objects.order_by("-created_at").values_list("input_zlib", flat=True))
    assert [bool(text) for text in kept] == [True, False]


@pytest.mark.django_db
@pytest.mark.services
def test_a_full_row_is_known_to_all_through_redis(shared_redis: str) -> None:
    budget_of(1_000)
    assert budget.reserve([claim(5_000)], now=NOW) == [False]
    budget.clear_cache()  # another process: it only has Redis' word
    with closing(redis.Redis.from_url(shared_redis)) as client:
        assert client.keys("songs_ai:llm:full:day:*")
        assert budget.reserve([claim(5_000)], now=NOW) == [False]
        assert budget.reserve([claim(1_000)], now=NOW) == [True]  # that much was left


# --- Twenty workers ---------------------------------------------------------------------------------
CEILING = 150_000


@pytest.fixture
def race_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A database of this test's own, migrated, with a budget; yields the environment that names it."""
    if request.param == "sqlite":
        yield _prepared({"DATABASE_URL": f"sqlite:///{tmp_path / 'race.sqlite3'}"}, tmp_path)
        return
    pymysql = pytest.importorskip("pymysql")
    name = f"prompts_race_{os.getpid()}"
    try:
        server = pymysql.connect(host="127.0.0.1", user="root", password="")
    except pymysql.err.OperationalError:
        missing_service("MariaDB on 127.0.0.1 with an empty root password")
    with closing(server), server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            url = f"mysql://root:@127.0.0.1:3306/{name}"
            yield _prepared({"DATABASE_URL": url, "CATALOG_OWNED": "0"}, tmp_path)
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def _prepared(names: dict[str, str], folder: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        **names,
        "DATA_DIR": str(folder),
        "SECRET_KEY": "race",
        "LLM_BUDGET_DAY_USD": str(CEILING / 1_000_000),
        "LLM_BUDGET_MONTH_USD": "1000",
    }
    environment.pop("REDIS_URL", None)
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return environment


SUMS = """
import django, json; django.setup()
from django.db.models import Sum
from prompts.models import LedgerScope, ModelCall, Reservation
day = LedgerScope.objects.get(key__startswith="day:")
print(json.dumps({
    "spent": day.spent_micro_usd, "reserved": day.reserved_micro_usd,
    "calls": ModelCall.objects.aggregate(n=Sum("cost_micro_usd"))["n"] or 0,
    "open": Reservation.objects.aggregate(n=Sum("micro_usd"))["n"] or 0,
}))
"""


def _sums(environment: dict[str, str]) -> dict[str, int]:
    command = [sys.executable, "-c", SUMS]
    names = environment | {"DJANGO_SETTINGS_MODULE": "songs_ai.settings"}
    out = subprocess.run(command, cwd=ROOT, env=names, check=True, capture_output=True).stdout
    found: dict[str, int] = json.loads(out)
    return found


@pytest.mark.parametrize(
    ("race_database", "with_redis"),
    [
        ("sqlite", False),
        pytest.param("sqlite", True, marks=pytest.mark.services),
        pytest.param("mysql", True, marks=pytest.mark.services),
    ],
    indirect=["race_database"],
)
def test_twenty_workers_never_pass_the_ceiling(
    race_database: dict[str, str], with_redis: bool, request: pytest.FixtureRequest
) -> None:
    environment = dict(race_database)
    url = request.getfixturevalue("own_redis") if with_redis else ""
    if with_redis:
        environment["REDIS_URL"] = url
    command = [sys.executable, "-m", "tests.prompts.budget_race", "60"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as race:
        if with_redis:
            _flush_while_running(url, race)
        tally = json.loads(race.communicate(timeout=180)[0])

    sums = _sums(environment)
    assert tally["highest"] <= CEILING
    assert sums["spent"] + sums["reserved"] <= CEILING
    assert sums["spent"] == sums["calls"]
    assert sums["reserved"] == sums["open"] > 0  # what the killed ones had set aside
    assert tally["killed"] > 0
    # it was a race for real: money ran out, and most of it was used
    assert tally["denied"] > 0
    assert sums["spent"] + sums["reserved"] > 0.9 * CEILING


def _flush_while_running(url: str, race: subprocess.Popen[bytes]) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        while race.poll() is None:
            client.flushall()
            time.sleep(0.2)
