"""Tiles and banners of the admin's first page, each with a link to its list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from django.core.cache import cache
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from infrastructure import heartbeats
from infrastructure.redis import gate
from prompts.evaluation.call_stats import CallFacts, summarised
from prompts.llm import ceilings, model_profiles
from prompts.llm.breaker import breaker
from prompts.models import (
    STAFF_TRIGGERS,
    ModelCall,
    ModelProfile,
    PromptTemplate,
    PromptVersion,
    RolloutState,
    VersionState,
)

Tone = Literal["", "good", "warn", "bad"]
T = TypeVar("T")
#: Seconds that the page's numbers are cached.
CACHE_S = 20
#: At most this many calls, the newest, for the figures of a day.
MAX_CALLS = 3_000
HOURS = 24
#: A model about to be withdrawn is announced this long before.
SUNSET_NOTICE = timedelta(days=60)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number with its name and the list behind it."""

    label: str
    value: str
    url: str = ""
    note: str = ""
    tone: Tone = ""
    #: One value per hour, oldest first; drawn as a line.
    hours: tuple[float, ...] = ()

    @property
    def points(self) -> str:
        """The line in a 120 × 24 box, as SVG wants it."""
        most = max(self.hours, default=0) or 1
        step = 120 / max(1, len(self.hours) - 1)
        return " ".join(
            f"{at * step:.1f},{23 - 22 * value / most:.1f}" for at, value in enumerate(self.hours)
        )


@dataclass(frozen=True, kw_only=True)
class Banner:
    """A sentence on every page until its cause is gone."""

    text: str
    tone: Tone
    url: str = ""


_providers: list[Callable[[datetime], Sequence[Tile]]] = []


def register_tiles(provide: Callable[[datetime], Sequence[Tile]]) -> None:
    """Add tiles of a layer above; `provide(now)` is asked at most every CACHE_S."""
    _providers.append(provide)


def tiles() -> list[Tile]:
    """Every tile, those of the layers above first."""
    providers = (*_providers, _calls, _money, _work)
    return _cached("board", lambda now: [tile for provide in providers for tile in provide(now)])


def _cached(name: str, make: Callable[[datetime], list[T]]) -> list[T]:
    """A list from the cache, computed again after CACHE_S."""
    key = f"{name}:{get_language()}"
    # In a dictionary: an empty list counts as absent for some cache backends.
    kept: dict[str, list[T]] | None = gate.in_cache(lambda: cache.get(key), None)
    if kept is None:
        kept = {"rows": make(timezone.now())}
        gate.in_cache(lambda: cache.set(key, kept, CACHE_S), None)
    return kept["rows"]


def _calls(now: datetime) -> list[Tile]:
    """Calls of the last day: how many were usable, how fast."""
    rows = (
        ModelCall.objects.filter(created_at__gte=now - timedelta(hours=HOURS))
        .exclude(trigger__in=STAFF_TRIGGERS)
        .order_by("-created_at")
        .values_list("outcome", "latency_ms", "cost_micro_usd", "created_at")[:MAX_CALLS]
    )
    seen = list(rows)
    facts = [
        CallFacts(outcome=outcome, latency_ms=ms, cost_micro_usd=cost)
        for outcome, ms, cost, _at in seen
    ]
    figures = summarised(facts)
    url = reverse("admin:prompts_modelcall_changelist")
    more = "+" if len(seen) == MAX_CALLS else ""
    return [
        Tile(
            label=_("LLM 호출 · 24시간"),
            value=f"{figures.runs:,}{more}",
            url=url,
            hours=per_hour([at for *_rest, at in seen], now),
        ),
        Tile(
            label=_("올바른 답"),
            value=f"{figures.validity:.1%}" if figures.runs else "–",
            note=_("로컬 대체 %(share)s") % {"share": f"{figures.fallback:.1%}"},
            url=f"{url}?outcome__exact=ok_repaired",
            tone="bad" if figures.runs and figures.validity < 0.95 else "",
        ),
        Tile(
            label=_("응답 시간 p50 / p95"),
            value=f"{figures.p50_ms:,} / {figures.p95_ms:,} ms" if figures.runs else "–",
            url=url,
        ),
    ]


