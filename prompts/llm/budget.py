"""Decides whether a call may be paid for: money is set aside before it and settled after, never past a ceiling.

The database is the truth. Each day, month and member-day is one row holding what was settled and what is
set aside; a reservation is one conditional UPDATE per row, so the ceiling holds for any number of workers.
Redis only remembers, for seconds, that a row is full.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
)
from infrastructure.email import notify_operators
from infrastructure.redis import gate
from prompts.llm.gateway import Attempt, Exchange, Question
from prompts.llm.model_profiles import MICRO, Profile
from prompts.models import Budget, LedgerScope, ModelCall, Outcome, Reservation

log = logging.getLogger(__name__)

#: How long a process believes the ceilings it read, and that a full row is still full.
KEEP_S = 5.0
#: Chat templates and JSON framing around the texts, in tokens, generously.
FRAME_TOKENS = 64
#: Settlements that the database did not take, kept for the next chance.
MOST_UNSETTLED = 1_000


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Micro-dollars that may be spent, and when to warn."""

    day: int
    month: int
    member_day: int
    mail_at_percent: int = 80


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Money wanted for one call."""

    uuid: UUID  #: of the call
    micro_usd: int
    member_hash: str = ""
    seconds: float = 0.0  #: after which the call is surely over
    run_uuid: UUID | None = None
    purpose: str = ""
    version_label: str = ""
    api: str = ""
    model: str = ""


class Denied(Exception):
    """A ceiling does not leave room for this call, or nobody can tell."""


def full_cost(profile: Profile, question: Question) -> int:
    """Upper bound of one attempt: a byte-level tokenizer never makes more tokens than there are bytes."""
    schema = json.dumps(question.schema)
    most_input = len(f"{question.system}{question.user}{schema}".encode()) + FRAME_TOKENS
    return profile.price.cost(input=most_input, output=question.max_output_tokens)


def call_cost(exchange: Exchange, *, reserved: int) -> int:
    """What a call is settled at: all that was set aside, unless every server asked has said what it took.

    Never more than was set aside: that was the most these texts can cost, so a count beyond it is wrong.
    """
    billed = [attempt for attempt in exchange.attempts if not attempt.unbilled]
    if exchange.hedged or any(attempt.usage is None for attempt in billed):
        return reserved
    return min(reserved, sum(_said_cost(attempt) for attempt in billed))


def _said_cost(attempt: Attempt) -> int:
    usage = attempt.usage
    assert usage is not None
    return attempt.profile.price.cost(
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        cache_write=usage.cache_write,
    )


def ceilings() -> Ceilings:
    """What may be spent: the admin's row, else the settings. Kept for KEEP_S."""
    now = time.monotonic()
    if _kept and now - _kept[0][0] < KEEP_S:
        return _kept[0][1]
    row = Budget.objects.filter(pk=1).first()
    _kept[:] = [(now, _from_row(row) if row else default_ceilings())]
    return _kept[0][1]


_kept: list[tuple[float, Ceilings]] = []


def forget() -> None:
    """Read the ceilings anew and believe no row to be full."""
    _kept.clear()
    _full.clear()


def default_ceilings() -> Ceilings:
    return Ceilings(
        day=round(settings.LLM_BUDGET_DAY_USD * MICRO),
        month=round(settings.LLM_BUDGET_MONTH_USD * MICRO),
        member_day=round(settings.LLM_BUDGET_MEMBER_DAY_USD * MICRO),
    )


def _from_row(row: Budget) -> Ceilings:
    return Ceilings(
        day=row.day_micro_usd,
        month=row.month_micro_usd,
        member_day=row.member_day_micro_usd,
        mail_at_percent=row.mail_at_percent,
    )


