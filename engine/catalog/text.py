"""Normalises Korean, Japanese and English text for comparing, searching and quoting."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

#: Hand-written genre and mood columns separate values with any of these.
_TERM_SEPARATORS = re.compile(r"[,、，;；|/／・\n]+")
_BRACKET = re.compile("[()\\[\\]{}<>«»「」『』【】〔〕〈〉《》（）［］｛｝＜＞\"'“”‘’`´]")
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_NO_LETTER = re.compile(r"[^\w\n]|_")
_BLANKS = re.compile(r"\s+")
_BLANKS_IN_LINE = re.compile(r"[^\S\n]+")
#: A bracketed or dashed tail that names a version of the same song.
_VERSION_WORDS = (
    r"tv|live|size|ver|version|edit|mix|remix|remaster(?:ed)?|acoustic|unplugged|inst(?:rumental)?|piano"
    r"|short|full|long|cover|covered|original|album|single|radio|band|movie|anime|アニメ|劇場|ライブ|ライヴ"
    r"|バージョン|カバー|アコースティック|サイズ|라이브|버전|커버|어쿠스틱|리메이크|극장판|원곡"
)
_VERSION = re.compile(rf"(?<![a-z])(?:{_VERSION_WORDS})(?![a-z])|歌ってみた", re.IGNORECASE)
_COVER = re.compile(r"(?<![a-z])cover|カバー|커버|歌ってみた", re.IGNORECASE)
_NOTE = re.compile(
    r"(?<![a-z])(?:feat|ft|with|prod|cv|op|ed|ost|from|by)(?![a-z])|主題歌|挿入歌|주제가|삽입곡",
    re.IGNORECASE,
)
_BRACKETED = re.compile(
    r"[(\[{<（［｛＜【〔〈《「『～〜~]([^()\[\]（）［］]*?)[)\]}>）］｝＞】〕〉》」』～〜~]"
)
_TAIL = re.compile(
    r"(?:\s+|\s*[-–—]\s*)(?:tv\s*size|tv\s*ver(?:sion)?|live(?:\s+ver(?:sion)?)?|acoustic\s+ver(?:sion)?"
    r"|(?:piano|short|full|movie|album|single|original|band)\s+ver(?:sion)?|remix|cover)\.?\s*-?\s*$",
    re.IGNORECASE,
)
_FEATURING = re.compile(r"\s*(?<![a-z])(?:feat\.?|ft\.|featuring|with)(?![a-z]).*$", re.IGNORECASE)

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3
_HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
#: Initial consonants in the order of the Hangul syllable block.
INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
#: Initials typed with the plain key stand for the doubled one too.
_PLAIN_INITIAL = str.maketrans("ㄲㄸㅃㅆㅉ", "ㄱㄷㅂㅅㅈ")

_TO_HIRAGANA = {code: code - 0x60 for code in range(ord("ァ"), ord("ヶ") + 1)}
_KATAKANA_RUN = re.compile("[ァ-ヶ]+")
#: Long-vowel marks and middle dots are typed or left out at will.
_DROPPED_IN_KEYS = re.compile("[ーｰ・･]+")
#: What a model may not see: control, format (zero-width, bidi, tags), unassigned and surrogate.
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn"}

# Latin letters and digits as Koreans read them: does the reading end in a consonant?
_CLOSED_LATIN = set("lmnr")
_CLOSED_DIGITS = set("013678")
_CLOSED_TAILS = (
    "ck",
    "ng",
    "ect",
    "ip",
    "ap",
    "op",
    "up",
    "ep",
    "ook",
    "eak",
    "eat",
    "ot",
    "it",
    "et",
    "at",
    "ut",
)


def fold(text: str) -> str:
    """Return `text` without differences of width, case, accents, brackets and spacing.

    Words stay apart by one blank, so the result can still be split. "Ｊ-POP  (서정 팝)" → "j-pop 서정 팝".
    """
    text = _BRACKET.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    if not text.isascii():  # accents of Latin letters; kana voicing marks and Hangul stay
        text = _ACCENTED.sub(lambda match: unicodedata.normalize("NFD", match.group())[0], text)
    return _BLANKS.sub(" ", text).strip()


def match_key(text: str) -> str:
    """Return the letters and digits of `text` only, kana as hiragana: equal keys mean the same name.

    Text without any letter ("???") keeps its marks, so that two such titles stay different.
    """
    folded = fold(text)
    bare = _DROPPED_IN_KEYS.sub("", _hiragana(folded))
    return "".join(filter(str.isalnum, bare)) or folded.replace(" ", "")


def _hiragana(text: str) -> str:
    return _in_runs(text, _KATAKANA_RUN, _TO_HIRAGANA)


def _in_runs(text: str, runs: re.Pattern[str], table: Mapping[int, str | int]) -> str:
    """`text.translate(table)`, applied only to the runs that hold letters of the table: ten times faster."""
    return runs.sub(lambda run: run.group().translate(table), text)


def fold_many(texts: Sequence[str]) -> list[str]:
    """`fold` of many texts in one go: several times faster than one by one."""
    joined = "\n".join(texts).replace("\r", " ")
    folded = _BRACKET.sub(" ", unicodedata.normalize("NFKC", joined).casefold())
    folded = _ACCENTED.sub(lambda match: unicodedata.normalize("NFD", match.group())[0], folded)
    lines = _BLANKS_IN_LINE.sub(" ", folded).split("\n")
    if len(lines) != len(texts):  # a text holds a line break
        return [fold(text) for text in texts]
    return [line.strip() for line in lines]


def match_keys(texts: Sequence[str]) -> list[str]:
    """`match_key` of many texts in one go."""
    folded = fold_many(texts)
    bare = _DROPPED_IN_KEYS.sub("", _hiragana("\n".join(folded)))
    keys = _NO_LETTER.sub("", bare).split("\n")
    return [key or line.replace(" ", "") for key, line in zip(keys, folded, strict=bool(texts))]


def split_terms(text: str) -> list[str]:
    """Split a hand-written column ("J-pop  서정 팝, 록") into its values, spelled as written."""
    parts = (_BLANKS.sub(" ", part).strip() for part in _TERM_SEPARATORS.split(text))
    seen: dict[str, str] = {}
    for part in parts:
        if part:
            seen.setdefault(fold(part), part)
    return list(seen.values())


def split_artists(text: str) -> list[str]:
    """Split a credit into its artists, the first one leading; notes such as "(CV:…)" are dropped.

    Only commas and "×" separate: "&" and "と" are part of too many band names.
    """
    bare = _FEATURING.sub("", _BRACKETED.sub(" ", unicodedata.normalize("NFKC", text)))
    parts = (_BLANKS.sub(" ", part).strip() for part in re.split(r"[,、×;]", bare))
    found = [part for part in parts if part]
    return found or ([text.strip()] if text.strip() else [])


def song_title(text: str) -> str:
    """Return the title without what names a version of it: "(TV size)", "- Live ver.", "(feat. X)"."""
    text = unicodedata.normalize("NFKC", text)
    # Most titles are plain; only the others are worth four substitutions.
    if not _VERSION.search(text) and not _NOTE.search(text):
        return text.strip()
    bare = _TAIL.sub("", _FEATURING.sub("", _BRACKETED.sub(_drop_version_note, text))).strip()
    return bare or text.strip()


def _drop_version_note(match: re.Match[str]) -> str:
    inner = match.group(1)
    return " " if _VERSION.search(inner) or _NOTE.search(inner) else match.group(0)


def has_hangul(text: str) -> bool:
    """Tell whether any letter of `text` is Hangul."""
    return _HANGUL.search(text) is not None


def is_cover(title: str) -> bool:
    """Tell whether the title itself says that it is a cover."""
    return _COVER.search(title) is not None


def is_initials(text: str) -> bool:
    """Tell whether `text` is typed in initial consonants only ("ㅇㄴㅈ ㅋㅅ")."""
    bare = text.replace(" ", "")
    return len(bare) >= 1 and all(char in INITIALS for char in bare)


def initials(text: str) -> str:
    """Return the initial consonants of the Hangul in `text`, doubled ones as their plain form.

    Other characters are left out: "Pretender 프리텐더" → "ㅍㄹㅌㄷ".
    """
    found = []
    for char in text:
        code = ord(char)
        if _HANGUL_FIRST <= code <= _HANGUL_LAST:
            found.append(INITIALS[(code - _HANGUL_FIRST) // 588])
        elif char in INITIALS:
            found.append(char)
    return "".join(found).translate(_PLAIN_INITIAL)


def jamo(text: str) -> str:
    """Return `text` with Hangul syllables and voiced kana taken apart, so that one slip is one letter."""
    return unicodedata.normalize("NFD", text)


@lru_cache(maxsize=4096)
def is_closed(text: str, reading: str = "") -> bool | None:
    """Tell whether `text` ends in a consonant when read aloud in Korean; None when that is unknown.

    reading: Hangul reading, asked when `text` ends in kanji.
    """
    key = match_key(text)
    if not key:
        return None
    last = key[-1]
    if _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        return (ord(last) - _HANGUL_FIRST) % 28 != 0
    if "ぁ" <= last <= "ゖ":
        return last == "ん"
    if last.isascii():
        return _is_closed_latin(key)
    return is_closed(reading) if reading and reading != text else None


def _is_closed_latin(key: str) -> bool:
    """Judge by how Koreans read Latin letters and digits; right for the common endings."""
    last = key[-1]
    if last.isdigit():
        return last in _CLOSED_DIGITS
    return last in _CLOSED_LATIN - {"r"} or key.endswith(_CLOSED_TAILS)


def particle(name: str, forms: str, reading: str = "") -> str:
    """Return the Korean particle that follows `name`.

    forms: "을/를", "이/가", "은/는", "과/와" (after a consonant / after a vowel). Where the last sound is
    unknown both are given: "을(를)".
    """
    closed_form, open_form = forms.split("/")
    closed = is_closed(name, reading)
    if closed is None:
        return f"{closed_form}({open_form})"
    return closed_form if closed else open_form


def clean_for_model(text: str, limit: int = 60) -> str:
    """Return `text` fit to be quoted to a language model: one line, no hidden characters, no "|".

    limit: most characters kept. Titles are untrusted; what cannot be seen must not be read either.
    """
    text = unicodedata.normalize("NFKC", text)
    visible = "".join(
        " " if char in "|\n\r\t\u2028\u2029" else char
        for char in text
        if char in "\n\r\t" or unicodedata.category(char) not in _HIDDEN
    )
    return _BLANKS.sub(" ", visible).strip()[:limit].rstrip()


# Hepburn, long vowels as written. Two-kana sounds come first.
_KANA = {
    "きゃ": "kya", "きゅ": "kyu", "きょ": "kyo", "しゃ": "sha", "しゅ": "shu", "しょ": "sho",
    "ちゃ": "cha", "ちゅ": "chu", "ちょ": "cho", "にゃ": "nya", "にゅ": "nyu", "にょ": "nyo",
    "ひゃ": "hya", "ひゅ": "hyu", "ひょ": "hyo", "みゃ": "mya", "みゅ": "myu", "みょ": "myo",
    "りゃ": "rya", "りゅ": "ryu", "りょ": "ryo", "ぎゃ": "gya", "ぎゅ": "gyu", "ぎょ": "gyo",
    "じゃ": "ja", "じゅ": "ju", "じょ": "jo", "びゃ": "bya", "びゅ": "byu", "びょ": "byo",
    "ぴゃ": "pya", "ぴゅ": "pyu", "ぴょ": "pyo", "てぃ": "ti", "でぃ": "di", "ふぁ": "fa",
    "ふぃ": "fi", "ふぇ": "fe", "ふぉ": "fo", "うぃ": "wi", "うぇ": "we", "しぇ": "she",
    "ちぇ": "che", "じぇ": "je", "ゔぁ": "va", "ゔぃ": "vi", "ゔぇ": "ve", "ゔぉ": "vo", "とぅ": "tu", "どぅ": "du",
}  # fmt: skip
_SOUNDS = """
a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no ha hi fu he ho ma mi mu me mo
ya yu yo ra ri ru re ro wa o n ga gi gu ge go za ji zu ze zo da ji zu de do ba bi bu be bo pa pi pu pe po
a i u e o ya yu yo wa vu
"""
_KANA |= dict(
    zip(
        "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
        "がぎぐげござじずぜぞだぢづでどばびぶべぼぱぴぷぺぽぁぃぅぇぉゃゅょゎゔ",
        _SOUNDS.split(),
        strict=True,
    )
)
_ONLY_KANA = re.compile("[ぁ-ゖ]+")
_TWO_KANA = re.compile("|".join(kana for kana in _KANA if len(kana) == 2))
_ONE_KANA = str.maketrans({kana: sound for kana, sound in _KANA.items() if len(kana) == 1})
_KANA_RUN = re.compile("[ぁ-ゔ]+")
_DOUBLED = re.compile(r"っ([bcdfghjkmprstvwz])")


def romaji(kana: str) -> str:
    """Spell kana in Latin letters ("よるにかける" → "yorunikakeru"); other characters stay."""
    two = _TWO_KANA.sub(lambda match: _KANA[match.group()], _hiragana(kana))
    sounds = _in_runs(two, _KANA_RUN, _ONE_KANA)
    return _DOUBLED.sub(r"\1\1", sounds).replace("っ", "")


# Hangul as Koreans write Japanese and English words, by the place in the syllable block.
_ONSETS = (
    "k",
    "k",
    "n",
    "t",
    "t",
    "r",
    "m",
    "p",
    "p",
    "s",
    "s",
    "",
    "z",
    "q",
    "q",
    "k",
    "t",
    "p",
    "h",
)
_VOWELS = (
    *(
        "a",
        "e",
        "ya",
        "ye",
        "o",
        "e",
        "yo",
        "ye",
        "o",
        "wa",
        "we",
        "we",
        "yo",
        "u",
        "wo",
        "we",
        "wi",
    ),
    *("yu", "u", "i", "i"),
)
_CODAS = (
    *("", "k", "k", "k", "n", "n", "n", "", "r", "k", "n", "p", "r", "r", "p", "r", "n", "p", "p"),
    *("", "", "n", "", "", "k", "", "p", ""),
)
#: Spellings that sound the same to a Korean ear: kenshi and kensi, fujii and huji, tokyo and dokyo.
_SAME_SOUNDS = (
    ("shi", "si"), ("sh", "s"), ("tch", "ch"), ("ch", "q"), ("ts", "q"), ("c", "k"), ("ph", "h"),
    ("f", "h"), ("j", "z"), ("l", "r"), ("v", "p"), ("b", "p"), ("g", "k"), ("d", "t"), ("x", "ks"),
    ("mp", "np"), ("ou", "o"), ("ei", "e"),
)  # fmt: skip
_REPEATED = re.compile(r"(.)\1+")
_SYLLABLE_RUN = re.compile("[가-힣]+")

#: Every syllable block, spelled.
_SPOKEN = {
    _HANGUL_FIRST + number: _ONSETS[number // 588]
    + _VOWELS[number % 588 // 28]
    + _CODAS[number % 28]
    for number in range(_HANGUL_LAST - _HANGUL_FIRST + 1)
}


def sound(key: str) -> str:
    """How a key sounds, in Latin letters, whatever script it is in; "" when part of it cannot be read.

    레몬, レモン and lemon all give "remon"; 요네즈 켄시 and "yonezu kenshi" give "yonezukensi". Made for finding:
    what a Korean ear does not tell apart is the same.
    """
    return sounds([key])[0]


def sounds(keys: Sequence[str]) -> list[str]:
    """`sound` of many keys in one go; keys hold no line breaks."""
    latin = romaji(_in_runs("\n".join(keys), _SYLLABLE_RUN, _SPOKEN))
    for spelled, heard in _SAME_SOUNDS:
        latin = latin.replace(spelled, heard)
    found = _REPEATED.sub(r"\1", latin).split("\n")
    return [key if key.isascii() and key.isalnum() and not key.isdigit() else "" for key in found]


def is_kana(key: str) -> bool:
    """Tell whether a key is written in kana alone, so that it can be read aloud."""
    return _ONLY_KANA.fullmatch(key) is not None


@lru_cache(maxsize=4096)
def term_key(name: str) -> str:
    """Cached `match_key`, for names that recur (genres, moods, artists of a query)."""
    return match_key(name)
