"""The one door to recommendations for every edge: HTTP, queue, schedules, admin, commands."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any, Literal
from uuid import UUID

import orjson
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from catalog import snapshot
from engine.ranking import recommend as engine
from engine.types import Locale, Slate
from infrastructure.database import DATABASE_FAULTS, guard
from profiles import services as profiles
from prompts import services as prompts

from . import metrics
from .locks import single_flight
from .models import Degraded, Source, Trigger
from .serving import active_engine, explain, impressions, new_callers
from .serving.compute_slots import close_surplus_connections, compute_slot
from .serving.freshness import Freshness, freshness
from .serving.gather import Gathered, resolve_songs
from .serving.generate import generate, model_deadline_s, wants_model
from .serving.request import NamedSong, Recommendation, Request
from .serving.stored_answers import answer_store, answer_variants, memory_cache
from .serving.stored_answers.answer_store import SavedAnswer
from .serving.stored_answers.memory_cache import CachedAnswer

log = logging.getLogger(__name__)
#: Longest wait for another caller who computes the same answer, beyond the model's deadline.
GRACE_S = 1.0
Action = Literal["add", "remove", "list"]


def recommend(request: Request) -> Recommendation:
    """Answer with the stored recommendation where it is fresh, else compute one.

    Raises CatalogUnavailable only when this installation never read a catalog. Whatever happens to
    the model, Redis, the broker or the database, an answer comes and says how it degraded.
    """
    with metrics.recommendation(strategy=request.strategy) as finished:
        try:
            with compute_slot():
                gathered = Gathered(request, now=timezone.now())
                stored = _fresh_stored_answer(gathered)
            answer = stored or _compute_once(gathered)
        finally:
            close_surplus_connections()
        finished(source=answer.source, degraded=answer.degraded)
    if request.trigger == Trigger.API:
        impressions.count_shown(request.member_key)
    return answer


def _fresh_stored_answer(gathered: Gathered) -> Recommendation | None:
    saved = None if gathered.request.refresh else _saved(gathered.request)
    if saved is None or freshness(saved, gathered) is not Freshness.FRESH:
        return None
    metrics.count_lookup(hit=True)
    return _answer_from(saved, gathered)


def _saved(request: Request) -> SavedAnswer | None:
    if request.is_member_answer:
        return answer_store.read(request.member_key)
    return answer_variants.read(request.member_key, request.variant)


def _answer_from(saved: SavedAnswer, gathered: Gathered) -> Recommendation:
    body, meta, request = orjson.loads(saved.body), saved.meta, gathered.request
    return Recommendation(
        run_id=meta.run_id,
        source=Source.CACHE,
        degraded=gathered.choose_degraded(meta.degraded),
        favorite_song_ids=body["favorite_song_ids"],
        groups=body["groups"],
        candidates=body["candidates"][: request.count],
        generated_date=body["generated_date"],
        unresolved=[item.to_wire() for item in gathered.unresolved],
        locale=request.locale,
    )


def draft(member_key: str) -> tuple[Gathered, Slate]:
    """What would be computed for a member now; the model is not asked, nothing is stored."""
    gathered = Gathered(Request(member_key=member_key, trigger=Trigger.ADMIN), now=timezone.now())
    state = gathered.state
    slate = engine.recommend(
        gathered.query(), catalog=state.snapshot.catalog, model=state.model, settings=state.settings
    )
    return gathered, slate


# --- One computation per key, bounded waiting -----------------------------------------------------
class ModelWaiters:
    """Limits requests that wait for the model to half of a process's threads; others are answered at once."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))

    @contextmanager
    def place(self, *, limited: bool) -> Iterator[bool]:
        """Yields whether the caller may wait; always, when it is not limited."""
        acquired = not limited or self._places.acquire(blocking=False)
        try:
            yield acquired
        finally:
            if limited and acquired:
                self._places.release()


model_waiters = ModelWaiters()


def _compute_once(gathered: Gathered) -> Recommendation:
    """One computation per key at a time; callers who waited take its result when it is fresh."""
    metrics.count_lookup(hit=False)
    request = gathered.request
    asks_model = wants_model(request)
    if asks_model and request.hurried is not None and request.hurried():
        return _busy_answer(gathered)
    with model_waiters.place(limited=asks_model and request.trigger == Trigger.API) as may_wait:
        if not may_wait:
            return _busy_answer(gathered)
        wait_s = GRACE_S + (model_deadline_s(request) if asks_model else 0)
        key = f"{request.member_key}:{gathered.fingerprint}"
        with single_flight(key, wait_s=wait_s, ttl_s=wait_s + GRACE_S) as first:
            if not first and (answer := _fresh_stored_answer(gathered)) is not None:
                return answer
            saved = _saved(request)
            if saved is not None and freshness(saved, gathered) is Freshness.RECOMPUTE:
                return generate(gathered, reuse=saved.meta)
            return generate(gathered)


