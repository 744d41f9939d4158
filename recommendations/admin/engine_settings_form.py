"""A form of the engine's settings: one field per number, one line per situation; saving adds a version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from engine.settings import (
    EngineSettings,
    InvalidSettings,
    ShapingSettings,
    SignalWeights,
    SituationTable,
)
from engine.types import Activity, TimeOfDay
from engine.weights import BUCKETS, SCORERS

from ..models import EngineSettingsVersion
from . import trace_labels

SIGNALS = {
    "like": _("좋아요"),
    "unlike": _("좋아요 취소"),
    "playlist": _("플레이리스트"),
    "play": _("재생"),
    "complete": _("끝까지 부름"),
    "replay": _("다시 부름"),
    "skip": _("건너뜀"),
    "rating": _("평점(별 5개)"),
    "dislike": _("싫어요"),
    "sang": _("노래함"),
    "half_life_days": _("반감기(일)"),
    "floor": _("오래된 신호의 하한"),
    "unlike_rest_days": _("취소한 곡을 쉬게 하는 기간(일)"),
    "most_repeats": _("반복의 상한"),
}
SHAPING = {
    "pool": _("다듬는 곡 수"),
    "shortlist": _("후보 곡 수"),
    "artist_cap": _("20곡당 같은 가수"),
    "anime_cap": _("20곡당 같은 애니메이션"),
    "loyalty": _("팬심 반영"),
    "diversity": _("다양성(MMR)"),
    "calibration": _("취향 비율 맞춤"),
    "exploration": _("탐색 비율"),
    "adventure": _("모험 요청의 힘"),
    "rotation": _("보여준 곡을 내리는 정도"),
    "rotation_half_life_days": _("내림의 반감기(일)"),
    "staff_pin": _("직원 고정의 힘"),
    "model_lean": _("모델 분석의 힘"),
    "groups": _("그룹 수"),
    "songs_per_group": _("그룹당 곡 수"),
    "gem_popularity": _("숨겨진 보석의 인기 상한"),
}
SITUATIONS = {
    "morning": _("아침"),
    "afternoon": _("오후"),
    "evening": _("저녁"),
    "night": _("밤"),
    "workout": _("운동"),
    "study": _("공부"),
    "rest": _("휴식"),
    "party": _("파티"),
    "commute": _("출퇴근"),
    "sleep": _("잠들기 전"),
}
SITUATION_NUMBERS = {
    "asked_mood": _("요청한 분위기"),
    "strength": _("상황이 미치는 힘"),
    "prior_events": _("직원 배수의 무게(이벤트 수)"),
}
OCCASIONS = "situations.occasions"
LEARNED = "blend.learned"
_TABLES = (("signals", SignalWeights, SIGNALS), ("shaping", ShapingSettings, SHAPING))


class EngineSettingsForm(forms.ModelForm):
    """All tables of `EngineSettings` as fields; the page sets number and author."""

    class Meta:
        model = EngineSettingsVersion
        fields = ("note",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        base = EngineSettingsVersion.objects.order_by("-number").first()
        payload = base.payload if base is not None else EngineSettings().to_json()
        for name, field in settings_fields(payload):
            self.fields[name] = field
        self.fields["note"].help_text = _("무엇을 왜 바꾸는지 적습니다. 기록에 남습니다.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            payload = payload_of(cleaned)
            EngineSettings.from_json(payload)
        except InvalidSettings as error:
            raise ValidationError(str(error)) from error
        self.instance.payload = payload
        return cleaned


def settings_fields(payload: dict[str, Any]) -> Iterator[tuple[str, forms.Field]]:
    """One form field per number, named `table.entry`, with the bounds the engine checks."""
    for table, kind, labels in _TABLES:
        yield from _table_fields(table, kind, labels, payload[table])
    yield (
        LEARNED,
        forms.BooleanField(
            label=_("학습된 배합 사용"),
            required=False,
            initial=payload["blend"].get("learned", True),
            help_text=_(
                "켜면 학습 모델이 배운 배합이 아래 표보다 먼저 쓰입니다. 아래 숫자를 그대로 쓰려면 끄세요."
            ),
        ),
    )
    for _least, bucket in BUCKETS:
        for scorer in sorted(SCORERS):
            value = payload["blend"].get(bucket, {}).get(scorer, 0)
            yield (
                f"blend.{bucket}.{scorer}",
                forms.FloatField(
                    label=trace_labels.SCORE_PARTS.get(scorer, scorer),
                    initial=value,
                    min_value=0,
                    max_value=10,
                ),
            )
    yield from _table_fields("situations", SituationTable, SITUATION_NUMBERS, payload["situations"])
    for situation in (*TimeOfDay, *Activity):
        words = payload["situations"]["multipliers"].get(situation.value, {})
        yield (
            f"situations.{situation.value}",
            forms.CharField(
                label=SITUATIONS[situation.value],
                required=False,
                initial=_words_line(words),
                help_text=_("장르·분위기=배수, 쉼표로 구분: 잔잔=1.6, 강렬=0.6 (1 = 보통)"),
                widget=forms.TextInput(attrs={"size": 90}),
            ),
        )
    occasions = payload["situations"].get("occasions") or SituationTable().to_json()["occasions"]
    yield (
        OCCASIONS,
        forms.CharField(
            label=_("그 밖의 상황"),
            required=False,
            initial="\n".join(f"{name}: {_words_line(words)}" for name, words in occasions.items()),
            help_text=_(
                "한 줄에 하나: 비 오는 날: 감성적=1.5, 신나는=0.7. 호출하는 쪽이 mood로 이 이름을 보냅니다."
            ),
            widget=forms.Textarea(attrs={"rows": 9, "cols": 90}),
        ),
    )


def _words_line(words: dict[str, float]) -> str:
    return ", ".join(f"{word}={value:g}" for word, value in words.items())


def _table_fields(
    table: str, kind: type, labels: dict[str, Any], values: dict[str, Any]
) -> Iterator[tuple[str, forms.Field]]:
    for entry in dataclass_fields(kind):
        if "least" not in entry.metadata:
            continue
        field = forms.IntegerField if isinstance(entry.default, int) else forms.FloatField
        yield (
            f"{table}.{entry.name}",
            field(
                label=labels.get(entry.name, entry.name),
                initial=values.get(entry.name, entry.default),
                min_value=entry.metadata["least"],
                max_value=entry.metadata["most"],
                help_text=_("기본값 {default}").format(default=entry.default),
            ),
        )


def payload_of(cleaned: dict[str, Any]) -> dict[str, Any]:
    """The tables as JSON; raises InvalidSettings for a line that can't be read."""
    payload: dict[str, Any] = {
        "signals": {},
        "shaping": {},
        "blend": {},
        "situations": {"multipliers": {}, "occasions": _occasions(cleaned.get(OCCASIONS, ""))},
    }
    for name, value in cleaned.items():
        table, _dot, entry = name.partition(".")
        if table in ("signals", "shaping"):
            payload[table][entry] = value
        elif name == LEARNED:
            payload["blend"]["learned"] = bool(value)
        elif table == "blend":
            bucket, _dot, scorer = entry.partition(".")
            if value:
                payload["blend"].setdefault(bucket, {})[scorer] = value
        elif table == "situations" and entry in SITUATION_NUMBERS:
            payload["situations"][entry] = value
        elif table == "situations" and entry in SITUATIONS and value:
            payload["situations"]["multipliers"][entry] = _multipliers(entry, value)
    return payload


