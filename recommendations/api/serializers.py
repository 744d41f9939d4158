"""Reads what callers post, in both generations of bodies and mixtures of them, and describes what they get.

Strict where a caller would want to know of a mistake, lenient where contract.md says callers differ:
ids may be text, `null` and absent mean the same, and unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from engine.types import Exclude, Locale, Only, Strategy

from ..serving.request import COUNT_OF_CALLERS, COUNT_OF_MEMBERS, NamedSong, Request
from .context_words import context_of, unknown_names

MOST_FAVORITES = 10_000
MOST_NAMED_SONGS = 200
MOST_COUNT = 100
MOST_FILTER_VALUES = 1_000
LONGEST_TEXT = 300
LONGEST_MEMBER_KEY = 64
#: Song ids leave the house as 32-bit integers (contract §1): no song can have a larger one.
LARGEST_SONG_ID = 2**31 - 1
_WHOLE = re.compile(r"\s*-?[0-9]{1,19}\s*")
_ID_SCHEMA: dict[str, Any] = {
    "oneOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]{1,19}$"}]
}

Reported = list[dict[str, Any]]


# --- Members --------------------------------------------------------------------------------------
def member_key_of(value: Any) -> str:
    """The key a member is kept under. Digits name a row of `member`, however they are written.

    Raises ValidationError for what is no id.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise serializers.ValidationError("Must be text of 1 to 64 characters.")
    key = value.strip()
    if not 1 <= len(key) <= LONGEST_MEMBER_KEY or not key.isprintable():
        raise serializers.ValidationError("Must be text of 1 to 64 printable characters.")
    return str(int(key)) if key.isascii() and key.isdigit() else key


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "minLength": 1, "maxLength": LONGEST_MEMBER_KEY},
            {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        ],
        "nullable": True,
    }
)
class MemberKeyField(serializers.Field):
    def to_internal_value(self, data: Any) -> str:
        return member_key_of(data)

    def to_representation(self, value: str) -> str:
        return value


# --- Songs ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class SongIds:
    """Ids as a caller sent them: those that can be songs, and those that can't."""

    ids: tuple[int, ...]
    impossible: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Iterable[int]) -> SongIds:
        distinct = dict.fromkeys(values)
        return cls(
            ids=tuple(n for n in distinct if _can_be_song(n)),
            impossible=tuple(n for n in distinct if not _can_be_song(n)),
        )

    def reported(self) -> Reported:
        # Beyond 32 bits as text: the backend's reader would fail on the number.
        return [{"song_id": n if abs(n) <= LARGEST_SONG_ID else str(n)} for n in self.impossible]


def _can_be_song(number: int) -> bool:
    return 0 < number <= LARGEST_SONG_ID


def song_id_of(value: Any) -> int:
    """An id that is a number or the text of one. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(value)


@extend_schema_field(
    {"type": "array", "items": _ID_SCHEMA, "maxItems": MOST_FAVORITES, "nullable": True}
)
class SongIdsField(serializers.Field):
    """Up to 10 000 ids, read in one go: a serializer field per id would take longer than the answer."""

    def __init__(self, *, most: int = MOST_FAVORITES, **kwargs: Any) -> None:
        self.most = most
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> SongIds:
        if not isinstance(data, list):
            raise serializers.ValidationError("Must be a list of song ids.")
        if len(data) > self.most:
            raise serializers.ValidationError(f"Must hold at most {self.most:,} ids.")
        numbers: list[int] = []
        wrong: dict[Any, Any] = {}
        for place, value in enumerate(data):
            if value is None:
                continue
            try:
                numbers.append(song_id_of(value))
            except ValueError:
                wrong[place] = ["Must be a number."]
        if wrong:
            raise serializers.ValidationError(wrong)
        return SongIds.of(numbers)

    def to_representation(self, value: SongIds) -> list[int]:
        return list(value.ids)


class Text(serializers.CharField):
    """Text that may be null or absent; both are ""."""

    def __init__(self, **kwargs: Any) -> None:
        defaults = {"required": False, "allow_null": True, "allow_blank": True}
        super().__init__(**defaults | {"max_length": LONGEST_TEXT} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        # NUL can't be stored everywhere; it means nothing in a title.
        return str(super().to_internal_value(_without_nul(data)))


def _without_nul(value: Any) -> Any:
    return value.replace("\x00", "") if isinstance(value, str) else value


class NamedSongInput(serializers.Serializer):
    """A song named by text."""

    title = Text(required=True, allow_blank=False, allow_null=False)
    artist = Text()
    genre = Text()


class NamedSongs(serializers.ListSerializer):
    """Up to 200 songs named by text; a null among them names nothing, as among ids."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=NamedSongInput(), max_length=MOST_NAMED_SONGS, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list) and len(data) <= MOST_NAMED_SONGS:
            data = [song for song in data if song is not None]
        return super().to_internal_value(data)


