"""Provides members and logged runs to the prompt studio, which may not import upward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from catalog.models import Member, SongLike
from engine.types import SongView
from prompts.evaluation import input_providers
from prompts.evaluation.input_providers import (
    Input,
    LoggedRun,
    NoSuchMember,
    NoSuchRun,
    Replayable,
)
from prompts.versions.contracts import ParamValue

from . import services
from .models import Run, Source
from .serving import active_engine, llm_curation

#: A like within this time after a run is credited to it.
CREDIT = timedelta(days=14)
#: Prompts whose runs the studio can replay.
_SLUGS = (llm_curation.CURATION, llm_curation.TASTE)


def register() -> None:
    """Register these providers with the studio; called once at start."""
    input_providers.register(llm_curation.CURATION, curation_input)
    input_providers.register(llm_curation.TASTE, taste_input)
    input_providers.register_members(members_like)
    input_providers.register_logged_runs(logged_runs)
    input_providers.register_later_likes(later_likes)
    input_providers.register_replay(replayable)


# --- Previews -------------------------------------------------------------------------------------
def curation_input(member_key: str, params: Mapping[str, ParamValue]) -> Input:
    """The variables of `curation` for a member now."""
    gathered, slate = services.draft(_known(member_key))
    shown = llm_curation.shown_order(slate, int(params.get("candidates", 60)), gathered.seed)
    variables = llm_curation.curation_variables(
        taste_text=gathered.profile.taste_text or llm_curation.taste_sentence(slate),
        situation="",
        count=min(llm_curation.PICKS, len(shown)),
    )
    lines = llm_curation.song_lines(slate, shown)
    return Input(
        variables=variables | {"candidates": lines}, items=tuple(_title(fields) for fields in lines)
    )


def taste_input(member_key: str, params: Mapping[str, ParamValue]) -> Input:
    """The variables of `taste_and_taglines` for a member now."""
    _gathered, slate = services.draft(_known(member_key))
    return Input(
        variables=llm_curation.taste_variables(slate),
        items=tuple(group.label for group in slate.groups),
    )


def _known(member_key: str) -> str:
    if member_key.isdecimal() and not Member.objects.filter(pk=int(member_key)).exists():
        raise NoSuchMember
    return member_key


def _title(fields: Sequence[str]) -> str:
    return f"{fields[0]} - {fields[1]}"


def members_like(text: str) -> list[input_providers.MemberOption]:
    """Members whose number begins with the text; the newest when it is empty."""
    members = Member.objects.order_by("-pk").only("pk")
    if text.strip():
        if not text.strip().isdecimal():
            return []
        members = members.filter(_beginning_with(int(text.strip())))
    return [
        input_providers.MemberOption(
            key=str(member.pk), label=_("회원 {number}").format(number=member.pk)
        )
        for member in members[:10]
    ]


def _beginning_with(number: int) -> Q:
    """The number itself and those that continue it by up to three digits, as index ranges."""
    ranges = [Q(pk=number)]
    for digits in (1, 2, 3):
        low = number * 10**digits
        ranges.append(Q(pk__gte=low, pk__lt=low + 10**digits))
    combined = ranges[0]
    for part in ranges[1:]:
        combined |= part
    return combined


# --- Logged runs ----------------------------------------------------------------------------------
def logged_runs(slug: str, limit: int) -> list[LoggedRun]:
    """The newest runs that used this prompt, with the songs liked later."""
    if slug not in _SLUGS:
        return []
    recent = Run.objects.filter(source=Source.MODEL).order_by("-created_at")
    found = [run for run in recent[: limit * 3] if slug in (run.snapshot or {}).get("told", {})]
    return [_logged(slug, run) for run in found[:limit]]


def replayable(slug: str, run_uuid: UUID) -> Replayable:
    """One run with the snapshot and seed it was computed from."""
    run = Run.objects.filter(pk=run_uuid).first()
    if run is None or slug not in (run.snapshot or {}).get("told", {}):
        raise NoSuchRun
    logged = _logged(slug, run)
    lines = logged.variables.get("candidates", [])
    items = (
        tuple(map(_title, lines))
        if slug == llm_curation.CURATION
        else tuple(logged.variables["labels"])
    )
    return Replayable(
        run=logged, given=Input(variables=logged.variables, items=items, locale=run.locale)
    )


def _logged(slug: str, run: Run) -> LoggedRun:
    snapshot: dict[str, Any] = run.snapshot or {}
    variables: dict[str, Any] = dict(snapshot["told"][slug])
    shown: list[int] = []
    if slug == llm_curation.CURATION:
        shown = snapshot["shown"]
        variables["candidates"] = [llm_curation.song_fields(song) for song in _songs(shown)]
    in_order = [item["song_id"] for item in snapshot["candidates"]]
    return LoggedRun(
        run_uuid=run.uuid,
        member_key=run.member_key,
        variables=variables,
        item_ids=tuple(shown),
        baseline_ids=tuple(song_id for song_id in in_order if song_id in set(shown)),
        later_liked_ids=tuple(sorted(liked_after(run) & set(in_order))),
        count=int(variables.get("count", 0)),
        locale=run.locale,
        seed=run.seed,
    )


def _songs(song_ids: Sequence[int]) -> list[SongView]:
    """In the given order; a song that is no longer in the catalog appears under its number."""
    catalog = active_engine.current().snapshot.catalog
    return [
        catalog.view(int(row)) if row >= 0 else SongView(song_id=song_id, title_kr=f"#{song_id}")
        for song_id, row in zip(song_ids, catalog.rows_of(song_ids), strict=True)
    ]


# --- Outcomes -------------------------------------------------------------------------------------
def liked_after(run: Run) -> set[int]:
    """Songs the member liked within 14 days after the run; callers' own users have no likes there."""
    if not run.member_key.isdecimal():
        return set()
    likes = SongLike.objects.filter(
        member_id=int(run.member_key),
        created_at__gt=run.created_at,
        created_at__lte=run.created_at + CREDIT,
    )
    return set(likes.values_list("song_id", flat=True))


def count_later_likes(*, now: datetime, batch: int = 500) -> int:
    """Fill `liked_at_14d` of runs that are old enough; returns how many were filled."""
    due = Run.objects.filter(liked_at_14d__isnull=True, created_at__lte=now - CREDIT)
    filled = 0
    for run in due.order_by("created_at")[:batch]:
        shown = {item["song_id"] for item in (run.snapshot or {}).get("candidates", [])}
        liked = len(liked_after(run) & shown)
        filled += Run.objects.filter(pk=run.pk).update(liked_at_14d=liked)
    return filled


def later_likes(run_uuids: Sequence[UUID]) -> list[int]:
    """Later likes of those runs whose 14 days are over."""
    known = Run.objects.filter(pk__in=list(run_uuids), liked_at_14d__isnull=False)
    return [likes or 0 for likes in known.values_list("liked_at_14d", flat=True)]
