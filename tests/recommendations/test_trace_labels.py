"""Staff read every code of a run in Korean and in English, runs of 0.2.0 included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import pytest
from django.utils import translation

from engine.ranking.notes import FilterKind, Note, NoteCode, StepName
from engine.types import CandidateKind, GroupKind, PreferenceSource
from engine.weights import ScoreAdjustment, ScorerName
from recommendations.admin import trace_labels
from recommendations.admin.legacy_notes import notes_of
from recommendations.admin.trace_labels import render_note

TABLES: tuple[tuple[Mapping[Any, Any], Iterable[Enum]], ...] = (
    (trace_labels.STEPS, StepName),
    (trace_labels.NOTES, NoteCode),
    (trace_labels.FILTER_KINDS, FilterKind),
    (trace_labels.SOURCES, PreferenceSource),
    (trace_labels.SCORE_PARTS, (*ScorerName, *ScoreAdjustment)),
    (trace_labels.CANDIDATE_KINDS, CandidateKind),
    (trace_labels.GROUP_KINDS, GroupKind),
)
LABELS = [(table, member) for table, members in TABLES for member in members]
#: Labels without a word of their own.
COMPOSED = {NoteCode.PREFERENCE, NoteCode.SCORE_PARTS}
#: What the steps of 0.2.0 wrote, each with what staff read today.
PROSE = {
    "inactive: 3": "비활성 3곡",
    "only: song_ids: 40": "곡 조건 밖 40곡",
    "only: artist: 41": "가수 조건 밖 41곡",
    "only: genre: 42": "장르 조건 밖 42곡",
    "only: mood: 43": "분위기 조건 밖 43곡",
    "only: language: 44": "언어 조건 밖 44곡",
    "only: tj: 45": "TJ 번호 조건 밖 45곡",
    "only: ky: 46": "금영 번호 조건 밖 46곡",
    "nothing left: the list is empty": "남은 곡 없음",
    "nothing left, every song left is a favourite: the list is empty": "남은 곡 없음: 모두 좋아하는 곡",
    "known songs allowed": "아는 곡 허용",
    "favourite: 18": "좋아하는 곡 18곡",
    "another version of a favourite: 2": "좋아하는 곡의 다른 버전 2곡",
    "disliked: 4": "싫어요 4곡",
    "unliked lately: 1": "최근 좋아요 취소 1곡",
    "excluded song: 5": "곡 차단 5곡",
    "excluded artist: 6": "가수 차단 6곡",
    "excluded genre: 7": "장르 차단 7곡",
    "excluded mood: 8": "분위기 차단 8곡",
    "excluded anime: 9": "애니메이션 차단 9곡",
    "staff: barred j-pop: 록: 12": "직원 설정: j-pop: 록 제외 12곡",
    "model: barred 록: 1": "모델이 읽은 취향: 록 제외 1곡",
    "the catalog is empty": "카탈로그가 비어 있음",
    "12 known songs": "아는 곡 12곡",
    "ease, knn, rp3, als, content, popularity, standing, trend, recency, repeat, dislike, context": (
        "함께 좋아함 (EASE), 닮은 곡 (kNN), 이어지는 곡 (RP3β), 숨은 취향 (ALS), 내용 닮음, 요즘 인기, "
        "꾸준한 인기, 상승세, 새로움, 다시 부르기, 싫어요와 닮음, 상황 맞춤"
    ),
    "session, dislike": "이번 자리, 싫어요와 닮음",
    "new artists +1.00": "새로운 가수 +1.00",
    "new artists -0.40": "새로운 가수 -0.40",
    "staff: no song of 없는 가수": "직원 설정: 없는 가수 곡이 없음",
    "model: no song of 없는 가수": "모델이 읽은 취향: 없는 가수 곡이 없음",
    "staff: 록 +1.50": "직원 설정: 록 +1.50",
    "model: 발라드 +0.25": "모델이 읽은 취향: 발라드 +0.25",
    "7 shown lately sink": "최근 보여준 7곡을 뒤로",
    "3 further versions of a song merged": "같은 곡의 다른 버전 3곡을 합침",
    "nothing to order": "순서를 정할 곡이 없음",
    "2 over a cap, for want of others": "다른 곡이 없어 상한을 넘긴 2곡",
    "none: the list is too short": "없음: 목록이 너무 짧음",
    "none: nothing beyond the list": "없음: 목록 밖에 고를 곡이 없음",
    "2 of 20": "20곡 가운데 2곡",
    "6 groups": "그룹 6개",
}


def has_hangul(text: str) -> bool:
    return re.search("[가-힣]", text) is not None


@pytest.mark.parametrize(("table", "member"), LABELS, ids=lambda value: str(value)[:40])
def test_every_code_has_a_korean_label_and_an_english_one(
    table: Mapping[Any, Any], member: Enum
) -> None:
    is_composed = member in COMPOSED
    with translation.override("ko"):
        assert has_hangul(str(table[member])) or is_composed
    with translation.override("en"):
        assert str(table[member])
        assert not has_hangul(str(table[member]))


def test_a_label_names_the_same_fields_in_both_languages() -> None:
    for label in trace_labels.NOTES.values():
        with translation.override("ko"):
            korean = sorted(re.findall(r"{[^}]*}", str(label)))
        with translation.override("en"):
            assert sorted(re.findall(r"{[^}]*}", str(label))) == korean


@pytest.mark.parametrize(("prose", "label"), PROSE.items())
def test_a_note_of_0_2_0_reads_like_one_of_today(prose: str, label: str) -> None:
    (note,) = notes_of(prose)
    assert isinstance(note, Note)
    with translation.override("ko"):
        assert render_note(note) == label


def test_the_prose_of_0_2_0_covers_every_code() -> None:
    codes = {note.code for prose in PROSE for note in notes_of(prose) if isinstance(note, Note)}
    assert codes == set(NoteCode)


def test_several_notes_of_one_step_are_read_in_their_order() -> None:
    notes = notes_of("0 known songs; popularity, trend; ")
    assert notes == [
        Note(code=NoteCode.KNOWN_SONGS, count=0),
        Note(code=NoteCode.SCORE_PARTS, parts=("popularity", "trend")),
    ]


def test_what_no_step_wrote_stays_as_it_is() -> None:
    assert notes_of("something new: 3") == ["something new: 3"]