def _busy_answer(gathered: Gathered) -> Recommendation:
    """The stored answer, else the local engine's; the edge queues a refresh that asks the model."""
    saved = _saved(gathered.request)
    if (
        saved is not None
        and saved.meta.fingerprint == gathered.fingerprint
        and saved.meta.count >= gathered.request.stored_count
    ):
        answer = replace(_answer_from(saved, gathered), degraded=Degraded.BUSY)
    else:
        answer = generate(gathered, without_model=Degraded.BUSY)
    return replace(answer, wants_refresh=True)


# --- Changes of favourites ------------------------------------------------------------------------
def favorites_updated(
    member_key: str,
    *,
    action: Action,
    song_ids: Sequence[int] = (),
    songs: Sequence[NamedSong] = (),
) -> Recommendation:
    """Record a change of favourites and store the local answer before returning.

    Songs named by text are resolved first; what is not found stands in the answer's `unresolved`.
    A refresh asks the model later (`wants_refresh`).
    """
    now = timezone.now()
    found, missing = resolve_songs(songs, active_engine.current())
    ids = tuple(dict.fromkeys((*song_ids, *found)))
    failure = ""
    if not new_callers.may_be_stored(member_key, now=now):
        failure = Degraded.NOT_STORED
    elif (ids or action == "list") and not _record_favorites(member_key, action, ids, now=now):
        failure = Degraded.DATABASE
    answer_variants.delete_all(member_key)
    request = replace(member_request(member_key, trigger=Trigger.FAVORITES), ask_model=False)
    if failure:
        request = replace(request, favorite_ids=_favorites_after(member_key, action, ids))
    answer = recommend(request)
    return replace(
        answer,
        unresolved=[item.to_wire() for item in missing] + answer.unresolved,
        degraded=failure or answer.degraded,
        wants_refresh=prompts.model_configured() and failure != Degraded.NOT_STORED,
    )


def member_request(member_key: str, *, trigger: Trigger) -> Request:
    """A request for the member's own answer, in the language it was last made in."""
    saved = answer_store.read(member_key)
    locale = Locale(saved.meta.locale) if saved is not None else Locale.KO
    return Request(member_key=member_key, trigger=trigger, locale=locale)


def _record_favorites(
    member_key: str, action: Action, ids: tuple[int, ...], *, now: datetime
) -> bool:
    try:
        with guard():
            profiles.record_favorites_update(member_key, action=action, song_ids=ids, now=now)
    except DATABASE_FAULTS as error:
        log.warning("A change of favourites could not be stored: %s", type(error).__name__)
        return False
    return True


def _favorites_after(member_key: str, action: Action, ids: tuple[int, ...]) -> tuple[int, ...]:
    """Favourites after a change that could not be recorded, from the last known ones."""
    if action == "list":
        return ids
    known = answer_store.last_known_favorites(member_key)
    if action == "add":
        return tuple(dict.fromkeys((*ids, *known)))
    return tuple(song_id for song_id in known if song_id not in ids)


# --- Cached reads, explanations -------------------------------------------------------------------
def cached(member_key: str) -> CachedAnswer | None:
    """The stored answer as bytes, whatever its age; None when there is none."""
    answer = answer_store.read_cached(member_key)
    count_cached_read(member_key, answer)
    return answer


def count_cached_read(member_key: str, answer: CachedAnswer | None) -> None:
    """Count a cached read that was answered from memory or Redis without `cached`."""
    metrics.count_cached_read(hit=answer is not None)
    if answer is not None:
        impressions.count_shown(member_key)


cached_in_memory = memory_cache.answers.get
cached_in_redis = answer_store.read_cached_in_redis


def why(run_id: UUID, song_id: int) -> dict[str, Any]:
    """Why a song is in the answer of a run, or why it is not. Raises RunNotFound."""
    return explain.why(run_id, song_id)


# --- Start ----------------------------------------------------------------------------------------
def warm_up() -> None:
    """Load addresses, catalog, model, settings and the model's client in the background of a serving process.

    The first requests wait for what is not loaded yet; they try again what failed here.
    """
    threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()


def _warm_up() -> None:
    try:
        # Views and the admin, which the first call that is not cached needs.
        import_module(settings.ROOT_URLCONF)
        active_engine.current()
        prompts.warm_up()
        # Objects that exist now live on: collecting them again cost a recommendation 7 to 9 % of its time.
        gc.collect()
        gc.freeze()
    except (snapshot.CatalogUnavailable, *DATABASE_FAULTS) as error:
        log.warning("Not warm yet: %s", type(error).__name__)
    finally:
        close_old_connections()
