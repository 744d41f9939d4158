"""Holds every line the engine itself says to a member, in Korean, Japanese and English."""

from __future__ import annotations

from collections.abc import Mapping

from engine.text import particle, term_key
from engine.types import Activity, GroupKind, Locale, SongView, TimeOfDay

#: A tagline is the heading on a phone: one line.
TAGLINE_LENGTH = 20


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
        "anime": "「{liked}」{liked:과/와} 같은 작품, {anime}의 노래예요.",
        "together": "「{liked}」{liked:을/를} 좋아하는 회원들이 함께 좋아한 노래예요.",
        "genre_mood": "「{liked}」처럼 {mood} 분위기의 {genre} 노래예요.",
        "genre": "「{liked}」{liked:과/와} 같은 {genre} 장르의 노래예요.",
        "mood": "「{liked}」{liked:과/와} 같은 {mood} 분위기의 노래예요.",
        "situation": "지금 상황에 어울려서 골랐어요.",
        "two": "「{liked}」, 「{second}」{second:을/를} 좋아하셔서 골랐어요.",
        "one": "「{liked}」{liked:을/를} 좋아하셔서 골랐어요.",
        "alike": "「{liked}」{liked:과/와} 결이 비슷한 노래예요.",
        "trending": "요즘 좋아하는 회원이 부쩍 늘어난 노래예요.",
        "popular": "많은 회원이 좋아하는 노래예요.",
        "fresh": "최근에 새로 들어온 노래예요.",
        "sample": "처음 둘러보기 좋게 고른 {genre} 노래예요.",
        "plain": "가볍게 둘러보기 좋은 노래예요.",
    },
    Locale.JA: {
        "explored": "いつもの好みから一歩出て選んだ曲です。",
        "tried": "新しく試しに選んだ曲です。",
        "artist": "「{liked}」を歌う{artist}の別の曲です。",
        "anime": "「{liked}」と同じ作品「{anime}」の曲です。",
        "together": "「{liked}」が好きな会員が一緒に選んでいる曲です。",
        "genre_mood": "「{liked}」と同じく、{genre}・{mood}の曲です。",
        "genre": "「{liked}」と同じジャンル({genre})の曲です。",
        "mood": "「{liked}」と同じ雰囲気({mood})の曲です。",
        "situation": "今のシーンに合わせて選びました。",
        "two": "「{liked}」と「{second}」がお好きなので選びました。",
        "one": "「{liked}」がお好きなので選びました。",
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
        "together": "Members who like “{liked}” like this one too.",
        "genre_mood": "{genre} with the same mood as “{liked}”: {mood}.",
        "genre": "Same genre as “{liked}”: {genre}.",
        "mood": "Same mood as “{liked}”: {mood}.",
        "situation": "Picked to suit the moment.",
        "two": "Because you like “{liked}” and “{second}”.",
        "one": "Because you like “{liked}”.",
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
        GroupKind.ARTIST: "{subject} 더 듣기",
        GroupKind.POPULAR: "지금 인기 있는 노래",
        GroupKind.FRESH: "새로 들어온 노래",
    },
    Locale.JA: {
        GroupKind.HIDDEN_GEMS: "隠れた名曲",
        GroupKind.CROSSOVER: "ジャンルの冒険: {subject}",
        GroupKind.ARTIST_EXPANSION: "新しいアーティスト",
        GroupKind.ARTIST: "{subject}をもっと",
        GroupKind.POPULAR: "いま人気の曲",
        GroupKind.FRESH: "新しく入った曲",
    },
    Locale.EN: {
        GroupKind.HIDDEN_GEMS: "Hidden gems",
        GroupKind.CROSSOVER: "Crossover: {subject}",
        GroupKind.ARTIST_EXPANSION: "New artists for you",
        GroupKind.ARTIST: "More of {subject}",
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
        "mood": "{subject}な気分の曲",
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
    },
}