def _occasions(text: str) -> dict[str, dict[str, float]]:
    """One occasion a line, `name: word=multiplier, …`."""
    lines = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip(): _multipliers(name.strip(), words) for name, _colon, words in lines}


def _multipliers(situation: str, line: str) -> dict[str, float]:
    words: dict[str, float] = {}
    for part in line.split(","):
        word, sign, number = part.partition("=")
        try:
            words[word.strip()] = float(number)
        except ValueError as error:
            how = gettext("잔잔=1.6 처럼 적어 주세요")
            raise InvalidSettings(
                f"{SITUATIONS.get(situation, situation)}: {part.strip()!r} – {how}"
            ) from error
        if not sign or not word.strip():
            raise InvalidSettings(f"{SITUATIONS.get(situation, situation)}: {part.strip()!r}")
    return words


def differences(before: dict[str, Any], after: dict[str, Any], path: str = "") -> list[str]:
    """`signals.like: 1.0 → 1.2` for every number that differs."""
    lines: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        where = f"{path}{name}"
        if isinstance(old, dict) or isinstance(new, dict):
            lines += differences(old or {}, new or {}, f"{where}.")
        elif old != new:
            lines.append(f"{where}: {_shown_number(old)} → {_shown_number(new)}")
    return lines


def _shown_number(value: Any) -> str:
    return "–" if value is None else f"{value:g}"
