"""Reserves money before a call and settles it afterwards, never past a ceiling.

Each day, month and member-day is one database row holding what was settled and what is reserved; a reservation
is one conditional UPDATE per row, so the ceiling holds for any number of workers. Redis only caches, for seconds,
that a row is full.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.db.models import F

from infrastructure.database import DATABASE_FAULTS, guard
from infrastructure.redis import gate
from prompts.llm import ceilings
from prompts.llm.exchange import Attempt, Exchange, ModelRequest
from prompts.llm.model_profiles import Profile
from prompts.models import CallOutcome, LedgerScope, ModelCall, Reservation

log = logging.getLogger(__name__)

#: How long a row that denied a claim counts as full without asking the database.
FULL_ROW_S = 5.0
#: Chat templates and JSON framing around the texts, in tokens, generously.
FRAME_TOKENS = 64
#: Settlements in memory while the database is down.
MAX_UNSETTLED = 1_000


@dataclass(frozen=True, kw_only=True)
class BudgetClaim:
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
    """A ceiling does not leave room for this call."""


def full_cost(profile: Profile, request: ModelRequest) -> int:
    """Upper bound of the cost of one attempt: a byte-level tokenizer yields at most one token per byte."""
    schema = json.dumps(request.schema)
    most_input = len(f"{request.system}{request.user}{schema}".encode()) + FRAME_TOKENS
    return profile.price.cost(input=most_input, output=request.max_output_tokens)


def call_cost(exchange: Exchange, *, reserved: int) -> int:
    """The price a call is settled at: the whole reservation, unless every server reported its tokens.

    Never more than the reservation: it is the most these texts can cost, so a higher count is wrong.
    """
    billed = [attempt for attempt in exchange.attempts if not attempt.unbilled]
    if exchange.hedged or any(attempt.usage is None for attempt in billed):
        return reserved
    return min(reserved, sum(_attempt_cost(attempt) for attempt in billed))


def _attempt_cost(attempt: Attempt) -> int:
    usage = attempt.usage
    assert usage is not None
    return attempt.profile.price.cost(
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        cache_write=usage.cache_write,
    )


def clear_cache() -> None:
    """Read the ceilings anew, and check full rows in the database again."""
    ceilings.clear_cache()
    _full.clear()


# --- Before the call --------------------------------------------------------------------------------
def reserve(claims: Sequence[BudgetClaim], *, now: datetime) -> list[bool]:
    """Reserve money for each claim that fits; False where it does not, or where the database is down."""
    try:
        with guard():
            flush_unsettled()
            if _reserved_together(claims, now=now):
                return [True] * len(claims)
            return [_reserved_together([claim], now=now) for claim in claims]
    except DATABASE_FAULTS as error:
        log.warning("ledger not reachable, no model is asked: %s", type(error).__name__)
        return [False] * len(claims)


def _reserved_together(claims: Sequence[BudgetClaim], *, now: datetime) -> bool:
    """Reserve the sum of `claims`, or nothing."""
    wanted: Counter[str] = Counter()
    limits: dict[str, int] = {}
    rows = []
    for claim in claims:
        scopes = ceilings.scope_limits(now=now, member_hash=claim.member_hash)
        rows.append(_reservation(claim, [scope.key for scope in scopes], now=now))
        for scope in scopes:
            limits[scope.key] = scope.limit
            wanted[scope.key] += claim.micro_usd
    if _known_to_be_full(wanted, limits):
        return False
    _create_missing(limits)
    try:
        with transaction.atomic(durable=True):
            for key in sorted(limits, key=_lock_order):
                _add(key, wanted[key], limit=limits[key])
            Reservation.objects.bulk_create(rows)
    except Denied:
        return False
    ceilings.warn_if_due(limits)
    return True


def _lock_order(key: str) -> tuple[int, str]:
    """Month first: every worker waits for the same row first, so none holds a row that another one needs."""
    return ("month", "day", "member").index(key.split(":", 1)[0]), key


def _reservation(claim: BudgetClaim, scopes: list[str], *, now: datetime) -> Reservation:
    return Reservation(
        uuid=claim.uuid,
        micro_usd=claim.micro_usd,
        scopes=scopes,
        run_uuid=claim.run_uuid,
        purpose=claim.purpose,
        version_label=claim.version_label,
        api=claim.api,
        model_asked=claim.model,
        # Twice the deadline and a minute: a call that is still running never counts as dead.
        expires_at=now + timedelta(seconds=2 * claim.seconds + 60),
    )


def _add(key: str, micro_usd: int, *, limit: int) -> None:
    """Raise what is set aside in one row, if its ceiling leaves room; raises Denied."""
    room = limit - micro_usd
    changed = LedgerScope.objects.filter(
        key=key, spent_micro_usd__lte=room - F("reserved_micro_usd")
    ).update(reserved_micro_usd=F("reserved_micro_usd") + micro_usd)
    if not changed:
        # Cache how much room the row had, so that the next claims are denied without its lock.
        row = LedgerScope.objects.get(key=key)
        left = limit - row.spent_micro_usd - row.reserved_micro_usd
        _full[key] = _FullRow(until=time.monotonic() + FULL_ROW_S, limit=limit, left=left)
        gate.attempt(lambda client: client.set(_full_key(key, limit), left, ex=round(FULL_ROW_S)))
        raise Denied(key)


def _create_missing(keys: Iterable[str]) -> None:
    """Create rows that a new day or member needs; outside the transaction that locks them."""
    wanted = list(keys)
    known = set(LedgerScope.objects.filter(key__in=wanted).values_list("key", flat=True))
    missing = [LedgerScope(key=key) for key in wanted if key not in known]
    if missing:
        LedgerScope.objects.bulk_create(missing, ignore_conflicts=True)


# --- Full rows --------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _FullRow:
    """A row that denied a claim, cached by this process."""

    #: time.monotonic() after which the database is asked again.
    until: float
    limit: int
    #: Micro-dollars that were left below `limit`.
    left: int


_full: dict[str, _FullRow] = {}


def _known_to_be_full(wanted: Counter[str], limits: dict[str, int]) -> bool:
    """True when a denial of the last seconds covers this claim too. False does not mean that there is room."""
    now = time.monotonic()
    for key, limit in limits.items():
        full = _full.get(key)
        if full and now < full.until and full.limit == limit and wanted[key] > full.left:
            return True
    keys = list(limits)
    names = [_full_key(key, limits[key]) for key in keys]
    nothing: list[bytes | str | None] = []
    shared = gate.call(lambda client: client.mget(names), nothing)
    return any(
        left is not None and wanted[key] > int(left)
        for key, left in zip(keys, shared, strict=False)
    )


def _full_key(key: str, limit: int) -> str:
    # The ceiling is part of the name: a raised one is in force at once.
    return f"songs_ai:llm:full:{key}:{limit}"


# --- After the call ---------------------------------------------------------------------------------
_unsettled: deque[list[ModelCall]] = deque(maxlen=MAX_UNSETTLED)


def settle(calls: list[ModelCall]) -> None:
    """Write the calls and turn what was set aside into what they cost, in one transaction.

    With the database down they stay in memory and are written at the next call; until then the
    reservation counts for the money.
    """
    try:
        with guard():
            _settle_or_leave(calls)
    except DATABASE_FAULTS as error:
        log.warning("%d model calls not written yet: %s", len(calls), type(error).__name__)
        _unsettled.append(calls)


def flush_unsettled() -> None:
    """Write settlements left in memory; raises DatabaseError while the database is still down."""
    while _unsettled:
        calls = _unsettled.popleft()
        try:
            _settle_or_leave(calls)
        except DATABASE_FAULTS:
            _unsettled.appendleft(calls)
            raise


def _settle_or_leave(calls: list[ModelCall]) -> None:
    """Settle; rows the database refuses for their content are logged, and `sweep` books them in full.

    Retrying those would block all later ones. Raises DatabaseError when the database is down.
    """
    try:
        with transaction.atomic(durable=True):
            uuids = [call.uuid for call in calls]
            held = {row.uuid: row for row in Reservation.objects.filter(uuid__in=uuids)}
            swept = _without_swept(calls, held)
            ModelCall.objects.bulk_create(swept)
            cost = {call.uuid: call.cost_micro_usd for call in calls}
            # Counters last and in lock order: the rows shared by all workers are locked for the shortest time.
            _release(list(held.values()), cost)
    except (DataError, IntegrityError, ValueError, OverflowError):
        log.exception("model calls %s can't be written", [str(call.uuid) for call in calls])


def _without_swept(calls: list[ModelCall], held: dict[UUID, Reservation]) -> list[ModelCall]:
    """Calls still to be written: an expired reservation was already written as spent in full."""
    late = [call.uuid for call in calls if call.reserved_micro_usd and call.uuid not in held]
    written = (
        set(ModelCall.objects.filter(uuid__in=late).values_list("uuid", flat=True))
        if late
        else set()
    )
    return [call for call in calls if call.uuid not in written]


def _release(held: list[Reservation], cost: dict[UUID, int]) -> None:
    """Turn reservations into spent money; skips those that another process released meanwhile."""
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
                    outcome=CallOutcome.CANCELLED,
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
    """Delete texts and rows past their retention, and book dead reservations."""
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