def per_hour(moments: Sequence[datetime], now: datetime) -> tuple[float, ...]:
    """Count moments by hour of the last HOURS, oldest first."""
    counts = [0.0] * HOURS
    for moment in moments:
        hour = int((now - moment).total_seconds() // 3600)
        if 0 <= hour < HOURS:
            counts[HOURS - 1 - hour] += 1
    return tuple(counts)


def _money(now: datetime) -> list[Tile]:
    """What models cost against the ceilings, and whether they may be asked."""
    names = {"day": _("오늘 비용"), "month": _("이달 비용")}
    found = []
    for period in ceilings.period_costs(now=now):
        tone: Tone = "bad" if period.percent >= 100 else "warn" if period.percent >= 80 else ""
        found.append(
            Tile(
                label=names[period.key.partition(":")[0]],
                value=f"${period.spent / 1e6:.3f}",
                note=_("한도 $%(limit)s의 %(percent)d%%")
                % {"limit": f"{period.limit / 1e6:.2f}", "percent": period.percent},
                url=reverse("admin:prompts_modelcall_changelist"),
                tone=tone,
            )
        )
    profile = model_profiles.find(None)
    closed = profile is None or breaker.state(profile.label).is_closed
    found.append(
        Tile(
            label=_("차단기"),
            value=_("모델 없음") if profile is None else _("정상") if closed else _("열림"),
            note=profile.model if profile else _("로컬 추천만 제공"),
            url=reverse("admin:prompts_modelprofile_changelist"),
            tone="" if closed else "bad",
        )
    )
    return found


def _work(now: datetime) -> list[Tile]:
    """What waits for staff."""
    versions = reverse("admin:prompts_promptversion_changelist")
    drafts = PromptVersion.objects.filter(state=VersionState.DRAFT)[:100].count()
    waiting = PromptVersion.objects.filter(state=VersionState.IN_REVIEW)[:100].count()
    return [
        Tile(label=_("초안"), value=str(drafts), url=f"{versions}?state__exact=draft"),
        Tile(
            label=_("검토 대기"),
            value=str(waiting),
            url=f"{versions}?state__exact=in_review",
            tone="warn" if waiting else "",
        ),
    ]


def banners() -> list[Banner]:
    """Stopped prompts, paused rollouts, short budgets, models about to be withdrawn."""
    return _cached("banners", _banners)


def clear_cache() -> None:
    """Show a move of staff at once."""
    names = [f"{page}:{language}" for page in ("banners", "board") for language in ("ko", "en")]
    gate.in_cache(lambda: cache.delete_many(names), None)


def _banners(now: datetime) -> list[Banner]:
    halted = PromptTemplate.objects.filter(
        Q(paused=True) | Q(rollout__state=RolloutState.PAUSED)
    ).select_related("rollout__candidate__template")
    found = [banner for template in halted for banner in _halts(template)]
    spent = ceilings.budget_banner(now=now)
    if spent:
        found.append(Banner(text=spent, tone="bad" if "100" in spent else "warn"))
    silent = ", ".join(str(process) for process in heartbeats.missing())
    if silent:
        text = _("응답하지 않는 프로세스: %(names)s. 30초 넘게 신호가 없습니다.") % {
            "names": silent
        }
        found.append(Banner(text=text, tone="bad"))
    return [*found, *_sunsets(now)]


def _halts(template: PromptTemplate) -> Iterator[Banner]:
    """What was stopped of a prompt, by staff or by a guardrail."""
    if template.paused:
        yield Banner(
            text=_("%(title)s: 모델에 묻지 않습니다. 모든 답이 로컬입니다.")
            % {"title": template.title},
            tone="bad",
            url=reverse("admin:prompts_prompttemplate_change", args=[template.pk]),
        )
    rollout = template.rollout
    if rollout is not None and rollout.state == RolloutState.PAUSED:
        why = f"{rollout.candidate.label} – {rollout.state_reason}"
        yield Banner(
            text=_("롤아웃이 멈춰 있습니다: %(label)s") % {"label": why},
            tone="warn",
            url=reverse("admin:prompts_rollout_change", args=[rollout.pk]),
        )


def _sunsets(now: datetime) -> list[Banner]:
    soon = timezone.localdate(now) + SUNSET_NOTICE
    named = dict(
        ModelProfile.objects.filter(enabled=True, sunset_on__lte=soon).values_list(
            "name", "sunset_on"
        )
    )
    default = model_profiles.find(None)
    if default is not None and default.sunset_on and default.sunset_on <= soon:
        named.setdefault(default.model, default.sunset_on)
    return [
        Banner(
            text=_("모델 %(name)s의 지원이 %(day)s에 끝납니다. 다른 모델을 준비하십시오.")
            % {"name": name, "day": day and day.isoformat()},
            tone="warn",
            url=reverse("admin:prompts_modelprofile_changelist"),
        )
        for name, day in named.items()
    ]
