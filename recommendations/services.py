"""Recommends: the one door for every edge (HTTP, queue, schedules, admin, commands)."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from importlib import import_module
from typing import Any, Literal
from uuid import UUID

import orjson
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from catalog import snapshot
from engine.ranking import recommend as engine
from engine.types import Slate
from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
)
from profiles import services as profiles
from prompts import services as prompts

from . import metrics
from .errors import RunNotFound
from .locks import single_flight
from .models import Run, Source, Trigger
from .serving import active_engine, answer_store, answer_variants, impressions, query_json
from .serving.compute_slots import keep_few_connections, turn
from .serving.gather import Work, resolved
from .serving.generate import computed, deadline_s, wants_model
from .serving.memory_cache import CachedAnswer
from .serving.request import Answer, NamedSong, Request

log = logging.getLogger(__name__)
#: A member whose last answer had to do without the model is not asked for again at once.
ASK_AGAIN_AFTER_S = 30
#: Longest wait for somebody else who computes the same answer, beyond the model's deadline.
GRACE_S = 1.0


class Freshness(Enum):
    """What a stored answer is still good for."""

    FRESH = auto()  #: serve it
    REMAKE = auto()  #: engine or catalog changed: compute locally, keep picks and taglines
    ASK = auto()  #: what is known of the member changed, or staff say so


def recommend(request: Request) -> Answer:
    """Answer with the stored recommendation where it is fresh, else compute one.

    Raises CatalogUnavailable only when this installation never saw a catalog. Whatever happens to
    the model, Redis, the broker or the database, an answer comes and says how it degraded.
    """
    with metrics.recommendation(strategy=request.strategy) as seen:
        try:
            with turn():
                work = Work(request, now=timezone.now())
                stored = _stored_answer(work)
            answer = stored or _computed_once(work)
        finally:
            keep_few_connections()
        seen(source=answer.source, degraded=answer.degraded)
    if request.trigger == Trigger.API:
        impressions.served(request.member_key)
    return answer


def _stored_answer(work: Work) -> Answer | None:
    stored = None if work.request.refresh else _read(work)
    if stored is None or freshness(stored, work) is not Freshness.FRESH:
        return None
    metrics.count_lookup(hit=True)
    return _from_store(stored, work)


def _read(work: Work) -> answer_store.SavedAnswer | None:
    request = work.request
    if request.is_plain:
        return answer_store.read(request.member_key)
    return answer_variants.read(request.member_key, request.variant)


def freshness(stored: answer_store.SavedAnswer | None, work: Work) -> Freshness:
    """Decide what a stored answer is good for."""
    if stored is None or work.request.refresh or stored.meta.fingerprint != work.fingerprint:
        return Freshness.ASK
    meta = stored.meta
    if wants_model(work.request) and meta.source != Source.MODEL:
        return Freshness.FRESH if _asked_lately(meta, work) else Freshness.ASK
    if meta.versions != work.state.versions or meta.count < work.request.stored_count:
        return Freshness.REMAKE
    return Freshness.FRESH


def _asked_lately(meta: answer_store.AnswerMeta, work: Work) -> bool:
    """The pause spares callers who wait; nobody waits for what a schedule asks, and it is what brings the model's version."""
    if work.request.trigger == Trigger.SCHEDULE:
        return False
    age = work.now - datetime.fromisoformat(meta.generated_at)
    return bool(meta.degraded) and age < timedelta(seconds=ASK_AGAIN_AFTER_S)


def _from_store(stored: answer_store.SavedAnswer, work: Work) -> Answer:
    body, meta = orjson.loads(stored.body), stored.meta
    return Answer(
        run_id=meta.run_id,
        source=Source.CACHE,
        degraded=work.degraded(meta.degraded),
        favorite_song_ids=body["favorite_song_ids"],
        groups=body["groups"],
        candidates=body["candidates"][: work.request.count],
        generated_date=body["generated_date"],
        unresolved=[item.to_wire() for item in work.unresolved],
        locale=work.request.locale,
    )


def drafted(member_key: str) -> tuple[Work, Slate]:
    """What would be computed for a member now, without asking the model or keeping anything."""
    work = Work(Request(member_key=member_key, trigger=Trigger.ADMIN), now=timezone.now())
    state = work.state
    slate = engine.recommend(
        work.query(), catalog=state.snapshot.catalog, model=state.model, settings=state.settings
    )
    return work, slate


# --- One computation per key, and nobody waits for long -------------------------------------------
def _computed_once(work: Work) -> Answer:
    """One computation per key at a time; who waited takes the other's result when it is fresh."""
    metrics.count_lookup(hit=False)
    asks = wants_model(work.request)
    if asks and work.request.hurried is not None and work.request.hurried():
        return _busy_answer(work)
    with _patience.place(limited=asks and work.request.trigger == Trigger.API) as may_wait:
        if not may_wait:
            return _busy_answer(work)
        wait_s = GRACE_S + (deadline_s(work.request) if asks else 0)
        key = f"{work.request.member_key}:{work.fingerprint}"
        with single_flight(key, wait_s=wait_s, ttl_s=wait_s + GRACE_S) as first:
            if not first and (answer := _stored_answer(work)) is not None:
                return answer
            return _remade_or_new(work)


