"""Writes what is kept of a generated answer: the stored answer, the member's taste, the run."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.db import transaction

from catalog.keys import member_id_of
from infrastructure.database import DATABASE_FAULTS, guard
from profiles import services as profiles

from ..models import Run, Source
from . import llm_curation, new_callers
from .compute_slots import compute_slot
from .generated_answer import GeneratedAnswer
from .query_json import query_to_json
from .stored_answers import answer_store, answer_variants
from .stored_answers.answer_payload import encode_answer
from .stored_answers.answer_store import AnswerMeta

log = logging.getLogger(__name__)
#: Candidates that a run records for replay, evaluation and the admin.
SNAPSHOT_SONGS = 100


def record(generated: GeneratedAnswer) -> bool:
    """Store the answer, then record the run; a database that is down costs the record, not the answer.

    Returns False when nothing was kept, because too many new users were stored today.
    """
    gathered = generated.gathered
    stopwatch = gathered.stopwatch
    member_key = gathered.request.member_key
    if not _has_likes(generated) and not new_callers.may_be_stored(member_key, now=gathered.now):
        return False
    with compute_slot():
        with stopwatch.part("store"):
            _store_answer(generated)
        with stopwatch.part("record"):
            try:
                with guard(), transaction.atomic():  # one commit, so one wait for the disk
                    _record_taste(generated)
                    _record_run(generated)
            except DATABASE_FAULTS as error:
                log.warning("A run could not be recorded: %s", type(error).__name__)
    return True


def _has_likes(generated: GeneratedAnswer) -> bool:
    """Whether the shared database knows likes of the member: then the member is no new user."""
    request = generated.gathered.request
    is_sent = request.favorite_ids is not None or bool(request.favorite_songs)
    return (
        not is_sent
        and member_id_of(request.member_key) is not None
        and bool(generated.favorite_song_ids)
    )


# --- The stored answer ----------------------------------------------------------------------------
def _store_answer(generated: GeneratedAnswer) -> None:
    gathered, request = generated.gathered, generated.gathered.request
    if not gathered.knows_favorites:
        return  # computed for the last known favourites while the database is down: not for later readers
    body = encode_answer(
        favorite_song_ids=generated.favorite_song_ids,
        groups=generated.group_payloads,
        candidates=generated.candidate_payloads,
        generated_date=generated.generated_date,
    )
    meta = _meta(generated)
    if request.is_member_answer:
        answer_store.save(request.member_key, body, meta, now=gathered.now)
    else:
        answer_variants.save(request.member_key, request.variant, body, meta)


def _meta(generated: GeneratedAnswer) -> AnswerMeta:
    gathered, curated, reused = generated.gathered, generated.curated, generated.reused
    return AnswerMeta(
        run_id=gathered.run_id,
        fingerprint=gathered.fingerprint,
        favorites_sha=gathered.profile.favorites_sha,
        source=reused.source if reused else generated.source,
        degraded=str(curated.degraded),  # variants are pickled: no class of this release in them
        count=gathered.request.stored_count,
        generated_at=gathered.now.isoformat(),
        versions=gathered.state.versions,
        picks=generated.song_ids(curated.picks),
        taglines=curated.taglines,
        model_weight=curated.model_weight,
        locale=gathered.request.locale,
        preference=_preference(generated) if gathered.request.is_member_answer else {},
    )


def _preference(generated: GeneratedAnswer) -> dict[str, Any]:
    """The value of `preference:{member}`: the model's reading or the counted mix, under staff's overrides."""
    taste, profile = generated.curated.taste, generated.gathered.profile
    read = {
        "genre": list(taste.genres) if taste else profile.taste_names("genre"),
        "mood": list(taste.moods) if taste else profile.taste_names("mood"),
        "artist": list(taste.artists) if taste else profile.taste_names("artist"),
    }
    names = {
        kind: profile.with_overrides(kind, read[kind] or _most_liked(generated, kind))
        for kind in read
    }
    text = profile.taste_text_override or (taste.text if taste else profile.taste_text)
    return {
        "favorite_song_ids": generated.favorite_song_ids,
        "preference": {
            "preferred_genres": names["genre"],
            "preferred_moods": names["mood"],
            "overall_taste": text or llm_curation.taste_sentence(generated.slate),
            "favorite_artists": names["artist"],
        },
        "generated_date": generated.generated_date,
    }


def _most_liked(generated: GeneratedAnswer, kind: str) -> list[str]:
    return [name for name, _share in generated.slate.taste.get(kind, [])[:5]]


# --- The member's taste ---------------------------------------------------------------------------
def _record_taste(generated: GeneratedAnswer) -> None:
    """The model's reading; without one the counted mix, so that staff see a taste of every member."""
    gathered, taste = generated.gathered, generated.curated.taste
    favorites_sha, known = gathered.profile.favorites_sha, gathered.profile.taste
    if taste is None and known is not None and known.favorites_sha == favorites_sha:
        return
    profiles.store_taste(
        gathered.request.member_key,
        text=taste.text if taste else llm_curation.taste_sentence(generated.slate),
        genres=taste.genres if taste else tuple(_most_liked(generated, "genre")),
        moods=taste.moods if taste else tuple(_most_liked(generated, "mood")),
        artists=taste.artists if taste else tuple(_most_liked(generated, "artist")),
        favorites_sha=favorites_sha,
        source=Source.MODEL if taste else Source.LOCAL,
        now=gathered.now,
    )


# --- The run --------------------------------------------------------------------------------------
def _record_run(generated: GeneratedAnswer) -> None:
    gathered, request = generated.gathered, generated.gathered.request
    Run.objects.create(
        uuid=UUID(gathered.run_id),
        member_key=request.member_key,
        trigger=request.trigger,
        strategy=request.strategy,
        locale=request.locale,
        source=generated.source,
        degraded=generated.degraded,
        count=request.count,
        fingerprint=gathered.fingerprint,
        seed=gathered.seed,
        favorites=len(gathered.profile.favorite_ids),
        versions=gathered.state.versions,
        prompt_versions=generated.curated.prompt_versions,
        trace=[step.to_json() for step in generated.slate.trace],
        timings=gathered.stopwatch.parts | {"total": round(gathered.stopwatch.total_s * 1000, 2)},
        snapshot=_snapshot(generated),
        groups=[
            {
                "kind": group.kind,
                "label": group.label,
                "tagline": generated.tagline(group),
                "song_ids": generated.song_ids(group.members),
            }
            for group in generated.groups
        ],
        query=query_to_json(gathered.query()),
        why=generated.slate.why,
        job_uuid=request.job_uuid,
        created_at=gathered.now,
    )


def _snapshot(generated: GeneratedAnswer) -> dict[str, Any]:
    curated = generated.curated
    return {
        "candidates": [
            {
                "song_id": candidate.song.song_id,
                "match_score": round(float(candidate.match_score), 4),
                "type": candidate.recommendation_type,
                "reason": candidate.reason,
                "scores": {
                    name: round(float(value), 3) for name, value in candidate.scores.items()
                },
                "evidence": [[item.song_id, round(item.share, 3)] for item in candidate.evidence],
            }
            for candidate in generated.slate.shortlist[:SNAPSHOT_SONGS]
        ],
        "shown": generated.song_ids(curated.shown),
        "picks": generated.song_ids(curated.picks),
        "final": generated.song_ids(generated.order)[:SNAPSHOT_SONGS],
        "repairs": curated.repairs,
        "told": curated.prompt_variables,
    }