#: Reviewed lines; each at most TAGLINE_LENGTH characters and one emoji. A test counts.
TAGLINES: Mapping[Locale, Mapping[GroupKind, tuple[str, ...]]] = {
    Locale.KO: {
        GroupKind.TASTE: (
            "취향 저격 모음 🎯",
            "딱 좋아하실 곡들",
            "취향대로 골랐어요 🎧",
            "믿고 부르는 내 취향",
        ),
        GroupKind.GENRE: ("이 장르로 한 곡 더 🎵", "장르로 모아 봤어요", "한 가지 색으로 쭉"),
        GroupKind.MOOD: ("오늘은 이런 분위기 ✨", "분위기로 모았어요", "이 느낌 그대로"),
        GroupKind.ARTIST: ("한 곡 더, 이 목소리 🎤", "이 가수의 다른 노래", "목소리에 빠져 보세요"),
        GroupKind.ANIME: ("그 작품의 그 노래 📺", "장면이 떠오르는 노래", "작품으로 모았어요"),
        GroupKind.HIDDEN_GEMS: ("나만 알고 싶은 노래 💎", "숨은 명곡 발견", "아직 덜 알려진 노래"),
        GroupKind.CROSSOVER: ("새 장르로 한 걸음 🚀", "낯설지만 끌리는 소리", "장르의 벽을 넘어"),
        GroupKind.ARTIST_EXPANSION: (
            "새로운 목소리 만나기 🌱",
            "이 가수는 어때요?",
            "취향을 넓혀 볼까요",
        ),
        GroupKind.SITUATION: ("지금 이 순간에 🌙", "지금 부르기 좋은 노래", "이럴 때 이 노래"),
        GroupKind.POPULAR: (
            "모두가 좋아하는 노래 🔥",
            "지금 가장 사랑받는 곡",
            "같이 부르기 좋은 곡",
        ),
        GroupKind.FRESH: ("갓 들어온 노래 🆕", "새 노래 먼저 부르기", "새로 만나는 노래"),
    },
    Locale.JA: {
        GroupKind.TASTE: ("好みにぴったり 🎯", "きっと好きな曲", "お気に入りの予感 🎧"),
        GroupKind.GENRE: (
            "このジャンルでもう一曲 🎵",
            "ジャンルで集めました",
            "同じ色の曲を続けて",
        ),
        GroupKind.MOOD: ("今日はこの気分 ✨", "雰囲気で集めました", "この感じのままで"),
        GroupKind.ARTIST: ("この声をもう一曲 🎤", "この歌手の別の曲", "声に浸る時間"),
        GroupKind.ANIME: ("あの作品のあの曲 📺", "場面がよみがえる曲", "作品で集めました"),
        GroupKind.HIDDEN_GEMS: ("知る人ぞ知る一曲 💎", "隠れた名曲を発見", "まだ知られていない曲"),
        GroupKind.CROSSOVER: (
            "新しいジャンルへ一歩 🚀",
            "新鮮なのに惹かれる",
            "ジャンルの壁を越えて",
        ),
        GroupKind.ARTIST_EXPANSION: ("新しい声に出会う 🌱", "この歌手はいかが?", "好みを広げよう"),
        GroupKind.SITUATION: ("今この瞬間に 🌙", "今歌いたい曲", "こんな時はこの曲"),
        GroupKind.POPULAR: ("みんなが好きな曲 🔥", "いま一番愛される曲", "一緒に歌いたい曲"),
        GroupKind.FRESH: ("入ったばかりの曲 🆕", "新曲を先取り", "はじめまして の曲"),
    },
    Locale.EN: {
        GroupKind.TASTE: ("Right up your street", "Made for your taste", "Just your style 🎯"),
        GroupKind.GENRE: ("One more of these 🎵", "Same genre, new song", "Keep the sound"),
        GroupKind.MOOD: ("Today's mood ✨", "Stay in the mood", "Same feeling"),
        GroupKind.ARTIST: ("More of this voice 🎤", "One more by them", "That voice again"),
        GroupKind.ANIME: ("From that anime 📺", "Songs of the show", "Replay the scene"),
        GroupKind.HIDDEN_GEMS: ("Few know these yet 💎", "Hidden gems found", "Still a secret"),
        GroupKind.CROSSOVER: ("A step beyond 🚀", "Try a new genre", "Across genres"),
        GroupKind.ARTIST_EXPANSION: (
            "Meet new voices 🌱",
            "Try these artists",
            "Widen your circle",
        ),
        GroupKind.SITUATION: ("For right now 🌙", "Sing it now", "Made for the moment"),
        GroupKind.POPULAR: ("Loved by many 🔥", "Everyone sings these", "Most loved now"),
        GroupKind.FRESH: ("Just arrived 🆕", "Be the first to sing", "New to sing"),
    },
}

#: Words of the catalog's hand-written columns in the other languages; any other word stays as it is.
_WORDS: Mapping[str, tuple[str, str]] = {
    "팝": ("ポップ", "Pop"),
    "록": ("ロック", "Rock"),
    "팝 록": ("ポップロック", "Pop rock"),
    "발라드": ("バラード", "Ballad"),
    "댄스팝": ("ダンスポップ", "Dance pop"),
    "J-pop 댄스팝": ("J-POPダンスポップ", "J-pop dance pop"),
    "J-pop 서정 팝": ("J-POP叙情ポップ", "Lyrical J-pop"),
    "일렉트로 팝": ("エレクトロポップ", "Electropop"),
    "힙합": ("ヒップホップ", "Hip-hop"),
    "재즈": ("ジャズ", "Jazz"),
    "애니메이션": ("アニメ", "Anime"),
    "보컬로이드": ("ボーカロイド", "Vocaloid"),
    "에너지": ("エネルギッシュ", "Energetic"),
    "감성적": ("エモーショナル", "Emotional"),
    "강렬": ("強烈", "Intense"),
    "잔잔": ("穏やか", "Calm"),
    "신나는": ("楽しい", "Upbeat"),
    "서정적": ("叙情的", "Lyrical"),
}
_WORDS_BY_KEY = {term_key(word): words for word, words in _WORDS.items()}


def term_in(locale: Locale, name: str) -> str:
    """A genre or mood word in the reader's language, where it is known."""
    if locale is Locale.KO:
        return name
    japanese, english = _WORDS_BY_KEY.get(term_key(name), (name, name))
    return japanese if locale is Locale.JA else english


def tagline(kind: GroupKind, locale: Locale, seed: int) -> str:
    """A reviewed line; another seed may give another one."""
    lines = TAGLINES[locale][kind]
    return lines[seed % len(lines)]