def _remade_or_new(work: Work) -> Answer:
    stored = _read(work)
    if stored is not None and freshness(stored, work) is Freshness.REMAKE:
        return computed(work, kept=stored.meta)
    return computed(work)


class _Patience:
    """Keeps requests that wait for the model to half of a process's threads; the rest is served at once."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))

    @contextmanager
    def place(self, *, limited: bool) -> Iterator[bool]:
        """Yields whether the caller may wait; always, when he is not limited."""
        taken = not limited or self._places.acquire(blocking=False)
        try:
            yield taken
        finally:
            if limited and taken:
                self._places.release()


_patience = _Patience()


def _busy_answer(work: Work) -> Answer:
    """What is stored, else the local engine; the edge has the model's version made later."""
    stored = _read(work)
    if (
        stored is not None
        and stored.meta.fingerprint == work.fingerprint
        and stored.meta.count >= work.request.stored_count
    ):
        return replace(_from_store(stored, work), degraded="busy", wants_refresh=True)
    return replace(computed(work, because="busy"), wants_refresh=True)


# --- Changes of favourites ------------------------------------------------------------------------
def favorites_updated(
    member_key: str,
    *,
    action: Literal["add", "remove", "list"],
    song_ids: Sequence[int] = (),
    songs: Sequence[NamedSong] = (),
) -> Answer:
    """Take note of a change of favourites and store the local answer before returning.

    songs named by text are resolved first; what is not found stands in the answer's `unresolved`.
    The model's version is made later (`wants_refresh`).
    """
    now = timezone.now()
    found, missing = resolved(songs, active_engine.current())
    ids = tuple(dict.fromkeys((*song_ids, *found)))
    noted = True
    if ids or action == "list":
        noted = _note_favorites(member_key, action, ids, now=now)
    answer_variants.delete_all(member_key)
    request = Request(member_key=member_key, ask_model=False, trigger=Trigger.FAVORITES)
    if not noted:
        request = replace(request, favorite_ids=_as_said(member_key, action, ids))
    answer = recommend(request)
    return replace(
        answer,
        unresolved=[item.to_wire() for item in missing] + answer.unresolved,
        degraded=answer.degraded if noted else "database",
        wants_refresh=prompts.model_configured(),
    )


def _as_said(
    member_key: str, action: Literal["add", "remove", "list"], ids: tuple[int, ...]
) -> tuple[int, ...]:
    """Favourites after a change that could not be written down, from what is last known."""
    if action == "list":
        return ids
    known = answer_store.last_known_favorites(member_key)
    if action == "add":
        return tuple(dict.fromkeys((*ids, *known)))
    return tuple(song_id for song_id in known if song_id not in ids)


def _note_favorites(
    member_key: str,
    action: Literal["add", "remove", "list"],
    ids: tuple[int, ...],
    *,
    now: datetime,
) -> bool:
    try:
        with guard():
            profiles.record_favorites_update(member_key, action=action, song_ids=ids, now=now)
    except DATABASE_FAULTS as error:
        log.warning("A change of favourites could not be stored: %s", type(error).__name__)
        return False
    return True


# --- Start ----------------------------------------------------------------------------------------
def warm_up() -> None:
    """Load addresses, catalog, model, settings and the model's client in the background of a serving process.

    The first requests wait for what is not there yet; a database that is away is tried again by them.
    """
    threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()


def _warm_up() -> None:
    try:
        import_module(
            settings.ROOT_URLCONF
        )  # views and the admin: the first call that is not cached
        active_engine.current()
        prompts.warm_up()
        # What stands now stays: looking through all of it again cost a recommendation 7 to 9 % of its time.
        gc.collect()
        gc.freeze()
    except (snapshot.CatalogUnavailable, *DATABASE_FAULTS) as error:
        log.warning("Not warm yet: %s", type(error).__name__)
    finally:
        close_old_connections()


# --- Cached reads ---------------------------------------------------------------------------------
def cached(member_key: str) -> CachedAnswer | None:
    """The stored answer as bytes, whatever its age; None when there is none."""
    served = answer_store.read_cached(member_key)
    metrics.count_cached_read(hit=served is not None)
    if served is not None:
        impressions.served(member_key)
    return served


# --- Why ------------------------------------------------------------------------------------------
def why(run_id: UUID, song_id: int) -> dict[str, Any]:
    """Why a song is in the answer of a run, or why it is not. Raises RunNotFound."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise RunNotFound
    state = active_engine.current()
    now_told = engine.explain(
        query_json.query_from_json(run.query or {}),
        song_id,
        catalog=state.snapshot.catalog,
        model=state.model,
        settings=state.settings,
    )
    return {
        "run_id": str(run.uuid),
        **now_told,
        "served_in": _places(run, song_id),
        "when_served": engine.explain_stored(run.why or {}, song_id),
        #: False: catalog, model or settings changed since; `steps` and `scores` are today's.
        "same_versions": run.versions == state.versions,
    }


def _places(run: Run, song_id: int) -> list[dict[str, Any]]:
    """Where in the answer the song stood: quick picks and shelves, places from 1."""
    final = (run.snapshot or {}).get("final", [])[: run.count]
    places = [{"list": "candidates", "place": final.index(song_id) + 1}] if song_id in final else []
    return places + [
        {"list": group["label"], "place": group["song_ids"].index(song_id) + 1}
        for group in run.groups or []
        if song_id in group["song_ids"]
    ]
