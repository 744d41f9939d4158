"""Makes an answer: the local engine first, the language model within its deadline, then the records of it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from catalog.song_payloads import WireGroup, candidate_song, group_song
from engine.ranking import recommend as engine
from engine.types import Group, Slate, Strategy
from infrastructure.database import (
    DATABASE_FAULTS,
    guard,
    release_connections,
)
from infrastructure.time import (
    SEOUL,
)
from profiles import services as profiles
from prompts import services as prompts

from .. import metrics
from ..models import Run, Source, Trigger
from . import answer_store, answer_variants, llm_curation, preferences
from .answer_payload import encode_answer
from .compute_slots import turn
from .gather import (
    NO_MODEL,
    Work,
)
from .request import Answer, Request

log = logging.getLogger(__name__)
#: Candidates that a run keeps for replay, evaluation and the admin.
SNAPSHOT_SONGS = 100


def deadline_s(request: Request) -> float:
    """How long the model may take, absolutely. Nobody waits for what a schedule asks."""
    patient = request.strategy == Strategy.DEEP or request.trigger == Trigger.SCHEDULE
    return settings.LLM_DEADLINE_DEEP_S if patient else settings.LLM_DEADLINE_S


def wants_model(request: Request) -> bool:
    """Whether the model is to be asked for this request, if it has to be computed."""
    asked_for = request.ask_model and request.strategy != Strategy.FAST
    return asked_for and prompts.model_configured()


def computed(
    work: Work, *, kept: answer_store.AnswerMeta | None = None, because: str = ""
) -> Answer:
    """Compute an answer, store it and keep the run.

    kept: an earlier answer whose picks and taglines still hold; the model is not asked then.
    because: why the model is not asked although it was wanted ("busy").
    """
    tell = work.request.progress or _nobody
    tell(20)
    with turn(), work.clock.part("engine"):
        slate = engine.recommend(
            work.query(),
            catalog=work.state.snapshot.catalog,
            model=work.state.model,
            settings=work.state.settings,
            clock=time.perf_counter,
        )
    tell(40)
    hurried = work.request.hurried
    if not kept and not because and wants_model(work.request) and hurried and hurried():
        because = "busy"  # more jobs came since this one began
    if kept is not None:
        curated = _kept(slate, kept)
    elif because or not wants_model(work.request):
        curated = llm_curation.Curated(degraded=because or _without_model(work.request))
    else:
        curated = _asked(work, slate)
    tell(80)
    made = _Made.of(work, slate, curated, kept=kept)
    made.keep()
    metrics.observe_parts(work.clock.parts)
    tell(95)
    return replace(made.answer(), wants_refresh=bool(because))


def _nobody(progress: int) -> None:
    """Nobody watches this request."""


def _without_model(request: Request) -> str:
    """No model is a degradation where one was to be expected, and none where the caller wants none."""
    expected = request.ask_model and request.strategy != Strategy.FAST
    return NO_MODEL if expected and not prompts.model_configured() else ""


def _kept(slate: Slate, meta: answer_store.AnswerMeta) -> llm_curation.Curated:
    """The model's earlier words and picks, as far as they fit the new slate."""
    place = {candidate.song.song_id: index for index, candidate in enumerate(slate.shortlist)}
    labels = {group.label for group in slate.groups}
    return llm_curation.Curated(
        model_weight=meta.model_weight,
        picks=tuple(place[song_id] for song_id in meta.picks if song_id in place),
        taglines={label: line for label, line in meta.taglines.items() if label in labels},
        degraded=meta.degraded,
    )


def _asked(work: Work, slate: Slate) -> llm_curation.Curated:
    request = work.request
    release_connections()
    with work.clock.part("model"):
        return llm_curation.ask_model(
            slate,
            member_key=request.member_key,
            run_id=work.run_id,
            locale=request.locale,
            taste_text=_taste_text(work, slate),
            situation=_situation(request),
            deadline_s=deadline_s(request),
            seed=work.seed,
            trigger=request.trigger,
        )