def scopes_of(claim: Claim, *, now: datetime) -> list[tuple[str, int]]:
    """Rows a call counts in, with their ceilings. Always in this order, so that two workers never deadlock."""
    day = timezone.localtime(now).date()
    limits = ceilings()
    scopes = [(f"month:{day:%Y-%m}", limits.month), (f"day:{day}", limits.day)]
    if claim.member_hash:
        scopes.append((f"member:{claim.member_hash}:{day}", limits.member_day))
    return scopes


# --- Before the call --------------------------------------------------------------------------------
def reserve(claims: Sequence[Claim], *, now: datetime) -> list[bool]:
    """Set money aside for each claim that fits; False where it does not or where the database is away."""
    try:
        with guard():
            flush_unsettled()
            if _reserved_together(claims, now=now):
                return [True] * len(claims)
            return [_reserved_together([claim], now=now) for claim in claims]
    except DATABASE_FAULTS as error:
        log.warning("ledger not reachable, no model is asked: %s", type(error).__name__)
        return [False] * len(claims)


def _reserved_together(claims: Sequence[Claim], *, now: datetime) -> bool:
    """Set aside the sum of `claims`, or nothing."""
    wanted: Counter[str] = Counter()
    limits: dict[str, int] = {}
    rows = []
    for claim in claims:
        scopes = scopes_of(claim, now=now)
        rows.append(_reservation(claim, [key for key, _limit in scopes], now=now))
        limits |= dict(scopes)
        for key, _limit in scopes:
            wanted[key] += claim.micro_usd
    if _known_to_be_full(wanted, limits):
        return False
    _make_sure_of(limits)
    try:
        with transaction.atomic(durable=True):
            for key in sorted(limits, key=_lock_order):
                _add(key, wanted[key], limit=limits[key])
            Reservation.objects.bulk_create(rows)
    except Denied:
        return False
    _warn_if_due(limits)
    return True


def _lock_order(key: str) -> tuple[int, str]:
    """Month first: every worker queues at the same row, then nobody holds what another one needs."""
    return ("month", "day", "member").index(key.split(":", 1)[0]), key


def _reservation(claim: Claim, scopes: list[str], *, now: datetime) -> Reservation:
    return Reservation(
        uuid=claim.uuid,
        micro_usd=claim.micro_usd,
        scopes=scopes,
        run_uuid=claim.run_uuid,
        purpose=claim.purpose,
        version_label=claim.version_label,
        api=claim.api,
        model_asked=claim.model,
        # Twice the deadline and a minute: no call that still lives is taken for dead.
        expires_at=now + timedelta(seconds=2 * claim.seconds + 60),
    )


def _add(key: str, micro_usd: int, *, limit: int) -> None:
    """Raise what is set aside in one row, if its ceiling leaves room; raises Denied."""
    room = limit - micro_usd
    changed = LedgerScope.objects.filter(
        key=key, spent_micro_usd__lte=room - F("reserved_micro_usd")
    ).update(reserved_micro_usd=F("reserved_micro_usd") + micro_usd)
    if not changed:
        _remember_full(key, limit)
        raise Denied(key)


def _make_sure_of(keys: Iterable[str]) -> None:
    """Create rows that a new day or member needs; outside the transaction that locks them."""
    wanted = list(keys)
    known = set(LedgerScope.objects.filter(key__in=wanted).values_list("key", flat=True))
    missing = [LedgerScope(key=key) for key in wanted if key not in known]
    if missing:
        LedgerScope.objects.bulk_create(missing, ignore_conflicts=True)


# --- Full rows --------------------------------------------------------------------------------------
#: key → (until when it is believed, ceiling it was full at, room that was left)
_full: dict[str, tuple[float, int, int]] = {}


def _remember_full(key: str, limit: int) -> None:
    """Note how much room a row had, so that the next ones need not queue at it to hear the same."""
    row = LedgerScope.objects.get(key=key)
    left = limit - row.spent_micro_usd - row.reserved_micro_usd
    _full[key] = (time.monotonic() + KEEP_S, limit, left)
    gate.attempt(lambda client: client.set(_full_key(key, limit), left, ex=round(KEEP_S)))


