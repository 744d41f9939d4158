"""Translates the catalog's hand-written genre and mood words, and forms what stands before a noun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.catalog.text import has_hangul, term_key
from engine.types import Locale


@dataclass(frozen=True, kw_only=True)
class Mood:
    """A mood as a name and as what stands before "song"; the Korean name is what the catalog holds."""

    ko: str  #: before 노래: 감성적 → 감성적인
    ja: str
    ja_before: str  #: before 曲
    en: str


_MOODS: Mapping[str, Mood] = {
    "에너지": Mood(
        ko="에너지 넘치는", ja="エネルギッシュ", ja_before="エネルギッシュな", en="Energetic"
    ),
    "강렬": Mood(ko="강렬한", ja="強烈", ja_before="強烈な", en="Intense"),
    "신나는": Mood(ko="신나는", ja="ノリノリ", ja_before="ノリのいい", en="Upbeat"),
    "밝은": Mood(ko="밝은", ja="明るい", ja_before="明るい", en="Bright"),
    "희망찬": Mood(ko="희망찬", ja="希望", ja_before="希望に満ちた", en="Hopeful"),
    "청량한": Mood(ko="청량한", ja="爽やか", ja_before="爽やかな", en="Refreshing"),
    "설렘": Mood(ko="설레는", ja="ときめき", ja_before="胸がときめく", en="Heart-fluttering"),
    "따뜻한": Mood(ko="따뜻한", ja="温かい", ja_before="温かい", en="Warm"),
    "그루브": Mood(ko="그루브 있는", ja="グルーヴ", ja_before="グルーヴィーな", en="Groovy"),
    "감성적": Mood(
        ko="감성적인", ja="エモーショナル", ja_before="エモーショナルな", en="Emotional"
    ),
    "서정적": Mood(ko="서정적인", ja="叙情的", ja_before="叙情的な", en="Lyrical"),
    "잔잔": Mood(ko="잔잔한", ja="穏やか", ja_before="穏やかな", en="Calm"),
    "애절한": Mood(ko="애절한", ja="切ない", ja_before="切ない", en="Heart-rending"),
    "슬픈": Mood(ko="슬픈", ja="悲しい", ja_before="悲しい", en="Sad"),
    "추억": Mood(ko="추억 어린", ja="懐かしい", ja_before="懐かしい", en="Nostalgic"),
    "몽환적": Mood(ko="몽환적인", ja="幻想的", ja_before="幻想的な", en="Dreamy"),
    "어두운": Mood(ko="어두운", ja="ダーク", ja_before="ダークな", en="Dark"),
    "경쾌": Mood(ko="경쾌한", ja="軽快", ja_before="軽快な", en="Light-hearted"),
    "웅장": Mood(ko="웅장한", ja="壮大", ja_before="壮大な", en="Grand"),
    "귀여운": Mood(ko="귀여운", ja="かわいい", ja_before="かわいい", en="Cute"),
    "로맨틱": Mood(ko="로맨틱한", ja="ロマンチック", ja_before="ロマンチックな", en="Romantic"),
}
#: Japanese and English.
_GENRES: Mapping[str, tuple[str, str]] = {
    "팝": ("ポップ", "Pop"),
    "록": ("ロック", "Rock"),
    "팝 록": ("ポップロック", "Pop rock"),
    "발라드": ("バラード", "Ballad"),
    "댄스": ("ダンス", "Dance"),
    "댄스팝": ("ダンスポップ", "Dance pop"),
    "J-pop": ("J-POP", "J-pop"),
    "J-pop 댄스팝": ("J-POPダンスポップ", "J-pop dance pop"),
    "J-pop 서정 팝": ("J-POP叙情ポップ", "Lyrical J-pop"),
    "서정 팝": ("叙情ポップ", "Lyrical pop"),
    "일렉트로 팝": ("エレクトロポップ", "Electropop"),
    "일렉트로닉": ("エレクトロニック", "Electronic"),
    "시티팝": ("シティポップ", "City pop"),
    "아이돌 팝": ("アイドルポップ", "Idol pop"),
    "힙합": ("ヒップホップ", "Hip-hop"),
    "재즈": ("ジャズ", "Jazz"),
    "포크": ("フォーク", "Folk"),
    "엔카": ("演歌", "Enka"),
    "트로트": ("トロット", "Trot"),
    "메탈": ("メタル", "Metal"),
    "펑크": ("パンク", "Punk"),
    "펑크 록": ("パンクロック", "Punk rock"),
    "얼터너티브 록": ("オルタナティブロック", "Alternative rock"),
    "인디": ("インディー", "Indie"),
    "소울": ("ソウル", "Soul"),
    "애니송": ("アニソン", "Anime song"),
    "애니메이션": ("アニメ", "Anime"),
    "보컬로이드": ("ボーカロイド", "Vocaloid"),
}
#: What callers call a day rather than a song (`engine.settings.SituationTable.occasions`).
_OCCASIONS: Mapping[str, tuple[str, str]] = {
    "비 오는 날": ("雨の日", "a rainy day"),
    "우울한 날": ("憂うつな日", "a blue day"),
    "기분 좋은 날": ("気分のいい日", "a good day"),
    "화나는 날": ("むしゃくしゃする日", "an angry day"),
    "사랑에 빠진 날": ("恋する日", "a day in love"),
    "이별한 날": ("別れの日", "a breakup"),
    "위로가 필요한 날": ("慰めがほしい日", "a day that needs comfort"),
}
_NAMES: Mapping[str, tuple[str, str]] = {
    **{term_key(word): names for word, names in _OCCASIONS.items()},
    **{term_key(word): (mood.ja, mood.en) for word, mood in _MOODS.items()},
    **{term_key(mood.ko): (mood.ja, mood.en) for mood in _MOODS.values()},
    **{term_key(word): names for word, names in _GENRES.items()},
}
_MOOD_BY_KEY = {
    **{term_key(word): mood for word, mood in _MOODS.items()},
    **{term_key(mood.ko): mood for mood in _MOODS.values()},
}
#: Last syllables of a Korean word that describes as it stands: 밝은, 신나는, 잔잔한, 희망찬, 빛나던.
_DESCRIBES = ("은", "는", "한", "운", "인", "린", "진", "찬", "픈", "친", "던", "로운", "스런")

MOOD_WORDS = tuple(_MOODS)
GENRE_WORDS = tuple(_GENRES)


def term_in(locale: Locale, name: str) -> str:
    """A genre or mood word in the reader's language, where it is known: whole, or word by word."""
    if locale is Locale.KO:
        return name
    place = 0 if locale is Locale.JA else 1
    if names := _NAMES.get(term_key(name)):
        return names[place]
    words = [_NAMES.get(term_key(word)) for word in name.split()]
    if not words or not all(words):
        return name
    return ("" if locale is Locale.JA else " ").join(found[place] for found in words if found)


def is_readable(locale: Locale, name: str) -> bool:
    """Whether a name may stand in a sentence of that language: a Korean word in a Japanese one may not."""
    return locale is Locale.KO or not has_hangul(name)


def describing(locale: Locale, mood: str) -> str:
    """The mood as it stands before a noun: 감성적 → 감성적인, 懐かしい, Emotional."""
    known = _MOOD_BY_KEY.get(term_key(mood))
    if locale is Locale.EN:
        return term_in(locale, mood)
    if locale is Locale.JA:
        return known.ja_before if known else f"{term_in(locale, mood)}な"
    return known.ko if known else _described(mood)


def _described(mood: str) -> str:
    if mood.endswith("적"):
        return f"{mood}인"
    return mood if mood.endswith(_DESCRIBES) else f"{mood} 느낌의"


def key_words(name: str) -> list[str]:
    """Keys of a value of several words, the most special first: J-pop 서정 팝, 서정 팝, 팝, J-pop."""
    words = name.split()
    endings = [" ".join(words[start:]) for start in range(len(words))]
    return [term_key(part) for part in dict.fromkeys([*endings, *words])]
