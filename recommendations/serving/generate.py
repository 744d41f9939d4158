"""Generates an answer: the local engine first, then the language model within its deadline."""

from __future__ import annotations

import time
from dataclasses import replace

from django.conf import settings

from engine.ranking import recommend as engine
from engine.types import Slate, Strategy
from infrastructure.database import release_connections
from prompts import services as prompts

from .. import metrics
from ..models import Degraded, Trigger
from . import llm_curation, run_recorder
from .compute_slots import compute_slot
from .gather import Gathered
from .generated_answer import GeneratedAnswer
from .llm_curation import Curated
from .request import Recommendation, Request
from .stored_answers import preferences
from .stored_answers.answer_store import AnswerMeta


def model_deadline_s(request: Request) -> float:
    """How long the model may take in total; longer where no caller waits for the answer."""
    patient = request.strategy == Strategy.DEEP or request.trigger == Trigger.SCHEDULE
    return settings.LLM_DEADLINE_DEEP_S if patient else settings.LLM_DEADLINE_S


def wants_model(request: Request) -> bool:
    """Whether the model is asked for this request, if it has to be computed."""
    return _allows_model(request) and prompts.model_configured()


def _allows_model(request: Request) -> bool:
    return request.ask_model and request.strategy != Strategy.FAST


def generate(
    gathered: Gathered, *, reuse: AnswerMeta | None = None, without_model: str = ""
) -> Recommendation:
    """Compute an answer, store it and record the run.

    reuse: an earlier answer whose picks and taglines still hold; the model is not asked then.
    without_model: why the model is not asked although it was wanted; becomes `degraded`.
    """
    report = gathered.request.progress or (lambda percent: None)
    report(20)
    slate = _rank(gathered)
    report(40)
    request = gathered.request
    asks_model = reuse is None and not without_model and wants_model(request)
    if asks_model and request.hurried is not None and request.hurried():
        without_model = Degraded.BUSY  # more jobs arrived since this one began
    curated = _curate(gathered, slate, reuse=reuse, without_model=without_model)
    report(80)
    generated = GeneratedAnswer.of(gathered, slate, curated, reused=reuse)
    is_stored = run_recorder.record(generated)
    metrics.observe_parts(gathered.stopwatch.parts)
    report(95)
    answer = replace(generated.to_answer(), wants_refresh=bool(without_model))
    return answer if is_stored else replace(answer, degraded=Degraded.NOT_STORED)


def _rank(gathered: Gathered) -> Slate:
    state = gathered.state
    with compute_slot(), gathered.stopwatch.part("engine"):
        return engine.recommend(
            gathered.query(),
            catalog=state.snapshot.catalog,
            model=state.model,
            settings=state.settings,
            clock=time.perf_counter,
        )


def _curate(
    gathered: Gathered, slate: Slate, *, reuse: AnswerMeta | None, without_model: str
) -> Curated:
    """What the model adds to the slate, or why it adds nothing."""
    request = gathered.request
    if reuse is not None:
        return _reused(slate, reuse)
    if without_model:
        return Curated(degraded=without_model)
    if not _allows_model(request):
        return Curated()  # no model wanted: nothing is missing
    if not prompts.model_configured():
        return Curated(degraded=Degraded.NO_MODEL)
    return _ask_model(gathered, slate)


def _reused(slate: Slate, earlier: AnswerMeta) -> Curated:
    """The model's earlier taglines and picks, as far as they fit the new slate."""
    index_of = {candidate.song.song_id: index for index, candidate in enumerate(slate.shortlist)}
    labels = {group.label for group in slate.groups}
    return Curated(
        model_weight=earlier.model_weight,
        picks=tuple(index_of[song_id] for song_id in earlier.picks if song_id in index_of),
        taglines={label: line for label, line in earlier.taglines.items() if label in labels},
        degraded=earlier.degraded,
    )


def _ask_model(gathered: Gathered, slate: Slate) -> Curated:
    request = gathered.request
    context = request.context
    situation = (context.time_of_day, context.mood, context.activity)
    release_connections()
    with gathered.stopwatch.part("model"):
        return llm_curation.ask_model(
            slate,
            member_key=request.member_key,
            run_id=gathered.run_id,
            locale=request.locale,
            taste_text=_taste_text(gathered, slate),
            situation=", ".join(str(part) for part in situation if part),
            deadline_s=model_deadline_s(request),
            seed=gathered.seed,
            trigger=request.trigger,
        )


def _taste_text(gathered: Gathered, slate: Slate) -> str:
    """Staff's words or the stored ones, else those in Redis for the same favourites, else the counted mix."""
    profile = gathered.profile
    return (
        profile.taste_text
        or preferences.taste_text_for(gathered.request.member_key, profile.favorite_ids)
        or llm_curation.taste_sentence(slate)
    )
