"""An answer as it was generated: the slate, the model's part in it, and what follows from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from catalog.song_payloads import CandidateSong, WireGroup, candidate_song, group_song
from engine.types import Group, Slate
from infrastructure.time import SEOUL

from ..models import Source
from .gather import Gathered
from .llm_curation import Curated, arrange, final_order
from .request import Recommendation
from .stored_answers.answer_store import AnswerMeta


@dataclass(frozen=True, kw_only=True)
class GeneratedAnswer:
    """Computed once, then sent, stored and recorded."""

    gathered: Gathered
    slate: Slate
    curated: Curated
    #: Indices of the shortlist in the order served.
    order: tuple[int, ...]
    groups: list[Group]
    #: The earlier answer whose picks and taglines were reused; its source stays true for the member.
    reused: AnswerMeta | None

    @classmethod
    def of(
        cls, gathered: Gathered, slate: Slate, curated: Curated, *, reused: AnswerMeta | None
    ) -> GeneratedAnswer:
        order = final_order(slate, curated)
        return cls(
            gathered=gathered,
            slate=slate,
            curated=curated,
            order=order,
            groups=arrange(slate.groups, order),
            reused=reused,
        )

    @property
    def source(self) -> Source:
        return Source.MODEL if self.curated.by_model and self.reused is None else Source.LOCAL

    @property
    def degraded(self) -> str:
        return self.gathered.choose_degraded(self.curated.degraded)

    @property
    def generated_date(self) -> str:
        return self.gathered.now.astimezone(SEOUL).date().isoformat()

    @property
    def favorite_song_ids(self) -> list[int]:
        return list(self.gathered.profile.favorite_ids)

    @cached_property
    def group_payloads(self) -> list[WireGroup]:
        shortlist = self.slate.shortlist
        return [
            WireGroup(
                label=group.label,
                tagline=self.tagline(group),
                songs=[group_song(shortlist[index].song) for index in group.members],
            )
            for group in self.groups
        ]

    @cached_property
    def candidate_payloads(self) -> list[CandidateSong]:
        """As many as are stored; a caller may have asked for fewer."""
        stored = self.order[: self.gathered.request.stored_count]
        return [candidate_song(self.slate.shortlist[index]) for index in stored]

    def tagline(self, group: Group) -> str:
        return self.curated.taglines.get(group.label, group.tagline)

    def song_ids(self, indices: Sequence[int]) -> list[int]:
        return [self.slate.shortlist[index].song.song_id for index in indices]

    def to_answer(self) -> Recommendation:
        request = self.gathered.request
        return Recommendation(
            run_id=self.gathered.run_id,
            source=self.source,
            degraded=self.degraded,
            favorite_song_ids=self.favorite_song_ids,
            groups=self.group_payloads,
            candidates=self.candidate_payloads[: request.count],
            generated_date=self.generated_date,
            unresolved=[item.to_wire() for item in self.gathered.unresolved],
            locale=request.locale,
        )
