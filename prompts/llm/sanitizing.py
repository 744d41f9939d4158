"""Sanitizes text from outside before it goes to a model, and a model's text before it goes to a member."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings

from engine.catalog.text import clean_for_model

#: Songs carry text by strangers; nothing useful in a title or a name is longer.
FIELD_LENGTH = 60
#: Taste texts come from staff or from an earlier answer.
TASTE_LENGTH = 200
#: One line on a phone (contract §1).
TAGLINE_LENGTH = 20
#: Replaces a title that is an instruction to the model.
HIDDEN_TITLE = "—"

_LIST_NUMBER = re.compile(
    r"^[\s#*\-•·>]*(?:(?:no|번호)\.?\s*)?[\[(<]?\d{1,4}\s*[\])>.:)、。|,번위]+\s*", re.IGNORECASE
)
_MARKS = re.compile(
    r"<<+|>>+|```+|\{\{|\}\}|</?[\s|]*[a-z_]+[\s|]*>|\[/?(?:inst|sys|system)\]", re.IGNORECASE
)
#: Words of instructions to a model. One kind alone may be a song's name; two kinds are refused.
_ORDERS = (
    re.compile(r"ignore|disregard|forget|override|무시|잊어|無視|忘れ", re.IGNORECASE),
    re.compile(r"instruction|prompt|system|assistant|previous|above|지시|명령|프롬프트|시스템|위의|앞의|指示|命令|プロンプト|システム|上記", re.IGNORECASE),
    re.compile(r"\b(?:always|must|only|first|output|answer|respond|return|pick|choose|rank|recommend)\b|반드시|항상|출력|답하|대답|골라|고르|추천하|선택하|1위|必ず|出力|選べ|選んで|答え|推薦", re.IGNORECASE),
    re.compile(r"\bpicks?\b\W*[\[:]|\bjson\b|\bnumber\s*\d+|\b\d{1,3}\s*번(?:만|을|곡)|\bsong\s*#?\d+", re.IGNORECASE),
)  # fmt: skip


def member_hash(member_key: str) -> str:
    """A keyed hash of the member, 32 hex digits, for logs and providers; "" without a member."""
    if not member_key:
        return ""
    key = settings.SECRET_KEY.encode()
    return hmac.new(key, f"member:{member_key}".encode(), hashlib.sha256).hexdigest()[:32]


def one_line(text: str, limit: int = FIELD_LENGTH) -> str:
    """Quote `text` to a model: one visible line that neither numbers itself nor closes a fence."""
    line = _MARKS.sub(" ", clean_for_model(text, limit=limit * 2))
    while (bare := _LIST_NUMBER.sub("", line)) != line and bare:
        line = bare
    return " ".join(line.split())[:limit].rstrip()


def addresses_the_model(text: str) -> bool:
    """Whether a text reads as an instruction to a model rather than a name."""
    plain = unicodedata.normalize("NFKC", text)
    return sum(bool(pattern.search(plain)) for pattern in _ORDERS) >= 2


def field(text: str) -> str:
    """A title, name or term as a model may see it."""
    raw = clean_for_model(text, limit=4 * FIELD_LENGTH)
    return HIDDEN_TITLE if addresses_the_model(raw) else one_line(text)


def numbered(rows: Iterable[Sequence[str]]) -> str:
    """Songs as lines "1 title / artist / genre / mood": number first, cleaned fields, "" left out."""
    lines = []
    for number, row in enumerate(rows, 1):
        fields = (field(value).replace("/", "·") for value in row)
        lines.append(f"{number} " + " / ".join(part for part in fields if part))
    return "\n".join(lines)


def counted(pairs: Iterable[tuple[str, int]]) -> str:
    """Terms with how often they occur: "록 14, J-pop 9"."""
    return ", ".join(f"{field(name).replace(',', ' ')} {int(times)}" for name, times in pairs)


def lines(value: object) -> str:
    """A list as numbered lines: rows of fields, plain names, or a text that is numbered already."""
    if isinstance(value, str):
        return "\n".join(_line(line) for line in value.splitlines() if line.strip())
    rows: list[Any] = list(value) if isinstance(value, Iterable) else [value]
    return numbered([row] if isinstance(row, str) else [str(part) for part in row] for row in rows)


_NUMBERED = re.compile(r"^(\d{1,4}) (?=\S)")


def _line(line: str) -> str:
    """One line of a numbered text: the number stays, each field is cleaned."""
    number = _NUMBERED.match(line)
    rest = line[number.end() :] if number else line
    fields = " / ".join(field(part) for part in rest.split(" / "))
    return f"{number[1]} {fields}" if number else fields


def inline(value: object) -> str:
    """A value in a sentence: counts of terms, a number, or a text of one line."""
    if isinstance(value, str):
        line = one_line(value, 2 * TASTE_LENGTH)
        return "" if addresses_the_model(line) else line
    if isinstance(value, Iterable):
        parts = list(value)
        if all(isinstance(part, str) for part in parts):
            return ", ".join(field(str(part)) for part in parts)
        return counted(parts)
    return str(value)


def term_names(value: object) -> list[str]:
    """Names out of counts: pairs, plain names, or "록 14, 발라드 6"."""
    if isinstance(value, str):
        return [re.sub(r"\s+\d+$", "", part.strip()) for part in value.split(",") if part.strip()]
    if not isinstance(value, Iterable):
        return []
    return [part if isinstance(part, str) else str(part[0]) for part in value]


# --- Taglines ---------------------------------------------------------------------------------------
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u231a-\u23ff\u3030\u303d\u3297\u3299\u00a9\u00ae]"
)
_SELECTORS = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")
_FORBIDDEN = re.compile(
    r"https?:|www\.|\.(?:com|net|org|kr|jp|io)\b|[@#<>{}\[\]|\\`\"“”„«»「」『』*_=~^$%]|\d{3,}|(?:\d[\s.\-]?){5,}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"^['‘’].*['‘’]$")
#: Words that no tagline or taste text may contain.
_DENIED = re.compile(
    r"시발|씨발|병신|좆|섹스|야동|도박|카지노|바카라|마약|자살|죽어|무료\s*쿠폰|클릭|광고|프롬프트|시스템|무시"
    r"|死ね|殺す|エロ|セックス|カジノ|クリック|プロンプト"
    r"|\b(?:fuck|shit|sex|porn|casino|kill|suicide|click|ignore|prompt|instruction|assistant|system|hacked|null|undefined)",
    re.IGNORECASE,
)
_SCRIPTS = {
    "ko": re.compile(r"[\uac00-\ud7a3]"),
    "ja": re.compile(r"[\u3040-\u30ff\u4e00-\u9fff々]"),
    "en": re.compile(r"[A-Za-z]"),
}


def tagline(text: object, locale: str = "ko") -> str | None:
    """The tagline in the form in which it may be shown, or None: then a reviewed line is used."""
    if not isinstance(text, str) or len(text) > 200 or "\n" in text.strip():
        return None
    line = clean_for_model(text, limit=200).strip(" -–—·")
    shown = _SELECTORS.sub("", line)
    fits = bool(shown) and len(shown) <= TAGLINE_LENGTH and len(_EMOJI.findall(shown)) <= 1
    if not fits or _FORBIDDEN.search(line) or _QUOTED.match(line) or _DENIED.search(line):
        return None
    return line if _in_script(shown, locale) else None


def _in_script(line: str, locale: str) -> bool:
    """At least half of the letters belong to the locale's script, and there are some."""
    letters = [char for char in line if char.isalpha()]
    own = sum(bool(_SCRIPTS.get(locale, _SCRIPTS["ko"]).match(char)) for char in letters)
    return bool(letters) and own * 2 >= len(letters)


def taste_text(text: object) -> str:
    """The model's sentence about a taste, fit to be stored and shown; "" when it is not."""
    if not isinstance(text, str):
        return ""
    line = one_line(text, TASTE_LENGTH)
    suspicious = (
        addresses_the_model(line) or _DENIED.search(line) or re.search(r"https?:|www\.|@", line)
    )
    return "" if suspicious else line
