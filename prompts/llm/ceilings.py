"""Spending ceilings, what each period has cost so far, and the warning when a budget runs short."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from infrastructure.email import notify_operators
from prompts.llm.model_profiles import MICRO
from prompts.models import Budget, LedgerScope

#: How long a process uses the ceilings it read.
CACHE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Micro-dollars that may be spent, and when to warn."""

    day: int
    month: int
    member_day: int
    mail_at_percent: int = 80


@dataclass(frozen=True, kw_only=True)
class ScopeLimit:
    """One LedgerScope row a call counts in, and its ceiling in micro-dollars."""

    key: str
    limit: int


@dataclass(frozen=True, kw_only=True)
class _CachedCeilings:
    read_at: float
    ceilings: Ceilings


_cached: list[_CachedCeilings] = []


def ceilings() -> Ceilings:
    """The admin's row, else the settings. Cached for CACHE_S."""
    now = time.monotonic()
    if _cached and now - _cached[0].read_at < CACHE_S:
        return _cached[0].ceilings
    row = Budget.objects.filter(pk=1).first()
    if row is None:
        found = default_ceilings()
    else:
        found = Ceilings(
            day=row.day_micro_usd,
            month=row.month_micro_usd,
            member_day=row.member_day_micro_usd,
            mail_at_percent=row.mail_at_percent,
        )
    _cached[:] = [_CachedCeilings(read_at=now, ceilings=found)]
    return found


def clear_cache() -> None:
    """Read the ceilings anew at the next call."""
    _cached.clear()


def default_ceilings() -> Ceilings:
    return Ceilings(
        day=round(settings.LLM_BUDGET_DAY_USD * MICRO),
        month=round(settings.LLM_BUDGET_MONTH_USD * MICRO),
        member_day=round(settings.LLM_BUDGET_MEMBER_DAY_USD * MICRO),
    )


def scope_limits(*, now: datetime, member_hash: str = "") -> list[ScopeLimit]:
    """The rows a call counts in. Always in this order, so that two workers never deadlock."""
    day = timezone.localtime(now).date()
    limits = ceilings()
    scopes = [
        ScopeLimit(key=f"month:{day:%Y-%m}", limit=limits.month),
        ScopeLimit(key=f"day:{day}", limit=limits.day),
    ]
    if member_hash:
        scopes.append(ScopeLimit(key=f"member:{member_hash}:{day}", limit=limits.member_day))
    return scopes


@dataclass(frozen=True, kw_only=True)
class PeriodCost:
    """What a month or day has cost so far, in micro-dollars."""

    key: str
    spent: int
    reserved: int
    limit: int

    @property
    def percent(self) -> int:
        return 100 if self.limit <= 0 else (self.spent + self.reserved) * 100 // self.limit


def period_costs(*, now: datetime) -> list[PeriodCost]:
    """This month and this day, for the admin."""
    found = []
    for scope in scope_limits(now=now):
        row = LedgerScope.objects.filter(key=scope.key).first()
        found.append(
            PeriodCost(
                key=scope.key,
                spent=row.spent_micro_usd if row else 0,
                reserved=row.reserved_micro_usd if row else 0,
                limit=scope.limit,
            )
        )
    return found


def budget_banner(*, now: datetime | None = None) -> str:
    """A sentence for the head of the admin while the budget runs short; "" otherwise."""
    worst = max(period_costs(now=now or timezone.now()), key=lambda period: period.percent)
    if worst.percent >= 100:
        return _("LLM 예산을 모두 썼습니다. 한도가 풀릴 때까지 추천은 로컬 엔진으로 제공됩니다.")
    if worst.percent >= ceilings().mail_at_percent:
        return _("LLM 예산의 %(percent)d%%를 썼습니다.") % {"percent": worst.percent}
    return ""


def warn_if_due(limits: Mapping[str, int]) -> None:
    """Mail the operators once per period above the threshold; in a thread, because mail servers are slow."""
    share = ceilings().mail_at_percent
    unwarned = LedgerScope.objects.filter(key__in=limits, warned_at=None)
    for row in unwarned.exclude(key__startswith="member:"):
        limit = limits[row.key]
        due = (row.spent_micro_usd + row.reserved_micro_usd) * 100 >= limit * share
        # One UPDATE claims it: only one of many workers sends the mail.
        if due and unwarned.filter(key=row.key).update(warned_at=timezone.now()):
            text = f"{row.key}: {share} % of {limit / MICRO:.2f} USD for language models is spent or set aside."
            threading.Thread(target=_mail, args=(text, row.key), name="budget-mail").start()


def _mail(text: str, key: str) -> None:
    """Send the warning; when that fails, let the next call try again."""
    if not notify_operators(text, text, level=logging.WARNING):
        LedgerScope.objects.filter(key=key).update(warned_at=None)
        connection.close()
