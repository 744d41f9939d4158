"""Explains why a song is in the answer of a run, or why it is not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from engine.ranking.explain import explain, explain_stored

from ..errors import RunNotFound
from ..models import Run
from . import active_engine
from .query_json import query_from_json


def why(run_id: UUID, song_id: int) -> dict[str, Any]:
    """The song's way through the engine now, and what was recorded when the run was made.

    Raises RunNotFound.
    """
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise RunNotFound
    state = active_engine.current()
    explained_now = explain(
        query_from_json(run.query or {}),
        song_id,
        catalog=state.snapshot.catalog,
        model=state.model,
        settings=state.settings,
    )
    return {
        "run_id": str(run.uuid),
        **explained_now,
        "served_in": _places(run, song_id),
        "when_served": explain_stored(run.why or {}, song_id),
        #: False: catalog, model or settings changed since; `steps` and `scores` are today's.
        "same_versions": run.versions == state.versions,
    }


def _places(run: Run, song_id: int) -> list[dict[str, Any]]:
    """Where in the answer the song stood: quick picks and groups, places from 1."""
    final = (run.snapshot or {}).get("final", [])[: run.count]
    places = [{"list": "candidates", "place": final.index(song_id) + 1}] if song_id in final else []
    return places + [
        {"list": group["label"], "place": group["song_ids"].index(song_id) + 1}
        for group in run.groups or []
        if song_id in group["song_ids"]
    ]
