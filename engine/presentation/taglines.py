"""Holds the reviewed lines above the groups, and chooses one for each group.

The line is the heading on a phone: it says what the group is about, in words of its mood, genre, artist
or situation, wherever there are any. A test counts the characters of every line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from engine.catalog.text import has_hangul, term_key
from engine.presentation.vocabulary import key_words, term_in
from engine.types import GroupKind, Locale

#: One line on a phone.
TAGLINE_LENGTH = 20

Lines = Mapping[str, tuple[str, ...]]
KO, JA, EN = Locale.KO, Locale.JA, Locale.EN


def _keyed(lines: Mapping[str, tuple[str, ...]]) -> Lines:
    return {term_key(word): found for word, found in lines.items()}


MOOD_LINES: Mapping[Locale, Lines] = {
    KO: _keyed({
        "에너지": ("에너지 충전하는 노래 ⚡", "목청껏 달려 볼까요"),
        "강렬": ("제대로 지르는 시간 🔥", "첫 소절부터 강렬하게"),
        "신나는": ("어깨가 들썩이는 노래 🎉", "분위기 띄우는 한 곡"),
        "밝은": ("기분까지 환해져요 🌼", "웃으며 부르는 노래"),
        "희망찬": ("다시 힘이 나는 노래 🌅", "내일이 기대되는 노래"),
        "청량한": ("여름 바람 같은 노래 🌊", "탄산처럼 톡 쏘는 노래"),
        "설렘": ("두근두근 설레는 노래 💓", "첫사랑이 떠오르는 곡"),
        "따뜻한": ("마음이 포근해지는 곡 🧣", "온기 가득한 노래"),
        "그루브": ("리듬을 타 볼까요 🎶", "몸이 먼저 움직이는 곡"),
        "감성적": ("감성에 푹 젖는 노래 🌙", "마음을 건드리는 노래"),
        "서정적": ("가사에 귀 기울이며 🍃", "한 편의 시 같은 노래"),
        "잔잔": ("조용히 부르고 싶은 날 🌿", "잔잔하게 스며드는 노래"),
        "애절한": ("가슴이 시린 노래 💧", "눈물 꾹 참고 부르기"),
        "슬픈": ("오늘은 울어도 괜찮아 💧", "슬픔을 달래 주는 노래"),
        "추억": ("그 시절 그 노래 📼", "추억을 꺼내 부르기"),
        "몽환적": ("꿈결 같은 노래 🌌", "구름 위를 걷는 기분"),
        "어두운": ("짙은 밤 같은 노래 🌑", "어둠이 매력인 노래"),
        "경쾌": ("발걸음이 가벼운 노래 👟", "경쾌하게 한 곡"),
        "웅장": ("영화처럼 웅장하게 🎬", "가슴이 벅찬 노래"),
        "귀여운": ("귀여움이 한가득 🐰", "애교 담아 한 곡"),
        "로맨틱": ("고백하고 싶은 노래 💌", "로맨틱하게 한 곡"),
    }),
    JA: _keyed({
        "에너지": ("元気を充電する曲 ⚡", "全力で歌いたい曲"),
        "강렬": ("思いきり叫ぶ時間 🔥", "一声目から強烈に"),
        "신나는": ("体が弾む曲 🎉", "場を盛り上げる一曲"),
        "밝은": ("気分が晴れる曲 🌼", "笑顔で歌う曲"),
        "희망찬": ("また頑張れる曲 🌅", "明日が楽しみになる曲"),
        "청량한": ("夏風みたいな曲 🌊", "ソーダのように爽やか"),
        "설렘": ("胸がときめく曲 💓", "初恋を思い出す曲"),
        "따뜻한": ("心が温まる曲 🧣", "ぬくもりのある曲"),
        "그루브": ("リズムに乗ろう 🎶", "体が先に動く曲"),
        "감성적": ("感情に浸る曲 🌙", "心にふれる曲"),
        "서정적": ("歌詞に耳を澄ませて 🍃", "一編の詩のような曲"),
        "잔잔": ("静かに歌いたい日 🌿", "そっと染みる曲"),
        "애절한": ("胸が締めつけられる曲 💧", "涙をこらえて歌う曲"),
        "슬픈": ("今日は泣いてもいい 💧", "悲しみに寄り添う曲"),
        "추억": ("あの頃のあの曲 📼", "思い出を歌おう"),
        "몽환적": ("夢の中のような曲 🌌", "雲の上を歩く気分"),
        "어두운": ("深い夜のような曲 🌑", "闇が魅力の曲"),
        "경쾌": ("足取りが軽くなる曲 👟", "軽やかに一曲"),
        "웅장": ("映画のように壮大に 🎬", "胸が熱くなる曲"),
        "귀여운": ("かわいさいっぱい 🐰", "かわいく一曲"),
        "로맨틱": ("告白したくなる曲 💌", "ロマンチックに一曲"),
    }),
    EN: _keyed({
        "에너지": ("Charge up ⚡", "Sing at full power"),
        "강렬": ("Let it all out 🔥", "Fierce from bar one"),
        "신나는": ("Get moving 🎉", "Lift the room"),
        "밝은": ("Bright and sunny 🌼", "Sing with a smile"),
        "희망찬": ("New strength 🌅", "Looking to tomorrow"),
        "청량한": ("A summer breeze 🌊", "Fresh as soda"),
        "설렘": ("Butterflies 💓", "Like a first love"),
        "따뜻한": ("Warm your heart 🧣", "Full of warmth"),
        "그루브": ("Ride the rhythm 🎶", "Feel the groove"),
        "감성적": ("All the feels 🌙", "Touches the heart"),
        "서정적": ("Mind the lyrics 🍃", "Songs like poems"),
        "잔잔": ("A quiet one 🌿", "Soft and slow"),
        "애절한": ("Heartbreak songs 💧", "Hold back the tears"),
        "슬픈": ("It's fine to cry 💧", "Songs for a sad day"),
        "추억": ("Those days 📼", "Sing old memories"),
        "몽환적": ("Like a dream 🌌", "Walking on clouds"),
        "어두운": ("Dark as the night 🌑", "The charm of dark"),
        "경쾌": ("Light on your feet 👟", "A breezy one"),
        "웅장": ("Big as a film 🎬", "Grand and soaring"),
        "귀여운": ("Cute overload 🐰", "Sing it sweetly"),
        "로맨틱": ("To confess with 💌", "A romantic one"),
    }),
}  # fmt: skip

GENRE_LINES: Mapping[Locale, Lines] = {
    KO: _keyed({
        "팝": ("흥얼거리게 되는 팝 🎵", "입에 착 붙는 팝"),
        "록": ("밴드 사운드에 흠뻑 🎸", "심장이 뛰는 록"),
        "발라드": ("진심을 담아 발라드 🎤", "한 소절에 울컥하는 곡"),
        "댄스팝": ("춤추며 부르는 노래 💃", "무대 위 주인공처럼"),
        "서정 팝": ("가만히 번지는 J-pop 🍂", "가사가 고운 J-pop"),
        "일렉트로 팝": ("전자음에 실려 🎛", "비트가 반짝이는 노래"),
        "시티팝": ("도시의 밤 드라이브 🌃", "네온 빛 시티팝"),
        "아이돌 팝": ("응원봉 들고 함께 ✨", "최애처럼 불러 보기"),
        "힙합": ("박자를 타는 힙합 🧢", "랩에 도전해 볼까요"),
        "R&B": ("느긋하게 R&B 한 곡 🍷", "끈적하게 R&B"),
        "재즈": ("재즈 바에 온 듯 🎷", "스윙에 몸을 맡기고"),
        "포크": ("통기타 하나면 충분 🪕", "이야기 같은 포크"),
        "엔카": ("구성지게 한 가락 🍶", "꺾는 맛, 엔카"),
        "메탈": ("머리를 흔들어요 🤘", "끝까지 내지르는 메탈"),
        "펑크 록": ("짧고 굵게 펑크 록 🎸", "뛰면서 부르는 노래"),
        "얼터너티브 록": ("개성 가득한 밴드 🎸", "결이 다른 록"),
        "애니송": ("주인공이 되는 시간 📺", "명장면이 떠오르는 곡"),
        "보컬로이드": ("보컬로이드 명곡 🎹", "빠른 가사에 도전"),
    }),
    JA: _keyed({
        "팝": ("口ずさみたくなるポップ 🎵", "耳に残るポップ"),
        "록": ("バンドの音に浸る 🎸", "心が走るロック"),
        "발라드": ("心を込めてバラード 🎤", "一節で泣ける曲"),
        "댄스팝": ("踊りながら歌う曲 💃", "ステージの主役気分"),
        "서정 팝": ("静かに広がるJ-POP 🍂", "歌詞が美しいJ-POP"),
        "일렉트로 팝": ("電子音に乗って 🎛", "ビートがきらめく曲"),
        "시티팝": ("夜の街をドライブ 🌃", "ネオン色のシティポップ"),
        "아이돌 팝": ("ペンライトを振って ✨", "推しになりきって"),
        "힙합": ("ビートに乗るヒップホップ 🧢", "ラップに挑戦"),
        "R&B": ("ゆったりR&Bを 🍷", "しっとりR&B"),
        "재즈": ("ジャズバーの気分 🎷", "スウィングに身を任せて"),
        "포크": ("ギター一本で 🪕", "物語のようなフォーク"),
        "엔카": ("こぶしを回して 🍶", "じっくり演歌"),
        "메탈": ("頭を振ろう 🤘", "叫びきるメタル"),
        "펑크 록": ("短く熱くパンク 🎸", "跳びながら歌う曲"),
        "얼터너티브 록": ("個性あふれるバンド 🎸", "ひと味違うロック"),
        "애니송": ("主人公になる時間 📺", "名場面がよみがえる曲"),
        "보컬로이드": ("ボカロの名曲 🎹", "早口の歌詞に挑戦"),
    }),
    EN: _keyed({
        "팝": ("Pop to hum 🎵", "Catchy pop"),
        "록": ("Turn up the band 🎸", "Rock that runs"),
        "발라드": ("Sing a ballad 🎤", "One line and tears"),
        "댄스팝": ("Sing and dance 💃", "Star of the stage"),
        "서정 팝": ("Gentle J-pop 🍂", "J-pop with words"),
        "일렉트로 팝": ("Electric nights 🎛", "Sparkling beats"),
        "시티팝": ("City night drive 🌃", "Neon city pop"),
        "아이돌 팝": ("Light sticks up ✨", "Be the idol"),
        "힙합": ("Ride the beat 🧢", "Try the rap"),
        "R&B": ("Slow R&B 🍷", "Smooth R&B"),
        "재즈": ("At the jazz bar 🎷", "Let it swing"),
        "포크": ("Just one guitar 🪕", "Folk that tells"),
        "엔카": ("Enka with feeling 🍶", "The turns of enka"),
        "메탈": ("Bang your head 🤘", "Metal to the end"),
        "펑크 록": ("Short, loud, punk 🎸", "Jump and sing"),
        "얼터너티브 록": ("Bands of their own 🎸", "Another kind of rock"),
        "애니송": ("Be the hero 📺", "Scenes come back"),
        "보컬로이드": ("Vocaloid classics 🎹", "Fast words, try them"),
    }),
}  # fmt: skip

#: By time of day or activity.
SITUATION_LINES: Mapping[Locale, Lines] = {
    KO: {
        "morning": ("상쾌한 아침의 노래 🌤", "하루를 여는 노래"),
        "afternoon": ("나른한 오후를 깨워요 ☕", "오후에 부르기 좋은 곡"),
        "evening": ("노을 질 때 한 곡 🌆", "하루 끝에 부르는 노래"),
        "night": ("깊은 밤에 어울려요 🌙", "밤에 더 좋은 노래"),
        "workout": ("한 세트 더, 이 노래로 💪", "심박수를 올려요"),
        "study": ("집중할 때 곁에 📚", "차분하게 머무는 노래"),
        "rest": ("잠깐 쉬어 가요 🌿", "숨을 고르는 노래"),
        "party": ("다 같이 떼창해요 🎉", "파티를 달구는 노래"),
        "commute": ("오가는 길이 가벼워요 🚌", "길 위에서 듣는 노래"),
        "sleep": ("잠들기 전 마지막 곡 😴", "하루를 덮는 자장가"),
    },
    JA: {
        "morning": ("さわやかな朝の曲 🌤", "一日を始める曲"),
        "afternoon": ("眠い午後に目覚めの曲 ☕", "午後に歌いたい曲"),
        "evening": ("夕焼けに一曲 🌆", "一日の終わりに歌う曲"),
        "night": ("深い夜に似合う曲 🌙", "夜こそ聴きたい曲"),
        "workout": ("この曲でもう1セット 💪", "心拍数を上げよう"),
        "study": ("集中のおともに 📚", "落ち着いて過ごす曲"),
        "rest": ("ちょっとひと休み 🌿", "息を整える曲"),
        "party": ("みんなで大合唱 🎉", "パーティーを熱くする曲"),
        "commute": ("道のりが軽くなる曲 🚌", "移動中に聴く曲"),
        "sleep": ("眠る前の最後の一曲 😴", "一日を閉じる子守歌"),
    },
    EN: {
        "morning": ("Fresh for morning 🌤", "Open the day"),
        "afternoon": ("Wake the afternoon ☕", "For a slow afternoon"),
        "evening": ("One at sunset 🌆", "At the day's end"),
        "night": ("For the deep night 🌙", "Better at night"),
        "workout": ("One more set 💪", "Raise the pulse"),
        "study": ("Stay focused 📚", "Calm company"),
        "rest": ("Take a break 🌿", "Catch your breath"),
        "party": ("Everybody sing 🎉", "Heat up the party"),
        "commute": ("For the way 🚌", "On the road"),
        "sleep": ("Last song of today 😴", "A lullaby"),
    },
}

#: Lines with a name in them; used where the whole fits.
NAMED_LINES: Mapping[Locale, Mapping[GroupKind, tuple[str, ...]]] = {
    KO: {
        GroupKind.TASTE: ("{artist} 좋아한다면 🎯",),
        GroupKind.GENRE: ("{subject} 한 곡 더 🎵", "{subject}, 이어서 부르기"),
        GroupKind.MOOD: ("{subject} 분위기 그대로 ✨",),
        GroupKind.ARTIST: ("{subject} 한 곡 더 🎤", "오늘은 {subject} 모음"),
        GroupKind.ANIME: ("{subject} 노래 📺", "{subject}의 그 노래"),
        GroupKind.CROSSOVER: ("{subject} 도전해 볼까요 🚀", "{subject}, 새로 만나기"),
        GroupKind.SITUATION: ("{subject}, 이런 노래 🎧",),
    },
    JA: {
        GroupKind.TASTE: ("{artist}が好きなら 🎯",),
        GroupKind.GENRE: ("{subject}をもう一曲 🎵", "{subject}を続けて"),
        GroupKind.MOOD: ("{subject}な気分のまま ✨",),
        GroupKind.ARTIST: ("{subject}をもう一曲 🎤", "今日は{subject}"),
        GroupKind.ANIME: ("{subject}の曲 📺", "{subject}のあの曲"),
        GroupKind.CROSSOVER: ("{subject}に挑戦 🚀", "{subject}と出会う"),
        GroupKind.SITUATION: ("{subject}にはこの曲 🎧",),
    },
    EN: {
        GroupKind.TASTE: ("If you like {artist}",),
        GroupKind.GENRE: ("More {subject} 🎵", "Still {subject}"),
        GroupKind.MOOD: ("{subject} mood ✨",),
        GroupKind.ARTIST: ("More {subject} 🎤", "{subject} today"),
        GroupKind.ANIME: ("From {subject} 📺", "Songs of {subject}"),
        GroupKind.CROSSOVER: ("Try {subject} 🚀", "Meet {subject}"),
        GroupKind.SITUATION: ("Songs: {subject} 🎧",),
    },
}

#: Lines for groups whose words have no reviewed line, and for groups that need no word.
TAGLINES: Mapping[Locale, Mapping[GroupKind, tuple[str, ...]]] = {
    KO: {
        GroupKind.TASTE: (
            "취향 저격 모음 🎯",
            "딱 좋아하실 곡들",
            "믿고 부르는 내 취향",
            "늘 찾던 그 느낌",
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
        GroupKind.SITUATION: ("지금 이 순간에 🎧", "지금 부르기 좋은 노래", "이럴 때 이 노래"),
        GroupKind.POPULAR: (
            "지금 뜨거운 노래 🔥",
            "지금 가장 사랑받는 곡",
            "같이 부르기 좋은 곡",
        ),
        GroupKind.FRESH: ("갓 들어온 노래 🆕", "새 노래 먼저 부르기", "새로 만나는 노래"),
    },
    JA: {
        GroupKind.TASTE: (
            "好みにぴったり 🎯",
            "きっと好きな曲",
            "お気に入りの予感 🎧",
            "いつもの感じで",
        ),
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
        GroupKind.SITUATION: ("今この瞬間に 🎧", "今歌いたい曲", "こんな時はこの曲"),
        GroupKind.POPULAR: ("いま熱い曲 🔥", "いま一番愛される曲", "一緒に歌いたい曲"),
        GroupKind.FRESH: ("入ったばかりの曲 🆕", "新曲を先取り", "はじめましての曲"),
    },
    EN: {
        GroupKind.TASTE: (
            "Right up your street",
            "Made for your taste",
            "Just your style 🎯",
            "That sound again",
        ),
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
        GroupKind.SITUATION: ("For right now 🎧", "Sing it now", "Made for the moment"),
        GroupKind.POPULAR: ("Hot right now 🔥", "Good to sing along", "Most loved now"),
        GroupKind.FRESH: ("Just arrived 🆕", "Be the first to sing", "New to sing"),
    },
}


@dataclass(frozen=True, kw_only=True)
class About:
    """What a group holds, in the words of the catalog; "" where there is none."""

    mood: str = ""
    genre: str = ""
    #: Name of the artist, anime, genre or situation the group is about, as it may be shown.
    subject: str = ""
    #: Artist whose fans a taste group is for.
    artist: str = ""
    situation: str = ""


def tagline(
    kind: GroupKind,
    locale: Locale,
    seed: int,
    *,
    about: About = About(),
    taken: Set[str] = frozenset(),
) -> str:
    """A reviewed line that is not taken yet; the seed chooses among equally good ones."""
    for lines in _by_specificity(kind, locale, about):
        free = [line for line in lines if line not in taken]
        if free:
            return free[seed % len(free)]
    return TAGLINES[locale][kind][seed % len(TAGLINES[locale][kind])]


def _by_specificity(kind: GroupKind, locale: Locale, about: About) -> Iterator[Sequence[str]]:
    """Lines that fit, the most specific first."""
    if about.situation in SITUATION_LINES[locale]:
        yield SITUATION_LINES[locale][about.situation]
    named = _named(kind, locale, about)
    if kind in (GroupKind.TASTE, GroupKind.MOOD, GroupKind.GENRE, GroupKind.SITUATION):
        reviewed = [
            *_of_word(MOOD_LINES[locale], about.mood),
            *_of_word(GENRE_LINES[locale], about.genre),
        ]
        yield [*reviewed, *named] if kind is GroupKind.TASTE else reviewed
    yield named
    yield TAGLINES[locale][kind]


def _of_word(lines: Lines, word: str) -> tuple[str, ...]:
    return next((lines[key] for key in key_words(word) if key in lines), ())


def _named(kind: GroupKind, locale: Locale, about: About) -> list[str]:
    """Lines with a name in them that a reader of that language can read and that stay on one line."""
    names = {"subject": term_in(locale, about.subject), "artist": about.artist}
    lines = []
    for pattern in NAMED_LINES[locale].get(kind, ()):
        used = names["artist" if "{artist}" in pattern else "subject"]
        line = pattern.format_map(names)
        readable = locale is KO or not has_hangul(used)
        if used and readable and len(line) <= TAGLINE_LENGTH:
            lines.append(line)
    return lines
