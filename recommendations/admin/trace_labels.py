"""Says in the words of staff what the engine stores as codes: steps, notes, scores, kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from engine.ranking.notes import FilterKind, Note, NoteCode, StepName
from engine.types import CandidateKind, GroupKind, PreferenceSource
from engine.weights import ScoreAdjustment, ScorerName

#: A lazy translation, or a label that needs none.
Label = Any

STEPS: Mapping[str, Label] = {
    StepName.ONLY_WHAT_WAS_ASKED: _("요청한 조건만"),
    StepName.WITHOUT_KNOWN_SONGS: _("아는 곡 제외"),
    StepName.WITHOUT_WHAT_WAS_REFUSED: _("싫어요·차단 제외"),
    StepName.SCORE: _("점수 매기기"),
    StepName.LEAN_TO_ADVENTURE: _("모험도 반영"),
    StepName.LEAN_TO_PREFERENCES: _("취향·직원 설정 반영"),
    StepName.REST_WHAT_WAS_SHOWN: _("최근 보여준 곡 쉬기"),
    StepName.KEEP_POOL: _("상위 곡만"),
    StepName.VARY: _("다양하게 고르기"),
    StepName.EXPLORE: _("탐색 섞기"),
    StepName.GROUP: _("그룹 만들기"),
    StepName.GIVE_REASONS: _("이유 붙이기"),
}
#: Names in braces are fields of `Note`.
NOTES: Mapping[NoteCode, Label] = {
    NoteCode.INACTIVE: _("비활성 {count}곡"),
    NoteCode.OUTSIDE_FILTER: _("{kind} 조건 밖 {count}곡"),
    NoteCode.FAVORITE: _("좋아하는 곡 {count}곡"),
    NoteCode.FAVORITE_VERSION: _("좋아하는 곡의 다른 버전 {count}곡"),
    NoteCode.DISLIKED: _("싫어요 {count}곡"),
    NoteCode.UNLIKED_LATELY: _("최근 좋아요 취소 {count}곡"),
    NoteCode.EXCLUDED: _("{kind} 차단 {count}곡"),
    NoteCode.BARRED: _("{source}: {name} 제외 {count}곡"),
    NoteCode.NOTHING_LEFT: _("남은 곡 없음"),
    NoteCode.ONLY_FAVORITES_LEFT: _("남은 곡 없음: 모두 좋아하는 곡"),
    NoteCode.KNOWN_SONGS_ALLOWED: _("아는 곡 허용"),
    NoteCode.EMPTY_CATALOG: _("카탈로그가 비어 있음"),
    NoteCode.KNOWN_SONGS: _("아는 곡 {count}곡"),
    NoteCode.SCORE_PARTS: "{parts}",
    NoteCode.NEW_ARTISTS: _("새로운 가수 {amount:+.2f}"),
    NoteCode.PREFERENCE: "{source}: {name} {amount:+.2f}",
    NoteCode.PREFERENCE_WITHOUT_SONGS: _("{source}: {name} 곡이 없음"),
    NoteCode.SHOWN_LATELY: _("최근 보여준 {count}곡을 뒤로"),
    NoteCode.VERSIONS_MERGED: _("같은 곡의 다른 버전 {count}곡을 합침"),
    NoteCode.NOTHING_TO_ORDER: _("순서를 정할 곡이 없음"),
    NoteCode.OVER_CAP: _("다른 곡이 없어 상한을 넘긴 {count}곡"),
    NoteCode.LIST_TOO_SHORT: _("없음: 목록이 너무 짧음"),
    NoteCode.NOTHING_BEYOND_LIST: _("없음: 목록 밖에 고를 곡이 없음"),
    NoteCode.EXPLORED: _("{total}곡 가운데 {count}곡"),
    NoteCode.GROUPS: _("그룹 {count}개"),
}
FILTER_KINDS: Mapping[FilterKind, Label] = {
    FilterKind.SONG: _("곡"),
    FilterKind.ARTIST: _("가수"),
    FilterKind.GENRE: _("장르"),
    FilterKind.MOOD: _("분위기"),
    FilterKind.ANIME: _("애니메이션"),
    FilterKind.LANGUAGE: _("언어"),
    FilterKind.TJ: _("TJ 번호"),
    FilterKind.KY: _("금영 번호"),
}
SOURCES: Mapping[str, Label] = {
    PreferenceSource.STAFF: _("직원 설정"),
    PreferenceSource.MODEL: _("모델이 읽은 취향"),
}
SCORE_PARTS: Mapping[str, Label] = {
    ScorerName.EASE: _("함께 좋아함 (EASE)"),
    ScorerName.KNN: _("닮은 곡 (kNN)"),
    ScorerName.RP3: _("이어지는 곡 (RP3β)"),
    ScorerName.ALS: _("숨은 취향 (ALS)"),
    ScorerName.CONTENT: _("내용 닮음"),
    ScorerName.POPULARITY: _("요즘 인기"),
    ScorerName.STANDING: _("꾸준한 인기"),
    ScorerName.TREND: _("상승세"),
    ScorerName.RECENCY: _("새로움"),
    ScorerName.REPEAT: _("다시 부르기"),
    ScorerName.DISLIKE: _("싫어요와 닮음"),
    ScorerName.SESSION: _("이번 자리"),
    ScoreAdjustment.CONTEXT: _("상황 맞춤"),
    ScoreAdjustment.ADVENTURE: _("모험도"),
    ScoreAdjustment.STAFF: SOURCES[PreferenceSource.STAFF],
    ScoreAdjustment.MODEL: SOURCES[PreferenceSource.MODEL],
    ScoreAdjustment.ROTATION: _("최근 노출"),
}
CANDIDATE_KINDS: Mapping[str, Label] = {
    CandidateKind.PREFERENCE: _("취향"),
    CandidateKind.RANDOM: _("탐색"),
}
GROUP_KINDS: Mapping[str, Label] = {
    GroupKind.TASTE: _("취향"),
    GroupKind.GENRE: _("장르"),
    GroupKind.MOOD: _("분위기"),
    GroupKind.ARTIST: _("가수"),
    GroupKind.ANIME: _("애니메이션"),
    GroupKind.HIDDEN_GEMS: _("숨은 곡"),
    GroupKind.CROSSOVER: _("다른 취향으로"),
    GroupKind.ARTIST_EXPANSION: _("비슷한 가수"),
    GroupKind.SITUATION: _("상황"),
    GroupKind.POPULAR: _("인기곡"),
    GroupKind.FRESH: _("신곡"),
}


def render_note(note: Note) -> str:
    """The note in the reader's language."""
    return str(NOTES[note.code]).format(
        count=note.count,
        total=note.total,
        amount=note.amount,
        name=note.name,
        kind=FILTER_KINDS[note.kind] if note.kind else "",
        source=SOURCES.get(note.source, note.source),
        parts=", ".join(str(SCORE_PARTS.get(part, part)) for part in note.parts),
    )