def _known_to_be_full(wanted: Counter[str], limits: dict[str, int]) -> bool:
    """True when a denial of the last seconds answers this claim too. Never says that there is room."""
    now = time.monotonic()
    for key, limit in limits.items():
        until, then, left = _full.get(key, (0.0, 0, 0))
        if now < until and then == limit and wanted[key] > left:
            return True
    keys = list(limits)
    names = [_full_key(key, limits[key]) for key in keys]
    nothing: list[bytes | str | None] = []
    said = gate.call(lambda client: client.mget(names), nothing)
    return any(
        left is not None and wanted[key] > int(left) for key, left in zip(keys, said, strict=False)
    )


def _full_key(key: str, limit: int) -> str:
    # The ceiling is part of the name: a raised one is in force at once.
    return f"songs_ai:llm:full:{key}:{limit}"


# --- After the call ---------------------------------------------------------------------------------
_unsettled: deque[list[ModelCall]] = deque(maxlen=MOST_UNSETTLED)


def settle(calls: list[ModelCall]) -> None:
    """Write the calls and turn what was set aside into what they cost, in one transaction.

    With the database away they are kept and written at the next chance: rows are not lost while this
    process lives, and until then the reservation stands for the money.
    """
    try:
        with guard():
            _settle_or_leave(calls)
    except DATABASE_FAULTS as error:
        log.warning("%d model calls not written yet: %s", len(calls), type(error).__name__)
        _unsettled.append(calls)


def flush_unsettled() -> None:
    """Write what could not be written before; raises DatabaseError while that is still so."""
    while _unsettled:
        calls = _unsettled.popleft()
        try:
            _settle_or_leave(calls)
        except DATABASE_FAULTS:
            _unsettled.appendleft(calls)
            raise


def _settle_or_leave(calls: list[ModelCall]) -> None:
    """Settle; calls that no database will ever take are left to `sweep`, which books them in full.

    Trying those again would bar the way for all that come after them. Raises DatabaseError when the
    database is away.
    """
    try:
        _settle_now(calls)
    except (DataError, IntegrityError, ValueError, OverflowError):
        log.exception("model calls %s can't be written", [str(call.uuid) for call in calls])


def _settle_now(calls: list[ModelCall]) -> None:
    with transaction.atomic(durable=True):
        uuids = [call.uuid for call in calls]
        held = {row.uuid: row for row in Reservation.objects.filter(uuid__in=uuids)}
        swept = _without_swept(calls, held)
        ModelCall.objects.bulk_create(swept)
        cost = {call.uuid: call.cost_micro_usd for call in calls}
        # Counters last and in lock order: the rows everybody needs are held for the shortest time.
        _release(list(held.values()), cost)


def _without_swept(calls: list[ModelCall], held: dict[UUID, Reservation]) -> list[ModelCall]:
    """Calls still to be written: a reservation that expired was written as spent in full already."""
    late = [call.uuid for call in calls if call.reserved_micro_usd and call.uuid not in held]
    written = (
        set(ModelCall.objects.filter(uuid__in=late).values_list("uuid", flat=True))
        if late
        else set()
    )
    return [call for call in calls if call.uuid not in written]


def _release(held: list[Reservation], cost: dict[UUID, int]) -> None:
    """Move reservations to what was spent. One that another process released meanwhile is left alone."""
    freed: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for row in held:
        if not Reservation.objects.filter(uuid=row.uuid).delete()[0]:
            continue
        for key in row.scopes:
            freed[key] += row.micro_usd
            spent[key] += cost[row.uuid]
    for key in sorted(freed, key=_lock_order):
        LedgerScope.objects.filter(key=key).update(
            reserved_micro_usd=F("reserved_micro_usd") - freed[key],
            spent_micro_usd=F("spent_micro_usd") + spent[key],
        )