def _taste_text(work: Work, slate: Slate) -> str:
    """Staff's or the stored words, else those that lie in Redis for these favourites, else counted ones."""
    picture = work.picture
    kept = picture.taste_text or preferences.taste_text_for(
        work.request.member_key, picture.favorite_ids
    )
    return kept or llm_curation.taste_sentence(slate)


def _situation(request: Request) -> str:
    context = request.context
    parts = (context.time_of_day, context.mood, context.activity)
    return ", ".join(str(part) for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A slate with the model's part in it, ready to be written down and answered."""

    work: Work
    slate: Slate
    curated: llm_curation.Curated
    #: Indices of the shortlist in the order served.
    order: tuple[int, ...]
    groups: list[Group]
    #: Whether an earlier answer's picks were kept; then that answer's source stays true for the member.
    kept: answer_store.AnswerMeta | None

    @classmethod
    def of(
        cls,
        work: Work,
        slate: Slate,
        curated: llm_curation.Curated,
        *,
        kept: answer_store.AnswerMeta | None,
    ) -> _Made:
        order = llm_curation.final_order(slate, curated)
        groups = llm_curation.arranged(slate.groups, order)
        return cls(work=work, slate=slate, curated=curated, order=order, groups=groups, kept=kept)

    # -- what it says --
    @property
    def source(self) -> Source:
        return Source.MODEL if self.curated.by_model and self.kept is None else Source.LOCAL

    @property
    def degraded(self) -> str:
        return self.work.degraded(self.curated.degraded)

    @property
    def generated_date(self) -> str:
        return self.work.now.astimezone(SEOUL).date().isoformat()

    def wire_groups(self) -> list[WireGroup]:
        shortlist = self.slate.shortlist
        return [
            WireGroup(
                label=group.label,
                tagline=self.curated.taglines.get(group.label, group.tagline),
                songs=[group_song(shortlist[index].song) for index in group.members],
            )
            for group in self.groups
        ]

    def wire_candidates(self) -> list[Any]:
        wanted = self.order[: self.work.request.stored_count]
        return [candidate_song(self.slate.shortlist[index]) for index in wanted]

    def song_ids(self, indices: tuple[int, ...]) -> list[int]:
        return [self.slate.shortlist[index].song.song_id for index in indices]

    def answer(self) -> Answer:
        work = self.work
        return Answer(
            run_id=work.run_id,
            source=self.source,
            degraded=self.degraded,
            favorite_song_ids=list(work.picture.favorite_ids),
            groups=self.wire_groups(),
            candidates=self.wire_candidates()[: work.request.count],
            generated_date=self.generated_date,
            unresolved=[item.to_wire() for item in work.unresolved],
            locale=work.request.locale,
        )

    # -- what is kept of it --
    def keep(self) -> None:
        """Write the answer, then the run; a database that is away costs the record, not the answer."""
        with turn():
            with self.work.clock.part("store"):
                self._store_answer()
            with self.work.clock.part("record"):
                self._keep_records()

    def _keep_records(self) -> None:
        try:
            with guard(), transaction.atomic():  # one commit, so one wait for the disk
                self._keep_taste()
                self._keep_run()
        except DATABASE_FAULTS as error:
            log.warning("A run could not be recorded: %s", type(error).__name__)

    def _store_answer(self) -> None:
        work, request = self.work, self.work.request
        if not work.knows_favorites:
            return  # a guess, while the database is away: good for now, nothing for later readers
        body = encode_answer(
            favorite_song_ids=list(work.picture.favorite_ids),
            groups=self.wire_groups(),
            candidates=self.wire_candidates(),
            generated_date=self.generated_date,
        )
        if not request.is_plain:
            answer_variants.save(request.member_key, request.variant, body, self._meta())
            return
        answer_store.save(request.member_key, body, self._meta(), now=work.now)

    def _meta(self) -> answer_store.AnswerMeta:
        work, curated = self.work, self.curated
        return answer_store.AnswerMeta(
            run_id=work.run_id,
            fingerprint=work.fingerprint,
            favorites_sha=work.picture.favorites_sha,
            source=self.kept.source if self.kept else self.source,
            degraded=self.curated.degraded,
            count=work.request.stored_count,
            generated_at=work.now.isoformat(),
            versions=work.state.versions,
            picks=self.song_ids(curated.picks),
            taglines=curated.taglines,
            model_weight=curated.model_weight,
            locale=work.request.locale,
            preference=self._preference() if work.request.is_plain else {},
        )

    def _preference(self) -> dict[str, Any]:
        """What `preference:{member}` holds."""
        return {
            "favorite_song_ids": list(self.work.picture.favorite_ids),
            "preference": self._preferred(),
            "generated_date": self.generated_date,
        }

    def _preferred(self) -> dict[str, Any]:
        """The model's reading or the counted mix, under staff's overrides."""
        taste, picture = self.curated.taste, self.work.picture
        said = {
            "genre": list(taste.genres) if taste else picture.taste_names("genre"),
            "mood": list(taste.moods) if taste else picture.taste_names("mood"),
            "artist": list(taste.artists) if taste else picture.taste_names("artist"),
        }
        names = {
            kind: picture.with_overrides(kind, said[kind] or self._counted(kind)) for kind in said
        }
        text = picture.taste_text_override or (taste.text if taste else picture.taste_text)
        return {
            "preferred_genres": names["genre"],
            "preferred_moods": names["mood"],
            "overall_taste": text or llm_curation.taste_sentence(self.slate),
            "favorite_artists": names["artist"],
        }

    def _counted(self, kind: str) -> list[str]:
        return [name for name, _ in self.slate.taste.get(kind, [])[:5]]

    def _keep_taste(self) -> None:
        """The model's reading; without one the counted mix, so that staff see a profile of everybody."""
        work, taste = self.work, self.curated.taste
        known = work.picture.taste
        if (
            taste is None
            and known is not None
            and known.favorites_sha == work.picture.favorites_sha
        ):
            return
        profiles.store_taste(
            work.request.member_key,
            text=taste.text if taste else llm_curation.taste_sentence(self.slate),
            genres=taste.genres if taste else tuple(self._counted("genre")),
            moods=taste.moods if taste else tuple(self._counted("mood")),
            artists=taste.artists if taste else tuple(self._counted("artist")),
            favorites_sha=work.picture.favorites_sha,
            source="model" if taste else "local",
            now=work.now,
        )

    def _keep_run(self) -> None:
        work, request, curated = self.work, self.work.request, self.curated
        Run.objects.create(
            uuid=UUID(work.run_id),
            member_key=request.member_key,
            trigger=request.trigger,
            strategy=request.strategy,
            locale=request.locale,
            source=self.source,
            degraded=self.degraded,
            count=request.count,
            fingerprint=work.fingerprint,
            seed=work.seed,
            favorites=len(work.picture.favorite_ids),
            versions=work.state.versions,
            prompt_versions=curated.prompt_versions,
            trace=[vars(step) for step in self.slate.trace],
            timings=work.clock.parts | {"total": round(work.clock.total_s * 1000, 2)},
            snapshot=self._snapshot(),
            groups=self._kept_groups(),
            query=work.query_record(),
            why=self.slate.why,
            job_uuid=request.job_uuid,
            created_at=work.now,
        )

    def _snapshot(self) -> dict[str, Any]:
        shortlist = self.slate.shortlist[:SNAPSHOT_SONGS]
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
                    "evidence": [
                        [item.song_id, round(item.share, 3)] for item in candidate.evidence
                    ],
                }
                for candidate in shortlist
            ],
            "shown": self.song_ids(self.curated.shown),
            "picks": self.song_ids(self.curated.picks),
            "final": self.song_ids(self.order)[:SNAPSHOT_SONGS],
            "repairs": self.curated.repairs,
            "told": self.curated.told,
        }

    def _kept_groups(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": group.kind,
                "label": group.label,
                "tagline": self.curated.taglines.get(group.label, group.tagline),
                "song_ids": self.song_ids(group.members),
            }
            for group in self.groups
        ]
