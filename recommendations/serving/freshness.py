"""Decides what a stored answer is still good for."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto

from ..models import Source, Trigger
from .gather import Gathered
from .generate import wants_model
from .stored_answers.answer_store import SavedAnswer

#: Cool-down before the model is tried again for a member whose last answer was degraded.
MODEL_COOL_DOWN_S = 30


class Freshness(Enum):
    """What to do with a stored answer."""

    FRESH = auto()  #: serve it
    RECOMPUTE = auto()  #: engine or catalog changed: compute locally, reuse picks and taglines
    OUTDATED = auto()  #: what is known of the member changed, or a new one was asked for


def freshness(saved: SavedAnswer | None, gathered: Gathered) -> Freshness:
    request = gathered.request
    if saved is None or request.refresh or saved.meta.fingerprint != gathered.fingerprint:
        return Freshness.OUTDATED
    meta = saved.meta
    if wants_model(request) and meta.source != Source.MODEL:
        age = gathered.now - datetime.fromisoformat(meta.generated_at)
        # The cool-down spares callers who wait; nobody waits for a schedule, which brings the model's version.
        waits = request.trigger != Trigger.SCHEDULE
        cooling_down = waits and bool(meta.degraded) and age < timedelta(seconds=MODEL_COOL_DOWN_S)
        return Freshness.FRESH if cooling_down else Freshness.OUTDATED
    if meta.versions != gathered.state.versions or meta.count < request.stored_count:
        return Freshness.RECOMPUTE
    return Freshness.FRESH