def sweep(*, now: datetime) -> int:
    """Book reservations whose process died as spent in full; returns how many."""
    with transaction.atomic(durable=True):
        dead = list(Reservation.objects.select_for_update().filter(expires_at__lt=now)[:500])
        ModelCall.objects.bulk_create(
            [
                ModelCall(
                    uuid=row.uuid,
                    run_uuid=row.run_uuid,
                    purpose=row.purpose,
                    version_label=row.version_label,
                    api=row.api,
                    model_asked=row.model_asked,
                    outcome=Outcome.CANCELLED,
                    error_class="ProcessDied",
                    reserved_micro_usd=row.micro_usd,
                    cost_micro_usd=row.micro_usd,
                    tokens_estimated=True,
                )
                for row in dead
            ]
        )
        _release(dead, {row.uuid: row.micro_usd for row in dead})
    return len(dead)


def purge(*, now: datetime) -> dict[str, int]:
    """Drop texts and rows whose retention has passed, and book dead reservations."""
    text_limit = now - timedelta(days=settings.LLM_TEXT_DAYS)
    call_limit = now - timedelta(days=settings.LLM_CALL_DAYS)
    with_text = ModelCall.objects.filter(created_at__lt=text_limit, input_zlib__isnull=False)
    return {
        "swept": sweep(now=now),
        "texts": with_text.update(input_zlib=None, output_zlib=None, refusal=""),
        "calls": ModelCall.objects.filter(created_at__lt=call_limit).delete()[0],
        # The month's row must outlive the month.
        "scopes": LedgerScope.objects.filter(created_at__lt=now - timedelta(days=62)).delete()[0],
    }


# --- What staff see ---------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a period has cost so far."""

    key: str
    spent: int
    reserved: int
    limit: int

    @property
    def percent(self) -> int:
        return 100 if self.limit <= 0 else (self.spent + self.reserved) * 100 // self.limit


def standing(*, now: datetime) -> list[Standing]:
    """This month and this day, for the admin."""
    found = []
    for key, limit in scopes_of(Claim(uuid=UUID(int=0), micro_usd=0), now=now):
        row = LedgerScope.objects.filter(key=key).first()
        found.append(
            Standing(
                key=key,
                spent=row.spent_micro_usd if row else 0,
                reserved=row.reserved_micro_usd if row else 0,
                limit=limit,
            )
        )
    return found


def budget_banner(*, now: datetime | None = None) -> str:
    """A sentence for the head of the admin while the budget runs short; "" otherwise."""
    worst = max(standing(now=now or timezone.now()), key=lambda period: period.percent)
    if worst.percent >= 100:
        return _("LLM 예산을 모두 썼습니다. 한도가 풀릴 때까지 추천은 로컬 엔진으로 제공됩니다.")
    if worst.percent >= ceilings().mail_at_percent:
        return _("LLM 예산의 %(percent)d%%를 썼습니다.") % {"percent": worst.percent}
    return ""


def _warn_if_due(limits: dict[str, int]) -> None:
    """Mail the operators once per period when the threshold is passed; by a thread, mail servers are slow."""
    share = ceilings().mail_at_percent
    unwarned = LedgerScope.objects.filter(key__in=limits, warned_at=None)
    for row in unwarned.exclude(key__startswith="member:"):
        limit = limits[row.key]
        due = (row.spent_micro_usd + row.reserved_micro_usd) * 100 >= limit * share
        # The claim is one UPDATE: of many workers that see it, one sends the mail.
        if due and unwarned.filter(key=row.key).update(warned_at=timezone.now()):
            text = f"{row.key}: {share} % of {limit / MICRO:.2f} USD for language models is spent or set aside."
            threading.Thread(target=_mail, args=(text, row.key), name="budget-mail").start()


def _mail(text: str, key: str) -> None:
    """Send the warning; when that fails, let the next call try again."""
    if not notify_operators(text, text, level=logging.WARNING):
        LedgerScope.objects.filter(key=key).update(warned_at=None)
        connection.close()