@extend_schema_field({"oneOf": _ID_SCHEMA["oneOf"], "nullable": True})
class SongIdField(serializers.Field):
    def to_internal_value(self, data: Any) -> SongIds:
        try:
            return SongIds.of([song_id_of(data)])
        except ValueError:
            raise serializers.ValidationError("Must be a number.") from None


class SongDataInput(serializers.Serializer):
    """A song by its id, or named by text."""

    song_id = SongIdField(required=False, allow_null=True)
    title = Text()
    artist = Text()
    genre = Text()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("song_id") is None and not attrs.get("title"):
            raise serializers.ValidationError({"title": "Send song_id, or title (and artist)."})
        return attrs


def named_song(values: Mapping[str, Any]) -> NamedSong:
    return NamedSong(
        title=values["title"],
        artist=values.get("artist") or "",
        genre=values.get("genre") or "",
    )


# --- The situation and the dials ------------------------------------------------------------------
class ContextInput(serializers.Serializer):
    """The situation a list is for. Words may be Korean, Japanese or English; unknown ones are reported back."""

    at = Text(help_text="ISO-8601; without an offset it is Seoul's clock. Gives the time of day.")
    time_of_day = Text(help_text="morning, afternoon, evening, night, or 아침, 오후, 저녁, 밤 …")
    mood = Text(help_text="A mood of the catalog, e.g. 신나는, 잔잔, Energetic.")
    activity = Text(
        help_text="workout, study, rest, party, commute, sleep, or 운동, 공부, 휴식, 파티, 출퇴근, 수면 …"
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("Must be an object.")
        return dict(data)  # understood by `situations.context_of`, which reports what it can't read


class NamesField(serializers.ListField):
    """Names for a filter; one text counts as a list of one."""

    child = serializers.CharField(max_length=LONGEST_TEXT)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"required": False, "allow_null": True, "max_length": MOST_FILTER_VALUES} | kwargs
        )

    def to_internal_value(self, data: Any) -> list[str]:
        return [
            str(name)
            for name in super().to_internal_value([data] if isinstance(data, str) else data)
        ]


class OnlyInput(serializers.Serializer):
    """Hard filters: nothing else is recommended. Empty or absent means no filter."""

    song_ids = SongIdsField(required=False, allow_null=True)
    artists = NamesField()
    genres = NamesField()
    moods = NamesField()
    languages = NamesField()
    karaoke = serializers.MultipleChoiceField(
        choices=("tj", "ky"),
        required=False,
        allow_null=True,
        help_text="Only songs that have such a number.",
    )


class ExcludeInput(serializers.Serializer):
    """What must not appear."""

    song_ids = SongIdsField(required=False, allow_null=True)
    artists = NamesField()
    genres = NamesField()
    moods = NamesField()
    anime = NamesField()


def _sets(values: Mapping[str, Any] | None) -> dict[str, frozenset[Any]]:
    given = {name: value for name, value in (values or {}).items() if value}
    return {
        name: frozenset(value.ids if isinstance(value, SongIds) else value)
        for name, value in given.items()
    }


class Choice(serializers.ChoiceField):
    """One of a closed set, in any case; null and "" mean the default."""

    def __init__(self, choices: Iterable[str], **kwargs: Any) -> None:
        defaults = {"required": False, "allow_null": True, "allow_blank": True}
        super().__init__(choices=[str(choice) for choice in choices], **defaults | kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data.strip().lower() if isinstance(data, str) else data)


