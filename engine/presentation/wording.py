"""Holds every sentence and label the engine shows to members, in Korean, Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping

from engine.catalog.text import particle
from engine.presentation.vocabulary import describing, term_in
from engine.types import Activity, GroupKind, Locale, SongView, TimeOfDay


class Spoken(str):
    """A name inside a sentence: `{name:을/를}` gives the particle that fits its last sound."""

    reading: str = ""

    @classmethod
    def of(cls, name: str, reading: str = "") -> Spoken:
        made = cls(name)
        made.reading = reading
        return made

    def __format__(self, form: str) -> str:
        return particle(self, form, self.reading) if "/" in form else str(self)


def title_of(song: SongView, locale: Locale) -> Spoken:
    """The title a reader of that language knows best."""
    if locale is Locale.KO:
        title = song.title_kr or song.title_jp or song.title_en
        return Spoken.of(title, song.title_yomi_kr or song.title_en_kr or song.title_yomi)
    if locale is Locale.JA:
        return Spoken.of(song.title_jp or song.title_en or song.title_kr)
    return Spoken.of(song.title_en or song.title_jp or song.title_kr)


def artist_of(song: SongView, locale: Locale) -> Spoken:
    if locale is Locale.KO:
        return Spoken.of(song.artist_kr or song.artist)
    return Spoken.of(song.artist or song.artist_kr)


REASONS: Mapping[Locale, Mapping[str, str]] = {
    Locale.KO: {
        "explored": "평소 듣던 곡에서 한 걸음 벗어나 골라 본 노래예요.",
        "tried": "새롭게 한번 골라 본 노래예요.",
        "artist": "「{liked}」{liked:을/를} 부른 {artist}의 다른 노래예요.",
        "anime": "「{liked}」{liked:과/와} 같은 작품 〈{anime}〉의 노래예요.",
        "same_anime": "「{liked}」{liked:과/와} 같은 작품의 노래예요.",
        "together": "「{liked}」{liked:을/를} 좋아하는 회원들이 함께 좋아한 노래예요.",
        "genre_mood": "「{liked}」처럼 {mood} {genre}{genre:이에요/예요}.",
        "genre": "「{liked}」{liked:과/와} 같은 {genre} 장르의 노래예요.",
        "mood": "「{liked}」처럼 {mood} 노래예요.",
        "situation_mood": "{moment} 어울리는 {mood} 노래예요.",
        "situation_genre": "{moment} 어울리는 {genre}{genre:이에요/예요}.",
        "asked_mood": "찾으신 대로 {mood} 노래예요.",
        "two": "「{liked}」{liked:과/와} 「{second}」{second:을/를} 좋아하셔서 골랐어요.",
        "one": "「{liked}」{liked:을/를} 좋아하셔서 골랐어요.",
        "sung": "「{liked}」{liked:을/를} 부르셔서 골랐어요.",
        "heard": "「{liked}」에 관심을 보이셔서 골랐어요.",
        "alike": "「{liked}」{liked:과/와} 결이 비슷한 노래예요.",
        "trending": "요즘 좋아하는 회원이 부쩍 늘어난 노래예요.",
        "popular": "많은 회원이 좋아하는 노래예요.",
        "fresh": "최근에 새로 들어온 노래예요.",
        "sample": "처음 둘러보기 좋게 고른 {genre}{genre:이에요/예요}.",
        "plain": "가볍게 둘러보기 좋은 노래예요.",
    },
    Locale.JA: {
        "explored": "いつもの好みから一歩出て選んだ曲です。",
        "tried": "新しく試しに選んだ曲です。",
        "artist": "「{liked}」を歌う{artist}の別の曲です。",
        "anime": "「{liked}」と同じ作品「{anime}」の曲です。",
        "same_anime": "「{liked}」と同じ作品の曲です。",
        "together": "「{liked}」が好きな会員が一緒に選んでいる曲です。",
        "genre_mood": "「{liked}」のように{mood}{genre}です。",
        "genre": "「{liked}」と同じジャンル({genre})の曲です。",
        "mood": "「{liked}」のように{mood}曲です。",
        "situation_mood": "{moment}ぴったりの{mood}曲です。",
        "situation_genre": "{moment}ぴったりの{genre}です。",
        "asked_mood": "ご希望どおりの{mood}曲です。",
        "two": "「{liked}」と「{second}」がお好きなので選びました。",
        "one": "「{liked}」がお好きなので選びました。",
        "sung": "「{liked}」を歌われたので選びました。",
        "heard": "「{liked}」に関心をお持ちのようなので選びました。",
        "alike": "「{liked}」に似た曲です。",
        "trending": "最近好きな会員が急に増えている曲です。",
        "popular": "多くの会員が好きな曲です。",
        "fresh": "最近追加された曲です。",
        "sample": "はじめての方に選んだ{genre}の曲です。",
        "plain": "気軽に試せる曲です。",
    },
    Locale.EN: {
        "explored": "A step away from what you usually like.",
        "tried": "Something to try.",
        "artist": "Another song by {artist}, who sings “{liked}”.",
        "anime": "From {anime}, like “{liked}”.",
        "same_anime": "From the same anime as “{liked}”.",
        "together": "Members who like “{liked}” like this one too.",
        "genre_mood": "{genre} with the same mood as “{liked}”: {mood}.",
        "genre": "Same genre as “{liked}”: {genre}.",
        "mood": "Same mood as “{liked}”: {mood}.",
        "situation_mood": "{mood}, good {moment}.",
        "situation_genre": "{genre}, good {moment}.",
        "asked_mood": "{mood}, as you asked.",
        "two": "Because you like “{liked}” and “{second}”.",
        "one": "Because you like “{liked}”.",
        "sung": "Because you sang “{liked}”.",
        "heard": "Because you took an interest in “{liked}”.",
        "alike": "Much like “{liked}”.",
        "trending": "More and more members like it these days.",
        "popular": "Many members like it.",
        "fresh": "New in the catalog.",
        "sample": "{genre}, for a first look around.",
        "plain": "An easy one to try.",
    },
}

CRITERIA: Mapping[Locale, Mapping[str, str]] = {
    Locale.KO: {
        "explored": "새로운 시도",
        "artist": "같은 가수",
        "anime": "같은 작품",
        "together": "함께 좋아한 곡",
        "genre": "장르: {name}",
        "mood": "분위기: {name}",
        "situation": "지금 상황",
        "trending": "상승세",
        "popular": "인기곡",
        "fresh": "신곡",
    },
    Locale.JA: {
        "explored": "新しい試み",
        "artist": "同じ歌手",
        "anime": "同じ作品",
        "together": "一緒に好まれる曲",
        "genre": "ジャンル: {name}",
        "mood": "雰囲気: {name}",
        "situation": "今のシーン",
        "trending": "上昇中",
        "popular": "人気曲",
        "fresh": "新着",
    },
    Locale.EN: {
        "explored": "Something new",
        "artist": "Same artist",
        "anime": "Same anime",
        "together": "Liked together",
        "genre": "Genre: {name}",
        "mood": "Mood: {name}",
        "situation": "Suits the moment",
        "trending": "Rising",
        "popular": "Popular",
        "fresh": "New",
    },
}

LABELS: Mapping[Locale, Mapping[GroupKind, str]] = {
    Locale.KO: {
        GroupKind.HIDDEN_GEMS: "숨겨진 보석",
        GroupKind.CROSSOVER: "장르 크로스오버: {subject}",
        GroupKind.ARTIST_EXPANSION: "아티스트 확장",
        GroupKind.ARTIST: "아티스트 픽: {subject}",
        GroupKind.POPULAR: "지금 인기 있는 노래",
        GroupKind.FRESH: "새로 들어온 노래",
    },
    Locale.JA: {
        GroupKind.HIDDEN_GEMS: "隠れた名曲",
        GroupKind.CROSSOVER: "ジャンルの冒険: {subject}",
        GroupKind.ARTIST_EXPANSION: "新しいアーティスト",
        GroupKind.ARTIST: "アーティスト: {subject}",
        GroupKind.POPULAR: "いま人気の曲",
        GroupKind.FRESH: "新しく入った曲",
    },
    Locale.EN: {
        GroupKind.HIDDEN_GEMS: "Hidden gems",
        GroupKind.CROSSOVER: "Crossover: {subject}",
        GroupKind.ARTIST_EXPANSION: "New artists for you",
        GroupKind.ARTIST: "Artist pick: {subject}",
        GroupKind.POPULAR: "Popular now",
        GroupKind.FRESH: "New arrivals",
    },
}

SITUATIONS: Mapping[Locale, Mapping[str, str]] = {
    Locale.KO: {
        TimeOfDay.MORNING: "아침에 어울리는 노래",
        TimeOfDay.AFTERNOON: "오후에 어울리는 노래",
        TimeOfDay.EVENING: "저녁에 어울리는 노래",
        TimeOfDay.NIGHT: "밤에 어울리는 노래",
        Activity.WORKOUT: "운동할 때 듣는 노래",
        Activity.STUDY: "공부할 때 듣는 노래",
        Activity.REST: "쉴 때 듣는 노래",
        Activity.PARTY: "파티에서 부르는 노래",
        Activity.COMMUTE: "오가는 길에 듣는 노래",
        Activity.SLEEP: "잠들기 전에 듣는 노래",
        "mood": "{subject} 기분에 맞춘 노래",
        "occasion": "{subject}에 어울리는 노래",
    },
    Locale.JA: {
        TimeOfDay.MORNING: "朝に合う曲",
        TimeOfDay.AFTERNOON: "午後に合う曲",
        TimeOfDay.EVENING: "夕方に合う曲",
        TimeOfDay.NIGHT: "夜に合う曲",
        Activity.WORKOUT: "運動のときの曲",
        Activity.STUDY: "勉強のときの曲",
        Activity.REST: "休むときの曲",
        Activity.PARTY: "パーティーで歌う曲",
        Activity.COMMUTE: "移動中に聴く曲",
        Activity.SLEEP: "眠る前に聴く曲",
        "mood": "{subject}気分の曲",
        "occasion": "{subject}に合う曲",
    },
    Locale.EN: {
        TimeOfDay.MORNING: "For the morning",
        TimeOfDay.AFTERNOON: "For the afternoon",
        TimeOfDay.EVENING: "For the evening",
        TimeOfDay.NIGHT: "For the night",
        Activity.WORKOUT: "For a workout",
        Activity.STUDY: "For studying",
        Activity.REST: "For a rest",
        Activity.PARTY: "For a party",
        Activity.COMMUTE: "For the way",
        Activity.SLEEP: "Before sleep",
        "mood": "In the mood: {subject}",
        "occasion": "For {subject}",
    },
}

#: What comes before "어울리는", "ぴったりの" and after "good".
_MOMENTS: Mapping[Locale, Mapping[str, str]] = {
    Locale.KO: {
        TimeOfDay.MORNING: "아침에",
        TimeOfDay.AFTERNOON: "오후에",
        TimeOfDay.EVENING: "저녁에",
        TimeOfDay.NIGHT: "밤에",
        Activity.WORKOUT: "운동할 때",
        Activity.STUDY: "공부할 때",
        Activity.REST: "쉴 때",
        Activity.PARTY: "파티에",
        Activity.COMMUTE: "오가는 길에",
        Activity.SLEEP: "잠들기 전에",
        "occasion": "{subject}에",
    },
    Locale.JA: {
        TimeOfDay.MORNING: "朝に",
        TimeOfDay.AFTERNOON: "午後に",
        TimeOfDay.EVENING: "夕方に",
        TimeOfDay.NIGHT: "夜に",
        Activity.WORKOUT: "運動に",
        Activity.STUDY: "勉強に",
        Activity.REST: "休憩に",
        Activity.PARTY: "パーティーに",
        Activity.COMMUTE: "移動中に",
        Activity.SLEEP: "眠る前に",
        "occasion": "{subject}に",
    },
    Locale.EN: {
        TimeOfDay.MORNING: "for the morning",
        TimeOfDay.AFTERNOON: "for the afternoon",
        TimeOfDay.EVENING: "for the evening",
        TimeOfDay.NIGHT: "for the night",
        Activity.WORKOUT: "for a workout",
        Activity.STUDY: "for studying",
        Activity.REST: "for a rest",
        Activity.PARTY: "for a party",
        Activity.COMMUTE: "for the way",
        Activity.SLEEP: "before sleep",
        "occasion": "for {subject}",
    },
}


def moment_of(locale: Locale, situation: str) -> str:
    """When a song is good: of a time of day, an activity, or an occasion in the words of staff."""
    moments = _MOMENTS[locale]
    name = term_in(locale, situation)
    return moments.get(situation) or moments["occasion"].format(subject=name)


def situation_label(locale: Locale, situation: str, *, is_mood: bool) -> str:
    """The label of a group for a time of day, an activity, an occasion, or (is_mood) a mood of the catalog."""
    labels = SITUATIONS[locale]
    if is_mood:
        return labels["mood"].format(subject=describing(locale, situation))
    occasion = labels["occasion"].format(subject=term_in(locale, situation))
    return labels.get(situation, occasion)


def value_label(locale: Locale, *, mood: str = "", genre: str = "") -> str:
    """The label of a group of one mood, one genre, or both: 신나는 시티팝, 잔잔한 노래, 록."""
    if not mood:
        return term_in(locale, genre)
    before = describing(locale, mood)
    if not genre:
        return before + {Locale.KO: " 노래", Locale.JA: "曲", Locale.EN: " songs"}[locale]
    return before + ("" if locale is Locale.JA else " ") + term_in(locale, genre)