class LocaleChoice(Choice):
    """`ko`, `ko-KR` and `ko_KR` are the same language."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(
            data[:2] if isinstance(data, str) and data[2:3] in {"-", "_"} else data
        )


class Dial(serializers.FloatField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=1, required=False, allow_null=True, **kwargs)


# --- Bodies ---------------------------------------------------------------------------------------
class MemberInput(serializers.Serializer):
    """Who the call is about: `memberId` or `user_id`."""

    memberId = MemberKeyField(
        required=False, allow_null=True, help_text="Digits name a member of the database."
    )
    user_id = MemberKeyField(
        required=False, allow_null=True, help_text="The same, in the documented body."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        keys = {attrs[name] for name in ("memberId", "user_id") if attrs.get(name) is not None}
        if not keys:
            raise serializers.ValidationError({"memberId": "Send memberId or user_id."})
        if len(keys) > 1:
            raise serializers.ValidationError({"user_id": "memberId and user_id name two members."})
        attrs["member_key"] = keys.pop()
        return attrs


class RecommendInput(MemberInput):
    """Both generations of bodies; everything but the member may be left out."""

    favorite_song_ids = SongIdsField(
        required=False,
        allow_null=True,
        help_text="Exactly these favourites count. null or absent: those of the database. []: none.",
    )
    favorite_songs = NamedSongs(required=False, allow_null=True)
    count = serializers.IntegerField(
        min_value=1,
        max_value=MOST_COUNT,
        required=False,
        allow_null=True,
        help_text="Length of `candidates`. Default 50 for memberId, 20 for user_id.",
    )
    strategy = Choice(Strategy, help_text="fast: no model is asked. deep: a longer deadline.")
    locale = LocaleChoice(Locale, help_text="Language of labels, taglines and reasons.")
    context = ContextInput(required=False, allow_null=True)  # type: ignore[assignment]
    adventure = Dial(help_text="0 familiar … 1 discover.")
    diversity = Dial(help_text="0 alike … 1 as different as possible.")
    only = OnlyInput(required=False, allow_null=True)
    exclude = ExcludeInput(required=False, allow_null=True)
    allow_known = serializers.BooleanField(
        required=False, help_text="Favourites may be recommended again."
    )

    def request(self) -> tuple[Request, Reported]:
        """The values of a valid body, and what of it was not understood."""
        values = self.validated_data
        ids: SongIds | None = values.get("favorite_song_ids")
        context, reported = context_of(values.get("context") or {})
        only, exclude = Only(**_sets(values.get("only"))), Exclude(**_sets(values.get("exclude")))
        usual = COUNT_OF_MEMBERS if values.get("memberId") is not None else COUNT_OF_CALLERS
        request = Request(
            member_key=values["member_key"],
            favorite_ids=None if ids is None else ids.ids,
            favorite_songs=tuple(named_song(song) for song in values.get("favorite_songs") or ()),
            count=values.get("count") or usual,
            strategy=Strategy(values.get("strategy") or Strategy.DEFAULT),
            locale=Locale(values.get("locale") or Locale.KO),
            context=context,
            adventure=values.get("adventure"),
            diversity=values.get("diversity"),
            only=only,
            exclude=exclude,
            allow_known=values.get("allow_known", False),
        )
        impossible = ids.reported() if ids else []
        return request, [
            *impossible,
            *reported,
            *unknown_names(only, "only"),
            *unknown_names(exclude, "exclude"),
        ]


class CachedInput(MemberInput):
    """The member whose stored recommendation is wanted."""


ADD, REMOVE, LIST = "add", "remove", "list"
_ACTIONS = {
    "add_favorite": ADD,
    "add": ADD,
    "remove_favorite": REMOVE,
    "remove": REMOVE,
    "list": LIST,
}


class FavoritesUpdatedInput(MemberInput):
    """One song added or removed, or the full list of favourites."""

    action = Choice(_ACTIONS, help_text="add_favorite or remove_favorite; absent: the full list.")
    song_data = SongDataInput(required=False, allow_null=True)
    favorite_song_ids = SongIdsField(required=False, allow_null=True)
    favorite_songs = NamedSongs(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        named = any(
            attrs.get(name) for name in ("song_data", "favorite_song_ids", "favorite_songs")
        )
        if (
            attrs.get("action") in {"add_favorite", "remove_favorite", "add", "remove"}
            and not named
        ):
            raise serializers.ValidationError(
                {"song_data": "Send the song that was added or removed."}
            )
        return attrs

    def change(self) -> tuple[Any, tuple[int, ...], tuple[NamedSong, ...], Reported]:
        """(action, song ids, songs named by text, what can't be a song).

        Without an action and without a list nothing is changed: "add" of no song looks anew.
        """
        values = self.validated_data
        ids: SongIds | None = values.get("favorite_song_ids")
        songs = [named_song(song) for song in values.get("favorite_songs") or ()]
        listed = ids is not None or values.get("favorite_songs") is not None
        action = _ACTIONS.get(values.get("action") or "", LIST if listed else ADD)
        ids = ids or SongIds(ids=())
        if data := values.get("song_data"):
            if data.get("song_id") is not None:
                ids = SongIds.of(
                    (*ids.ids, *ids.impossible, *data["song_id"].ids, *data["song_id"].impossible)
                )
            else:
                songs.append(named_song(data))
        return action, ids.ids, tuple(songs), ids.reported()


class WarmInput(serializers.Serializer):
    """How many members, most recently active first."""

    limit = serializers.IntegerField(min_value=1, max_value=100_000, default=500)


class WhyInput(serializers.Serializer):
    song_id = serializers.IntegerField(min_value=1, max_value=LARGEST_SONG_ID)


# --- Answers --------------------------------------------------------------------------------------
class GroupSongOutput(serializers.Serializer):
    song_id = serializers.IntegerField()
    title_jp = serializers.CharField(allow_blank=True)
    title_kr = serializers.CharField(allow_blank=True)
    title_en = serializers.CharField(allow_blank=True)
    title_yomi = serializers.CharField(allow_blank=True)
    artist = serializers.CharField(allow_blank=True)
    artist_kr = serializers.CharField(allow_blank=True)
    tj_number = serializers.IntegerField(min_value=1, allow_null=True)
    ky_number = serializers.IntegerField(min_value=1, allow_null=True)


class CandidateOutput(GroupSongOutput):
    genre = serializers.CharField(allow_blank=True)
    mood = serializers.CharField(allow_blank=True)
    recommendation_type = serializers.ChoiceField(choices=("preference", "random"))
    matched_criteria = serializers.ListField(child=serializers.CharField())
    match_score = serializers.FloatField(min_value=0, max_value=1)
    reason = serializers.CharField(allow_blank=True)


class GroupOutput(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment]
    tagline = serializers.CharField(help_text="The section's heading; never empty.")
    songs = GroupSongOutput(many=True)


class UnresolvedOutput(serializers.Serializer):
    """An id or a song that is not in the catalog, or a field whose value was not understood."""

    song_id = extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})(
        serializers.JSONField
    )(required=False)
    title = serializers.CharField(required=False)
    artist = serializers.CharField(required=False, allow_blank=True)
    did_you_mean = serializers.ListField(child=serializers.CharField(), required=False)
    field = serializers.CharField(required=False)
    value = serializers.CharField(required=False, allow_blank=True)


class AnswerParts(serializers.Serializer):
    run_id = serializers.UUIDField()
    source = serializers.ChoiceField(choices=("cache", "local", "model"))  # type: ignore[assignment]
    degraded = serializers.CharField(
        allow_null=True, help_text="Why it is less than it could be: busy, database, no_model …"
    )
    favorite_song_ids = serializers.ListField(child=serializers.IntegerField())
    unresolved = UnresolvedOutput(many=True)


class RecommendOutput(AnswerParts):
    status = serializers.ChoiceField(choices=("completed",))
    message = serializers.CharField()
    generated_date = serializers.DateField(help_text="A calendar day in Asia/Seoul.")
    groups = GroupOutput(many=True)
    candidates = CandidateOutput(many=True)


class CachedOutput(serializers.Serializer):
    favorite_song_ids = serializers.ListField(child=serializers.IntegerField())
    groups = GroupOutput(many=True)
    candidates = CandidateOutput(many=True)
    generated_date = serializers.CharField()
    cached = serializers.BooleanField()


class FavoritesUpdatedOutput(AnswerParts):
    status = serializers.ChoiceField(choices=("queued",))
    message = serializers.CharField()
    task_id = serializers.UUIDField(allow_null=True)
    generated_date = serializers.DateField()


class WarmOutput(serializers.Serializer):
    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=("queued",))


class FieldErrorOutput(serializers.Serializer):
    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class ProblemOutput(serializers.Serializer):
    """What every error looks like."""

    code = serializers.CharField()
    detail = serializers.CharField()
    errors = FieldErrorOutput(many=True)  # type: ignore[assignment]
